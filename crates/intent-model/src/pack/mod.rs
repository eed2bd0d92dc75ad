//! Intent packs: what a person writes to say which intents there are and how to recognise them.
//!
//! A pack is one TOML file, or a folder with a `pack.toml` and splits of examples beside it:
//!
//! | file | rows | used for |
//! | --- | --- | --- |
//! | `pack.toml` | the intents with descriptions, rules, attributes and, if wanted, examples | everything |
//! | `train.jsonl` | `{"text", "intent"}` | more examples, after those of `pack.toml` |
//! | `validation.jsonl`, `test.jsonl` | `{"text", "intent"}` | choosing settings; the final figures |
//! | `out_of_scope_validation.jsonl`, `out_of_scope_test.jsonl` | `{"text"}` | the out-of-scope threshold; its figures |
//!
//! ```toml
//! name = "greetings"                  # required
//! version = "1.0.0"                   # required
//! description = "Says hello and goodbye."
//! language = "en"
//!
//! [[intents]]
//! name = "hello"                      # required; `out_of_scope` is reserved
//! description = "Opens a talk."       # required, for people and for `zero_shot`
//! attributes = { priority = 1 }       # any table; returned with every answer as JSON
//! examples = ["hi there", "good morning"]
//!
//! [[intents.rules]]                   # exactly one of `phrases`, `keywords` and `regex`
//! phrases = ["good morning", "hello"] # any of them, anywhere, as whole words
//! weight = 0.9                        # the confidence that this rule alone deserves, between 0 and 1
//! name = "greeting"                   # optional; answers name the rule that decided
//!
//! [[intents.rules]]
//! keywords = ["good", "day|evening"]  # all of them, as whole words in any order; `|` separates alternatives
//! weight = 0.6
//!
//! [[intents.rules]]
//! regex = '^hey\b'                    # a string or a list, any of them; Rust `regex` syntax, linear time
//! weight = 0.7
//!
//! [[intents]]
//! name = "goodbye"
//! description = "Ends a talk."
//! ```
//!
//! Rules look at the text as [`crate::text::fold`] leaves it: lower case, one line, single spaces, straight quotes.

mod checks;
mod definition;
mod expression;
mod pattern;
mod problem;
mod report;
mod source;
mod splits;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

pub(crate) use expression::{Expression, ExpressionSet, parse as parse_expression};
pub(crate) use pattern::{is_whole, keyword_alternatives};
pub use problem::{PackErrors, Place, Problem, ProblemCode};
pub use report::{IntentSummary, Matches, PackReport, RuleSummary, RulesCoverage, SplitSizes};

use crate::Labels;

/// A set of intents and all that is known about recognising them.
///
/// A pack that was loaded is free of the mistakes in [`ProblemCode`].
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// The name of the pack.
    pub name: String,
    /// The version its author gave it.
    pub version: String,
    /// What the pack is for.
    pub description: Option<String>,
    /// The language of its texts, as a BCP 47 tag such as `en`.
    pub language: Option<String>,
    /// The intents, in the order of the labels.
    pub intents: Vec<Intent>,
    /// Texts for choosing settings; never trained on.
    pub validation: Vec<LabelledText>,
    /// Texts for the final figures; never trained on, never used to choose anything.
    pub test: Vec<LabelledText>,
    /// Texts of no intent, for the out-of-scope threshold.
    pub out_of_scope_validation: Vec<String>,
    /// Texts of no intent, for the final out-of-scope figures.
    pub out_of_scope_test: Vec<String>,
}

/// One thing a text may want.
#[derive(Clone, Debug, PartialEq)]
pub struct Intent {
    /// The name in requests, answers and files.
    pub name: String,
    /// What belongs to it and what does not, in one to three sentences.
    pub description: String,
    /// Whatever the pack attaches to answers of this intent.
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Texts of this intent: those of `pack.toml` first, then those of `train.jsonl`, each in the order of the file.
    pub examples: Vec<String>,
    /// The rules, in the order of the file.
    pub rules: Vec<Rule>,
}

/// One way to recognise an intent without training.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name, unique within the intent; made from the first pattern when the pack gives none.
    pub name: String,
    /// What the text must contain.
    pub pattern: Pattern,
    /// The confidence that this rule alone deserves: of the texts that it matches and no rule of another intent does,
    /// the share that has this intent; in (0, 1).
    pub weight: f32,
}

/// What a rule looks for in a folded text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Any of these, anywhere between word boundaries.
    Phrases(Vec<String>),
    /// All of these, in any order, each between word boundaries; one entry may hold alternatives separated by `|`.
    Keywords(Vec<String>),
    /// Any of these regular expressions.
    Regex(Vec<String>),
}

/// A text and the intent a person gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LabelledText {
    /// The text as a user would send it.
    pub text: String,
    /// The index of its intent in [`Pack::intents`].
    pub label: usize,
}

impl Pack {
    /// Loads a pack from a folder that holds a `pack.toml`, or from a single TOML file.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once: see [`ProblemCode`].
    pub fn load(path: &Path) -> Result<Self, PackErrors> {
        Self::from_sources(&source::Sources::read(path)?)
    }

    /// Loads a pack from files in memory, given by name and content as they would stand in the folder.
    ///
    /// # Errors
    /// As [`Pack::load`].
    pub fn load_embedded(files: &[(&str, &str)]) -> Result<Self, PackErrors> {
        Self::from_sources(&source::Sources::embedded(files)?)
    }

    fn from_sources(sources: &source::Sources) -> Result<Self, PackErrors> {
        let mut problems = problem::Problems::default();
        let Some(mut draft) = definition::read(&sources.definition, &mut problems) else {
            return Err(problems.or(()).expect_err("a definition that could not be read left a problem"));
        };
        splits::read(sources, &mut draft, &mut problems);
        checks::check(&draft, &mut problems);
        problems.or(draft).map(definition::Draft::into_pack)
    }

    /// Makes a pack from labelled texts alone: descriptions are the names as words, and there are no rules.
    ///
    /// A text that stands there twice, or under two labels, is kept where it stands first.
    ///
    /// # Errors
    /// As [`Pack::load`], for labels that cannot name intents.
    pub fn from_examples<'a>(
        name: &str,
        labels: &Labels,
        examples: impl IntoIterator<Item = (&'a str, usize)>,
    ) -> Result<Self, PackErrors> {
        let mut seen = std::collections::HashSet::new();
        let mut intents: Vec<Intent> = labels.iter().map(Intent::from_name).collect();
        for (text, label) in examples {
            let key = crate::text::fold(text);
            if !key.is_empty() && seen.insert(key) {
                intents[label].examples.push(text.to_owned());
            }
        }
        let pack = Self {
            name: name.to_owned(),
            version: "0".to_owned(),
            description: None,
            language: None,
            intents,
            validation: Vec::new(),
            test: Vec::new(),
            out_of_scope_validation: Vec::new(),
            out_of_scope_test: Vec::new(),
        };
        Self::load_embedded(&[(source::DEFINITION, &pack.to_toml())])
    }

    /// Returns the names of the intents in their order.
    pub fn labels(&self) -> Labels {
        Labels::new(self.intents.iter().map(|intent| &*intent.name))
    }

    /// Iterates over the examples of all intents, intent by intent.
    pub fn examples(&self) -> impl Iterator<Item = (&str, usize)> {
        let labelled = self.intents.iter().enumerate();
        labelled.flat_map(|(label, intent)| intent.examples.iter().map(move |text| (text.as_str(), label)))
    }

    /// Writes the pack as one TOML file with the examples inside; validation, test and out-of-scope texts are left out.
    ///
    /// Loading the result gives the same intents, examples and rules.
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }

    /// Returns the SHA-256 of [`Pack::to_toml`] in hexadecimal: equal for packs that serve and train the same.
    pub fn content_hash(&self) -> String {
        Sha256::digest(self.to_toml()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns a commented `pack.toml` to start from, with two intents that load as they are.
    pub fn template(name: &str) -> String {
        template::template(name)
    }

    /// Counts what is in the pack, measures its rules on its own texts, and warns of what may be better.
    pub fn report(&self) -> PackReport {
        report::report(self)
    }
}

impl Intent {
    fn from_name(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: words_of_name(name),
            attributes: serde_json::Map::new(),
            examples: Vec::new(),
            rules: Vec::new(),
        }
    }
}

/// Returns the name of an intent as a person would say it: `card_arrival` and `CardArrival` as `card arrival`.
pub(crate) fn words_of_name(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for char in name.chars() {
        if char.is_uppercase() && after_lower {
            words.push(' ');
        }
        after_lower = char.is_lowercase() || char.is_numeric();
        words.extend(if char.is_alphanumeric() { char.to_lowercase().collect() } else { vec![' '] });
    }
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() { name.to_owned() } else { words }
}
