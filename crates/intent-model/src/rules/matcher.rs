//! Finds all rules that match a folded text in one pass and a few.

use std::{collections::HashMap, ops::Range};

use aho_corasick::{AhoCorasick, MatchKind, Span, StartKind};
use regex_syntax::hir::Hir;

use super::literals::required_choices;
use crate::{
    pack::{Expression, ExpressionSet, Pattern, is_whole, keyword_alternatives, parse_expression},
    text::fold,
};

/// All patterns of a pack, compiled together.
#[derive(Debug)]
pub(super) struct Matcher {
    /// All words that anything looks for.
    words: AhoCorasick,
    /// What the discovery of each word means; in the order of the automaton's patterns.
    meanings: Vec<Vec<Meaning>>,
    /// Per rule, the keyword entries that must be found; 0 for rules without keywords.
    keyword_masks: Vec<u64>,
    /// Expressions that are run when their words were found, and only around them.
    filtered: Vec<Filtered>,
    /// How many choices these have together.
    choices: usize,
    /// Expressions without such words, with their rules.
    unfiltered: Vec<(Expression, usize)>,
    /// All of `unfiltered` at once, without word boundaries; says which of them to run.
    unfiltered_set: ExpressionSet,
}

/// An expression with words that it cannot match without.
#[derive(Debug)]
struct Filtered {
    expression: Expression,
    rule: usize,
    /// The choices, among those of all expressions, of which each must have a word in the text.
    choices: Range<usize>,
}

/// What it means that a word occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The rule matches, if the word is whole.
    Phrase { rule: usize },
    /// One of the rule's keyword entries is there, if the word is whole.
    Keyword { rule: usize, entry: u32 },
    /// A choice of an expression is fulfilled.
    Choice { choice: usize },
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
        let mut builder = Builder::default();
        for (rule, pattern) in patterns.iter().enumerate() {
            builder.add(rule, pattern).map_err(|reason| Fault { rule: Some(rule), reason })?;
        }
        builder.build().map_err(|reason| Fault { rule: None, reason })
    }

    /// Returns the indices of the rules that match, in ascending order.
    pub(super) fn matches(&self, folded: &str) -> Vec<usize> {
        let mut found = Found {
            rules: vec![false; self.keyword_masks.len()],
            keywords: vec![0; self.keyword_masks.len()],
            choices: vec![None; self.choices],
        };
        for hit in self.words.find_overlapping_iter(folded) {
            let whole = is_whole(folded, hit.start(), hit.end());
            for meaning in &self.meanings[hit.pattern().as_usize()] {
                found.note(*meaning, whole, hit.span());
            }
        }
        for (rule, (entries, mask)) in found.keywords.iter().zip(&self.keyword_masks).enumerate() {
            found.rules[rule] |= *mask != 0 && entries == mask;
        }
        for Filtered { expression, rule, choices } in &self.filtered {
            // Another expression of the same rule may have matched already.
            if found.rules[*rule] {
                continue;
            }
            if let Some(window) = window(folded, &found.choices[choices.clone()], expression.longest()) {
                found.rules[*rule] = expression.is_match_within(folded, window);
            }
        }
        for index in self.unfiltered_set.candidates(folded) {
            let (expression, rule) = &self.unfiltered[index];
            found.rules[*rule] |= !found.rules[*rule] && expression.is_match(folded);
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
    /// Per choice, where its words were found.
    choices: Vec<Option<Occurrences>>,
}

/// Where the words of a choice stand in a text.
#[derive(Clone, Copy, Debug)]
struct Occurrences {
    /// The least offset at which one ends.
    first_end: usize,
    /// The greatest offset at which one begins.
    last_start: usize,
}

/// Returns the part of a text that holds every match of an expression, given where its words are and the most bytes a
/// match may have; `None` when there can be no match.
fn window(text: &str, choices: &[Option<Occurrences>], longest: Option<usize>) -> Option<Range<usize>> {
    let (mut start, mut end) = (0, text.len());
    for choice in choices {
        let Occurrences { first_end, last_start } = (*choice)?;
        if let Some(longest) = longest {
            start = start.max(first_end.saturating_sub(longest));
            end = end.min(last_start.saturating_add(longest));
        }
    }
    let (start, end) = (text.floor_char_boundary(start), text.ceil_char_boundary(end));
    (start < end).then_some(start..end)
}

impl Found {
    fn note(&mut self, meaning: Meaning, whole: bool, span: Span) {
        match meaning {
            Meaning::Phrase { rule } if whole => self.rules[rule] = true,
            Meaning::Keyword { rule, entry } if whole => self.keywords[rule] |= 1 << entry,
            Meaning::Choice { choice } => {
                let found = self.choices[choice].get_or_insert(Occurrences { first_end: span.end, last_start: 0 });
                found.first_end = found.first_end.min(span.end);
                found.last_start = found.last_start.max(span.start);
            }
            Meaning::Phrase { .. } | Meaning::Keyword { .. } => {}
        }
    }
}

/// Collects patterns rule by rule.
#[derive(Default)]
struct Builder {
    words: Vec<String>,
    indices: HashMap<String, usize>,
    meanings: Vec<Vec<Meaning>>,
    keyword_masks: Vec<u64>,
    filtered: Vec<Filtered>,
    choices: usize,
    unfiltered: Vec<(Expression, usize)>,
    /// The parsed forms of `unfiltered`, in the same order.
    unfiltered_parsed: Vec<Hir>,
}

impl Builder {
    fn add(&mut self, rule: usize, pattern: &Pattern) -> Result<(), String> {
        self.keyword_masks.push(0);
        match pattern {
            Pattern::Phrases(entries) => {
                entries.iter().for_each(|entry| self.add_word(fold(entry), Meaning::Phrase { rule }));
            }
            Pattern::Keywords(entries) if entries.len() > 64 => {
                return Err(format!("has {} keywords, at most 64 are allowed", entries.len()));
            }
            Pattern::Keywords(entries) => {
                for (entry, text) in (0..).zip(entries) {
                    self.keyword_masks[rule] |= 1 << entry;
                    keyword_alternatives(text).for_each(|word| self.add_word(word, Meaning::Keyword { rule, entry }));
                }
            }
            Pattern::Regex(entries) => {
                for entry in entries {
                    let parsed = parse_expression(entry)?;
                    self.add_expression(rule, Expression::of_parsed(entry, &parsed)?, parsed);
                }
            }
        }
        Ok(())
    }

    fn add_expression(&mut self, rule: usize, expression: Expression, parsed: Hir) {
        let required = required_choices(&parsed);
        if required.is_empty() {
            self.unfiltered.push((expression, rule));
            self.unfiltered_parsed.push(parsed);
            return;
        }
        let first = self.choices;
        for literals in required {
            let choice = self.choices;
            literals.into_iter().for_each(|literal| self.add_word(literal, Meaning::Choice { choice }));
            self.choices += 1;
        }
        self.filtered.push(Filtered { expression, rule, choices: first..self.choices });
    }

    fn add_word(&mut self, word: String, meaning: Meaning) {
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

    fn build(self) -> Result<Matcher, String> {
        let words = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .build(&self.words)
            .map_err(|error| format!("the phrases, keywords and expressions hold too many words: {error}"))?;
        let unfiltered_set = ExpressionSet::compile(&self.unfiltered_parsed)
            .map_err(|reason| format!("too many expressions require no word that could be looked for: {reason}"))?;
        Ok(Matcher {
            words,
            meanings: self.meanings,
            keyword_masks: self.keyword_masks,
            filtered: self.filtered,
            choices: self.choices,
            unfiltered: self.unfiltered,
            unfiltered_set,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn filters_and_windows_lose_no_match(text in "[abc dé?]{0,40}", a in "[abcé]{1,3}", b in "[abcd]{1,3}") {
            let expressions = [
                format!(r"\b{a}\b"),
                format!("{a}.{{0,4}}{b}"),
                format!("^{a}.*{b}"),
                format!(r"({a}|{b}) ?{b}\?$"),
                format!("(^|[^{a}])({a}{b})+( |$)"),
                format!(r"{a}\B.{{2}}"),
                format!("(?:{a} )?.{b}"),
                r"\w+\?".to_owned(),
            ];
            let patterns: Vec<Pattern> = expressions.iter().map(|source| Pattern::Regex(vec![source.clone()])).collect();
            let matcher = Matcher::compile(&patterns.iter().collect::<Vec<_>>()).unwrap();
            let text = fold(&text);
            let expected: Vec<usize> = (0..expressions.len())
                .filter(|&index| regex::Regex::new(&expressions[index]).unwrap().is_match(&text))
                .collect();
            prop_assert_eq!(matcher.matches(&text), expected, "in {:?}", text);
        }
    }
}
