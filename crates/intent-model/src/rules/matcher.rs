//! Finds all rules that match a folded text in one pass and a few.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind, StartKind};
use regex::{Regex, RegexSet, RegexSetBuilder};

use super::literals::required_literals;
use crate::{
    pack::{Pattern, compile_expression, is_whole, keyword_alternatives},
    text::fold,
};

/// The most bytes the set of expressions without required words may take.
const EXPRESSION_SET_BYTES: usize = 64 * 1024 * 1024;

/// All patterns of a pack, compiled together.
#[derive(Debug)]
pub(super) struct Matcher {
    /// All words that anything looks for.
    words: AhoCorasick,
    /// What the discovery of each word means; in the order of the automaton's patterns.
    meanings: Vec<Vec<Meaning>>,
    /// Per rule, the keyword entries that must be found; 0 for rules without keywords.
    keyword_masks: Vec<u64>,
    /// Expressions that are run when a word of theirs was found, with their rules.
    filtered: Vec<(Regex, usize)>,
    /// Expressions that are run on every text.
    unfiltered: RegexSet,
    /// The rule of each expression in `unfiltered`.
    unfiltered_rules: Vec<usize>,
}

/// What it means that a word occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The rule matches, if the word is whole.
    Phrase { rule: usize },
    /// One of the rule's keyword entries is there, if the word is whole.
    Keyword { rule: usize, entry: u32 },
    /// The expression may match.
    Expression { index: usize },
}

/// Why patterns do not compile.
#[derive(Debug)]
pub(super) struct Fault {
    /// The rule at fault, unless it is all of them together.
    pub(super) rule: Option<usize>,
    pub(super) reason: String,
}

impl Matcher {
    /// Compiles the patterns of all rules, in the order of the rules.
    pub(super) fn compile(patterns: &[&Pattern]) -> Result<Self, Fault> {
        let mut words = Words::default();
        let mut keyword_masks = vec![0; patterns.len()];
        let mut filtered = Vec::new();
        let mut unfiltered = Vec::new();
        let mut unfiltered_rules = Vec::new();
        for (rule, pattern) in patterns.iter().enumerate() {
            let fault = |reason| Fault { rule: Some(rule), reason };
            match pattern {
                Pattern::Phrases(entries) => {
                    entries.iter().for_each(|entry| words.add(fold(entry), Meaning::Phrase { rule }));
                }
                Pattern::Keywords(entries) if entries.len() > 64 => {
                    return Err(fault(format!("has {} keywords, at most 64 are allowed", entries.len())));
                }
                Pattern::Keywords(entries) => {
                    for (entry, text) in (0..).zip(entries) {
                        keyword_masks[rule] |= 1 << entry;
                        keyword_alternatives(text).for_each(|word| words.add(word, Meaning::Keyword { rule, entry }));
                    }
                }
                Pattern::Regex(entries) => {
                    for entry in entries {
                        let expression = compile_expression(entry).map_err(fault)?;
                        let Some(literals) = required_literals(&expression.hir) else {
                            unfiltered.push(entry);
                            unfiltered_rules.push(rule);
                            continue;
                        };
                        let index = filtered.len();
                        filtered.push((expression.regex, rule));
                        literals.into_iter().for_each(|literal| words.add(literal, Meaning::Expression { index }));
                    }
                }
            }
        }
        let fault = |reason: String| Fault { rule: None, reason };
        let unfiltered = RegexSetBuilder::new(&unfiltered)
            .case_insensitive(true)
            .size_limit(EXPRESSION_SET_BYTES)
            .dfa_size_limit(EXPRESSION_SET_BYTES)
            .build()
            .map_err(|error| fault(format!("the expressions together are too large: {error}")))?;
        let (words, meanings) = words.compile().map_err(|error| fault(format!("too many patterns: {error}")))?;
        Ok(Self { words, meanings, keyword_masks, filtered, unfiltered, unfiltered_rules })
    }

    /// Returns the indices of the rules that match, in ascending order.
    pub(super) fn matches(&self, folded: &str) -> Vec<usize> {
        let mut found = Found {
            rules: vec![false; self.keyword_masks.len()],
            keywords: vec![0; self.keyword_masks.len()],
            candidates: vec![false; self.filtered.len()],
        };
        for hit in self.words.find_overlapping_iter(folded) {
            let whole = is_whole(folded, hit.start(), hit.end());
            for meaning in &self.meanings[hit.pattern().as_usize()] {
                found.note(*meaning, whole);
            }
        }
        for (rule, (entries, mask)) in found.keywords.iter().zip(&self.keyword_masks).enumerate() {
            found.rules[rule] |= *mask != 0 && entries == mask;
        }
        for ((expression, rule), candidate) in self.filtered.iter().zip(found.candidates) {
            // Another expression of the same rule may have matched already.
            found.rules[*rule] |= candidate && !found.rules[*rule] && expression.is_match(folded);
        }
        for index in self.unfiltered.matches(folded) {
            found.rules[self.unfiltered_rules[index]] = true;
        }
        found.rules.iter().enumerate().filter(|(_, matched)| **matched).map(|(rule, _)| rule).collect()
    }
}

/// What one pass over a text found.
struct Found {
    /// Per rule, whether it matches.
    rules: Vec<bool>,
    /// Per rule, the keyword entries found so far.
    keywords: Vec<u64>,
    /// Per filtered expression, whether it may match.
    candidates: Vec<bool>,
}

impl Found {
    fn note(&mut self, meaning: Meaning, whole: bool) {
        match meaning {
            Meaning::Phrase { rule } if whole => self.rules[rule] = true,
            Meaning::Keyword { rule, entry } if whole => self.keywords[rule] |= 1 << entry,
            Meaning::Expression { index } => self.candidates[index] = true,
            Meaning::Phrase { .. } | Meaning::Keyword { .. } => {}
        }
    }
}

/// The distinct words of all patterns.
#[derive(Default)]
struct Words {
    indices: HashMap<String, usize>,
    words: Vec<String>,
    meanings: Vec<Vec<Meaning>>,
}

impl Words {
    fn add(&mut self, word: String, meaning: Meaning) {
        // An empty word is refused when a pack is loaded; in a pack made by hand it matches nothing.
        if word.is_empty() {
            return;
        }
        let next = self.words.len();
        let index = *self.indices.entry(word.clone()).or_insert(next);
        if index == next {
            self.words.push(word);
            self.meanings.push(Vec::new());
        }
        if !self.meanings[index].contains(&meaning) {
            self.meanings[index].push(meaning);
        }
    }

    fn compile(self) -> Result<(AhoCorasick, Vec<Vec<Meaning>>), aho_corasick::BuildError> {
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .build(&self.words)?;
        Ok((automaton, self.meanings))
    }
}
