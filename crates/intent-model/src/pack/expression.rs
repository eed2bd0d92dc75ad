//! The regular expressions of rules.

use std::{
    ops::Range,
    panic::{RefUnwindSafe, UnwindSafe},
    sync::OnceLock,
};

use regex_automata::{
    Anchored, Input, MatchKind, PatternSet,
    hybrid::dfa::{Cache, DFA},
    meta::{BuildError, Config, Regex},
    nfa::thompson::{self, NFA, WhichCaptures},
    util::pool::Pool,
};
use regex_syntax::{
    ParserBuilder,
    hir::{Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition},
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
///
/// Most texts are ASCII, and for these an automaton is enough that knows of no other characters: it takes a tenth of the
/// memory of one that does. The engines for other text are compiled when the first comes.
#[derive(Debug)]
pub(crate) struct Expression {
    source: Box<str>,
    ascii: Automaton,
    /// Without its word boundaries, the expression matches wherever the exact one does. In text that is not ASCII,
    /// boundaries are only found by an engine some thirty times slower, and this one says when not to ask it.
    loose: OnceLock<Automaton>,
    exact: OnceLock<Regex>,
    shortest: Option<usize>,
    longest: Option<usize>,
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
        // What is compiled later must not turn out to be too large then.
        nfa(hir)?;
        Ok(Self {
            source: source.into(),
            ascii: Automaton::compile(&within_ascii(hir))?,
            loose: OnceLock::new(),
            exact: OnceLock::new(),
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
        let in_ascii = if text[window].is_ascii() { self.ascii.is_match(&input) } else { None };
        in_ascii.unwrap_or_else(|| self.loose().is_match(&input).unwrap_or(true) && self.exact().is_match(input))
    }

    fn loose(&self) -> &Automaton {
        self.loose.get_or_init(|| {
            Automaton::compile(&without_word_boundaries(&self.parsed()))
                .expect("what compiles within the limit needs no more room without its boundaries")
        })
    }

    fn exact(&self) -> &Regex {
        // Without a limit, as it also reads backwards, which takes a few times more.
        let compiled = || compile(&[&self.parsed()], MatchKind::LeftmostFirst, None);
        self.exact.get_or_init(|| compiled().expect("it was compiled within a limit before"))
    }

    fn parsed(&self) -> Hir {
        parse(&self.source).expect("it was parsed before")
    }
}

/// An automaton that reads forwards and tells whether there is a match, not where.
#[derive(Debug)]
struct Automaton {
    dfa: DFA,
    /// What each thread has seen of it so far.
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync + UnwindSafe + RefUnwindSafe>>,
    anchored: Anchored,
}

impl Automaton {
    fn compile(hir: &Hir) -> Result<Self, String> {
        let config = DFA::config().unicode_word_boundary(true).skip_cache_capacity_check(true);
        let dfa = DFA::builder().configure(config).build_from_nfa(nfa(hir)?).map_err(|error| error.to_string())?;
        let for_caches = dfa.clone();
        let is_anchored = hir.properties().look_set_prefix().contains(Look::Start);
        Ok(Self {
            dfa,
            caches: Pool::new(Box::new(move || for_caches.create_cache())),
            anchored: if is_anchored { Anchored::Yes } else { Anchored::No },
        })
    }

    /// Returns nothing where a word boundary depends on a character that is not ASCII.
    fn is_match(&self, input: &Input<'_>) -> Option<bool> {
        let input = input.clone().anchored(self.anchored).earliest(true);
        let found = self.dfa.try_search_fwd(&mut self.caches.get(), &input);
        found.map(|found| found.is_some()).ok()
    }
}

fn nfa(hir: &Hir) -> Result<NFA, String> {
    let config = thompson::Config::new().nfa_size_limit(Some(MAX_BYTES)).which_captures(WhichCaptures::None);
    let compiled = thompson::Compiler::new().configure(config).build_from_hir(hir);
    compiled.map_err(|error| refusal(error.size_limit(), &error))
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
        Ok(Self(compile(&loose.iter().collect::<Vec<_>>(), MatchKind::All, Some(MAX_SET_BYTES))?))
    }

    /// Returns the positions of the expressions that may match a folded text, in ascending order.
    pub(crate) fn candidates(&self, text: &str) -> Vec<usize> {
        let mut patterns = PatternSet::new(self.0.pattern_len());
        self.0.which_overlapping_matches(&Input::new(text), &mut patterns);
        patterns.iter().map(|pattern| pattern.as_usize()).collect()
    }
}

fn compile(expressions: &[&Hir], kind: MatchKind, bytes: Option<usize>) -> Result<Regex, String> {
    // Whole DFAs of expressions as small as these would be no faster and take twice the memory.
    let config = Config::new()
        .match_kind(kind)
        .nfa_size_limit(bytes)
        .which_captures(WhichCaptures::None)
        .dfa(false)
        .onepass(false);
    Regex::builder()
        .configure(config)
        .build_many_from_hir(expressions)
        .map_err(|error: BuildError| refusal(error.size_limit(), &error))
}

/// Says why an expression does not compile.
fn refusal(size_limit: Option<usize>, error: &dyn std::error::Error) -> String {
    match size_limit {
        Some(limit) => {
            format!("it grows beyond {limit} bytes when compiled; repeat less, or a smaller class, `[a-z]` for `\\w`")
        }
        None => error.to_string(),
    }
}

/// The parser draws the expression with a caret over several lines; its last line says what is wrong.
fn last_line(message: &str) -> String {
    let line = message.lines().last().unwrap_or(message).trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn without_word_boundaries(hir: &Hir) -> Hir {
    map_leaves(hir, &|leaf| match leaf.kind() {
        HirKind::Look(look) if !is_edge_of_text_or_line(*look) => Hir::empty(),
        _ => leaf.clone(),
    })
}

fn is_edge_of_text_or_line(look: Look) -> bool {
    matches!(look, Look::Start | Look::End | Look::StartLF | Look::EndLF | Look::StartCRLF | Look::EndCRLF)
}

/// Returns what matches the same in texts that are ASCII.
fn within_ascii(hir: &Hir) -> Hir {
    map_leaves(hir, &|leaf| match leaf.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.intersect(&ClassUnicode::new([ClassUnicodeRange::new('\0', '\x7f')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Literal(literal) if !literal.0.is_ascii() => Hir::fail(),
        _ => leaf.clone(),
    })
}

/// Replaces everything that holds nothing else.
fn map_leaves(hir: &Hir, map: &impl Fn(&Hir) -> Hir) -> Hir {
    let all = |parts: &[Hir]| parts.iter().map(|part| map_leaves(part, map)).collect();
    match hir.kind() {
        HirKind::Capture(capture) => map_leaves(&capture.sub, map),
        HirKind::Repetition(repetition) => {
            let sub = Box::new(map_leaves(&repetition.sub, map));
            Hir::repetition(Repetition { sub, ..*repetition })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)),
        HirKind::Alternation(branches) => Hir::alternation(all(branches)),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => map(hir),
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
            prop_assert!(!exact.is_match(&text) || expression.loose().is_match(&Input::new(&text)) == Some(true));
        }
    }
}
