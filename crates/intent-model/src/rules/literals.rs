//! Finds the words without which an expression cannot match.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::text::fold;

/// The most literals of one choice.
const MAX_ALTERNATIVES: usize = 256;

/// The fewest bytes of a literal that is worth looking for: shorter ones occur in most texts.
const MIN_BYTES: usize = 2;

/// Strings of which at least one occurs in every folded text that an expression matches.
pub(super) type Choice = Vec<String>;

/// Returns the choices that every folded text the expression matches fulfils, all of them; none when the expression
/// requires nothing, or only strings so short that most texts hold them.
pub(super) fn required_choices(hir: &Hir) -> Vec<Choice> {
    let mut choices = required(hir);
    choices.retain(|choice| shortest(choice) >= MIN_BYTES);
    choices
}

fn required(hir: &Hir) -> Vec<Choice> {
    if let Some(literal) = exact(hir) {
        return if literal.is_empty() { Vec::new() } else { vec![vec![literal]] };
    }
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Alternation(branches) => required_of_branches(branches).into_iter().collect(),
        HirKind::Concat(parts) => required_of_sequence(parts),
        _ => Vec::new(),
    }
}

/// One of the branches matches, so one of their literals occurs: of each branch the choice that says most.
fn required_of_branches(branches: &[Hir]) -> Option<Choice> {
    let mut literals = Vec::new();
    for branch in branches {
        let best = required(branch).into_iter().max_by_key(|choice| (shortest(choice), usize::MAX - choice.len()))?;
        literals.extend(best);
    }
    literals.sort();
    literals.dedup();
    (literals.len() <= MAX_ALTERNATIVES).then_some(literals)
}

/// All parts match, so all that each requires occurs; neighbours that match one string only are one longer string.
fn required_of_sequence(parts: &[Hir]) -> Vec<Choice> {
    let mut choices: Vec<Choice> = Vec::new();
    let mut run = String::new();
    for part in parts {
        if let Some(literal) = exact(part) {
            run.push_str(&literal);
        } else {
            choices.push(vec![std::mem::take(&mut run)]);
            choices.extend(required(part));
        }
    }
    choices.push(vec![run]);
    choices.retain(|choice| shortest(choice) > 0);
    choices
}

/// The only string of folded text that a part matches; empty for what reads no character, such as `\b`.
fn exact(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(String::new()),
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Class(Class::Unicode(class)) => {
            let few = class.iter().map(|range| range.len()).sum::<usize>() <= 8;
            // Of the cases of a letter only one is left in folded text.
            let mut folded = class
                .iter()
                .flat_map(|range| (range.start()..=range.end()).take(8))
                .filter(|char| fold(char.encode_utf8(&mut [0; 4])).chars().eq([*char]));
            let only = folded.by_ref().next();
            if few && folded.next().is_none() { only.map(String::from) } else { None }
        }
        HirKind::Capture(capture) => exact(&capture.sub),
        HirKind::Concat(parts) => parts.iter().map(exact).collect(),
        _ => None,
    }
}

fn shortest(choice: &[String]) -> usize {
    choice.iter().map(String::len).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pack::{Expression, parse_expression};

    fn choices(expression: &str) -> Vec<Choice> {
        required_choices(&parse_expression(expression).unwrap())
    }

    #[test]
    fn all_choices_of_an_expression_are_found() {
        let cases: [(&str, &[&[&str]]); 11] = [
            (r"\bTranslate\b", &[&["translate"]]),
            (r"(write|create) (me )?a (poem|story)", &[&["create", "write"], &["a "], &["poem", "story"]]),
            (r"in (french|german)$", &[&["in "], &["french", "german"]]),
            (r"(foo|b.r)", &[]),
            (r"(foo.*bart|bazooka)", &[&["bart", "bazooka"]]),
            (r"\d+ kilos?", &[&[" kilo"]]),
            (r"(?:abc)+x?", &[&["abc"]]),
            (r"a.b", &[]),
            (r"\w+\?$", &[]),
            ("straße", &[&["straße"]]),
            ("翻译", &[&["翻译"]]),
        ];
        for (expression, expected) in cases {
            assert_eq!(choices(expression), expected, "for {expression:?}");
        }
    }

    proptest! {
        #[test]
        fn what_an_expression_matches_fulfils_its_choices(
            words in proptest::collection::vec("[a-zA-ZßéΣçЖ]{1,6}", 1..4),
            tail in "[a-z?]{0,3}",
            text in "[a-zA-ZßéΣςçЖK ]{0,20}",
            position in 0usize..3,
        ) {
            let expression = format!(r"\b({})\b.*{}", words.join("|"), regex_syntax::escape(&tail));
            let compiled = Expression::compile(&expression).unwrap();
            let chosen = &words[position % words.len()];
            let text = fold(&format!("{text} {chosen} {text}{tail}"));
            prop_assert!(compiled.is_match(&text));
            for choice in required_choices(&parse_expression(&expression).unwrap()) {
                prop_assert!(choice.iter().any(|literal| text.contains(literal.as_str())), "{choice:?} in {text:?}");
            }
        }
    }
}
