//! The regular expressions of rules.

use std::{ops::Range, sync::OnceLock};

use regex_automata::{
    Input, MatchKind, PatternSet,
    meta::{BuildError, Config, Regex},
    nfa::thompson::WhichCaptures,
};
use regex_syntax::{
    ParserBuilder,
    hir::{Hir, HirKind, Look, Repetition},
};

/// The most bytes a compiled expression may take: room for a few hundred Unicode classes.
const MAX_BYTES: usize = 1024 * 1024;

/// The most bytes that expressions looked for at once may take together.
const MAX_SET_BYTES: usize = 64 * 1024 * 1024;

/// How deep groups may nest.
const MAX_DEPTH: u32 = 50;

/// Parses an expression, which ignores case.
///
/// # Errors
/// The parser's message, on one line.
pub(crate) fn parse(expression: &str) -> Result<Hir, String> {
    ParserBuilder::new()
        .case_insensitive(true)
        .nest_limit(MAX_DEPTH)
        .build()
        .parse(expression)
        .map_err(|error| last_line(&error.to_string()))
}

/// A compiled expression, matched in time linear in the length of the text.
#[derive(Debug)]
pub(crate) struct Expression {
    exact: Regex,
    loose: Option<Loose>,
    shortest: Option<usize>,
    longest: Option<usize>,
}

/// An expression without its word boundaries: it matches wherever the exact one does. In text that is not ASCII,
/// boundaries are only found by an engine some thirty times slower, and this one says when not to ask it. Most packs
/// meet little such text, so it is compiled when the first comes.
#[derive(Debug)]
struct Loose {
    source: Box<str>,
    compiled: OnceLock<Regex>,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// The parser's message, on one line, or that it grows too large.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        Self::of_parsed(source, &parse(source)?)
    }

    /// Compiles an expression that is parsed already.
    ///
    /// # Errors
    /// That it grows too large.
    pub(crate) fn of_parsed(source: &str, hir: &Hir) -> Result<Self, String> {
        let is_bounded = hir.properties().look_set().contains_word_unicode();
        Ok(Self {
            exact: compile(&[hir], MatchKind::LeftmostFirst, MAX_BYTES)?,
            loose: is_bounded.then(|| Loose { source: source.into(), compiled: OnceLock::new() }),
            shortest: hir.properties().minimum_len(),
            longest: hir.properties().maximum_len(),
        })
    }

    /// Returns the fewest bytes that a match may have; `None` when nothing can match.
    pub(crate) fn shortest(&self) -> Option<usize> {
        self.shortest
    }

    /// Returns the most bytes that a match may have, when there is a limit.
    pub(crate) fn longest(&self) -> Option<usize> {
        self.longest
    }

    /// Tells whether a folded text matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.is_match_within(text, 0..text.len())
    }

    /// Tells whether there is a match between two offsets of a folded text; what is outside counts for boundaries only.
    ///
    /// # Panics
    /// When the offsets are not within the text.
    pub(crate) fn is_match_within(&self, text: &str, window: Range<usize>) -> bool {
        let input = Input::new(text).span(window.clone());
        match &self.loose {
            Some(loose) if !text[window].is_ascii() => {
                loose.regex().is_match(input.clone()) && self.exact.is_match(input)
            }
            _ => self.exact.is_match(input),
        }
    }
}

impl Loose {
    fn regex(&self) -> &Regex {
        self.compiled.get_or_init(|| {
            let hir = parse(&self.source).expect("the exact expression was parsed from the same source");
            compile(&[&without_word_boundaries(&hir)], MatchKind::LeftmostFirst, 2 * MAX_BYTES)
                .expect("what compiles within the limit needs no more room without its boundaries")
        })
    }
}

/// Many expressions, looked for at once.
#[derive(Debug)]
pub(crate) struct ExpressionSet(Regex);

impl ExpressionSet {
    /// Compiles parsed expressions without their word boundaries.
    ///
    /// # Errors
    /// That together they grow too large.
    pub(crate) fn compile<'a>(expressions: impl IntoIterator<Item = &'a Hir>) -> Result<Self, String> {
        let loose: Vec<Hir> = expressions.into_iter().map(without_word_boundaries).collect();
        Ok(Self(compile(&loose.iter().collect::<Vec<_>>(), MatchKind::All, MAX_SET_BYTES)?))
    }

    /// Returns the positions of the expressions that may match a folded text, in ascending order.
    pub(crate) fn candidates(&self, text: &str) -> Vec<usize> {
        let mut patterns = PatternSet::new(self.0.pattern_len());
        self.0.which_overlapping_matches(&Input::new(text), &mut patterns);
        patterns.iter().map(|pattern| pattern.as_usize()).collect()
    }
}

fn compile(expressions: &[&Hir], kind: MatchKind, bytes: usize) -> Result<Regex, String> {
    // Whole DFAs of expressions as small as these would be no faster and take twice the memory.
    let config = Config::new()
        .match_kind(kind)
        .nfa_size_limit(Some(bytes))
        .which_captures(WhichCaptures::None)
        .dfa(false)
        .onepass(false);
    Regex::builder().configure(config).build_many_from_hir(expressions).map_err(|error: BuildError| {
        match error.size_limit() {
            Some(limit) => format!(
                "it grows beyond {limit} bytes when compiled; repeat less, or a smaller class, `[a-z]` for `\\w`"
            ),
            None => error.to_string(),
        }
    })
}

/// The parser draws the expression with a caret over several lines; its last line says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn without_word_boundaries(hir: &Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(without_word_boundaries).collect();
    match hir.kind() {
        HirKind::Look(Look::Start | Look::End | Look::StartLF | Look::EndLF | Look::StartCRLF | Look::EndCRLF) => {
            hir.clone()
        }
        HirKind::Look(_) => Hir::empty(),
        HirKind::Capture(capture) => without_word_boundaries(&capture.sub),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(without_word_boundaries(&repetition.sub));
            Hir::repetition(Repetition { sub, ..*repetition })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(branches) => Hir::alternation(all(branches)),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_broken_or_huge_expression_is_explained_in_one_line() {
        assert_eq!(Expression::compile("(a").unwrap_err(), "unclosed group");
        assert!(Expression::compile(r"(?:\w{100}){100}").unwrap_err().contains("when compiled"));
        assert!(Expression::compile(r"(a)\1").unwrap_err().contains("backreferences"));
        assert!(!Expression::compile(&"(".repeat(10_000)).unwrap_err().contains('\n'));
    }

    proptest! {
        #[test]
        fn in_text_that_is_not_ascii_boundaries_are_still_found(text in "[a-cäß東 '-]{0,12}", word in "[a-cäß]{1,3}") {
            let source = format!(r"\b({word}|a'b)\b|^c+\B");
            let expression = Expression::compile(&source).unwrap();
            let exact = Regex::new(&source).unwrap();
            prop_assert_eq!(expression.is_match(&text), exact.is_match(&text));
            prop_assert!(!expression.exact.is_match(&text) || expression.loose.as_ref().unwrap().regex().is_match(&text));
        }
    }
}
