//! Finds the words without which an expression cannot match.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::text::fold;

/// The most literals that stand for one expression.
const MAX_LITERALS: usize = 64;

/// The fewest bytes of a literal that is worth looking for: shorter ones occur in most texts.
const MIN_BYTES: usize = 2;

/// Returns strings of which at least one occurs in every folded text that the expression matches, or `None` when there
/// are no such strings, or only ones so short that most texts hold them.
pub(super) fn required_literals(hir: &Hir) -> Option<Vec<String>> {
    required(hir).filter(|literals| shortest(literals) >= MIN_BYTES)
}

fn required(hir: &Hir) -> Option<Vec<String>> {
    if let Some(literal) = exact(hir) {
        return (!literal.is_empty()).then(|| vec![literal]);
    }
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(branches) => {
            let mut literals = Vec::new();
            for branch in branches {
                literals.extend(required(branch)?);
            }
            literals.sort();
            literals.dedup();
            (literals.len() <= MAX_LITERALS).then_some(literals)
        }
        HirKind::Concat(parts) => required_of_sequence(parts),
        _ => None,
    }
}

/// Of all that a sequence requires, the choice that occurs least by chance: the one whose shortest string is longest.
fn required_of_sequence(parts: &[Hir]) -> Option<Vec<String>> {
    let mut candidates: Vec<Vec<String>> = Vec::new();
    let mut run = String::new();
    for part in parts {
        if let Some(literal) = exact(part) {
            run.push_str(&literal);
        } else {
            candidates.push(vec![std::mem::take(&mut run)]);
            candidates.extend(required(part));
        }
    }
    candidates.push(vec![run]);
    candidates
        .into_iter()
        .filter(|literals| shortest(literals) > 0)
        .max_by_key(|literals| (shortest(literals), std::cmp::Reverse(literals.len())))
}

/// The only string of folded text that a part matches; empty for what reads no character, such as `\b`.
fn exact(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(String::new()),
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Class(Class::Unicode(class)) => {
            let mut chars = class.iter().take(8).flat_map(|range| (range.start()..=range.end()).take(8));
            let few = class.iter().map(|range| range.len()).sum::<usize>() <= 8;
            // Of the cases of a letter only one is left in folded text.
            let mut folded = chars.by_ref().filter(|char| fold(char.encode_utf8(&mut [0; 4])).chars().eq([*char]));
            let only = folded.next();
            if few && folded.next().is_none() { only.map(String::from) } else { None }
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(exact).collect(),
        _ => None,
    }
}

fn shortest(literals: &[String]) -> usize {
    literals.iter().map(String::len).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pack::compile_expression;

    fn literals(expression: &str) -> Option<Vec<String>> {
        required_literals(&compile_expression(expression).unwrap().hir)
    }

    #[test]
    fn the_longest_required_part_is_chosen() {
        let cases: [(&str, Option<&[&str]>); 10] = [
            (r"\bTranslate\b", Some(&["translate"])),
            (r"(write|create) (me )?a (poem|story)", Some(&["create", "write"])),
            (r"in (french|german)$", Some(&["french", "german"])),
            (r"(foo|b.r)", None),
            (r"\d+ kilos?", Some(&[" kilo"])),
            (r"(?:abc)+x", Some(&["abc"])),
            (r"a.b", None),
            (r"\w+\?$", None),
            ("straße", Some(&["straße"])),
            ("翻译", Some(&["翻译"])),
        ];
        for (expression, expected) in cases {
            let expected = expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
            assert_eq!(literals(expression), expected, "for {expression:?}");
        }
    }

    proptest! {
        #[test]
        fn what_an_expression_matches_holds_one_of_its_literals(
            words in proptest::collection::vec("[a-zA-ZßéΣçЖ]{1,6}", 1..4),
            tail in "[a-z?]{0,3}",
            text in "[a-zA-ZßéΣςçЖK ]{0,20}",
            position in 0usize..3,
        ) {
            let expression = format!(r"\b({})\b.*{}", words.join("|"), regex_syntax::escape(&tail));
            let compiled = compile_expression(&expression).unwrap();
            let chosen = &words[position % words.len()];
            let text = fold(&format!("{text} {chosen} {text}{tail}"));
            prop_assert!(compiled.regex.is_match(&text));
            if let Some(literals) = required_literals(&compiled.hir) {
                prop_assert!(literals.iter().any(|literal| text.contains(literal.as_str())), "{literals:?} in {text:?}");
            }
        }
    }
}
