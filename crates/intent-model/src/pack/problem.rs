//! What can be wrong with a pack, told all at once with file, line and intent.

use std::{fmt, sync::Arc};

use serde::Serialize;

/// The kinds of mistakes, each with a stable code for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemCode {
    /// A file is missing or cannot be read.
    Unreadable,
    /// A file is not UTF-8.
    NotUtf8,
    /// A file, a text or a list is longer than the limit.
    TooLarge,
    /// A file of examples has a name that no split has.
    UnknownFile,
    /// The file is not TOML, or the line is not JSON.
    Syntax,
    /// A key that the format does not have.
    UnknownKey,
    /// A required key is missing.
    MissingKey,
    /// A value of another type than the key takes.
    WrongType,
    /// A name that cannot be used as one.
    InvalidName,
    /// The name `out_of_scope`.
    ReservedName,
    /// Two intents of the same name.
    DuplicateIntent,
    /// Fewer than two intents.
    TooFewIntents,
    /// A description, example or pattern without content.
    Empty,
    /// The same example twice in one intent, or twice in one split.
    DuplicateExample,
    /// The same example under two intents.
    ConflictingExample,
    /// A text that stands in two splits.
    Leak,
    /// A row that names an intent which the pack does not have.
    UnknownIntent,
    /// A rule without exactly one of `phrases`, `keywords` and `regex`.
    RuleKind,
    /// A regular expression that does not compile or grows too large.
    InvalidRegex,
    /// A rule that matches every text.
    MatchesEverything,
    /// A weight outside 0 to 1.
    WeightOutOfRange,
    /// Two rules of one intent with the same name, or a pattern twice in one intent.
    DuplicateRule,
}

impl ProblemCode {
    /// Returns the code as it is written in JSON and shown behind a message.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NotUtf8 => "not_utf8",
            Self::TooLarge => "too_large",
            Self::UnknownFile => "unknown_file",
            Self::Syntax => "syntax",
            Self::UnknownKey => "unknown_key",
            Self::MissingKey => "missing_key",
            Self::WrongType => "wrong_type",
            Self::InvalidName => "invalid_name",
            Self::ReservedName => "reserved_name",
            Self::DuplicateIntent => "duplicate_intent",
            Self::TooFewIntents => "too_few_intents",
            Self::Empty => "empty",
            Self::DuplicateExample => "duplicate_example",
            Self::ConflictingExample => "conflicting_example",
            Self::Leak => "leak",
            Self::UnknownIntent => "unknown_intent",
            Self::RuleKind => "rule_kind",
            Self::InvalidRegex => "invalid_regex",
            Self::MatchesEverything => "matches_everything",
            Self::WeightOutOfRange => "weight_out_of_range",
            Self::DuplicateRule => "duplicate_rule",
        }
    }
}

/// Where in the files of a pack something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as it was given.
    #[serde(serialize_with = "as_string")]
    pub file: Arc<str>,
    /// The line, from 1; `None` when the file as a whole is meant.
    pub line: Option<usize>,
}

fn as_string<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// One mistake in a pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The kind of mistake.
    pub code: ProblemCode,
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// The intent it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// What was found, what was expected, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(intent) = &self.intent {
            write!(f, "intent `{intent}`: ")?;
        }
        write!(f, "{} [{}]", self.message, self.code.as_str())
    }
}

/// Everything that is wrong with a pack, in the order of files and lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PackErrors(Vec<Problem>);

impl PackErrors {
    /// Returns the problems, in the order of files and lines.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for PackErrors {
    /// Writes one problem a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PackErrors {}

/// Collects problems while a pack is read.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, code: ProblemCode, place: &Place, intent: Option<&str>, message: impl Into<String>) {
        let (place, intent) = (place.clone(), intent.map(str::to_owned));
        self.0.push(Problem { code, place, intent, message: message.into() });
    }

    /// Returns `value` when nothing was found to be wrong.
    pub(super) fn or<T>(mut self, value: T) -> Result<T, PackErrors> {
        if self.0.is_empty() {
            return Ok(value);
        }
        // Stable: problems of one line stay in the order in which they were found.
        self.0.sort_by(|a, b| a.place.cmp(&b.place));
        Err(PackErrors(self.0))
    }
}

/// Returns `, did you mean …?` with the candidate that differs least from `name`, or nothing when none is near.
pub(super) fn suggestion<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.chars().count() / 3)
        .min()
        .map_or_else(String::new, |(_, candidate)| format!(", did you mean `{candidate}`?"))
}

/// Counts the insertions, deletions and replacements between two words (Levenshtein 1966).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(suggestion("phrase", ["phrases", "keywords", "regex"]), ", did you mean `phrases`?");
        assert_eq!(suggestion("wieght", ["weight", "name"]), ", did you mean `weight`?");
        assert_eq!(suggestion("colour", ["phrases", "keywords", "regex"]), "");
    }

    #[test]
    fn a_problem_reads_as_one_line_with_its_code() {
        let problem = Problem {
            code: ProblemCode::UnknownKey,
            place: Place { file: "pack.toml".into(), line: Some(7) },
            intent: Some("greeting".into()),
            message: "unknown key `phrase`".into(),
        };
        assert_eq!(problem.to_string(), "pack.toml:7: intent `greeting`: unknown key `phrase` [unknown_key]");
    }

    #[test]
    fn every_code_is_written_the_same_in_json_and_in_text() {
        use ProblemCode as C;
        for code in [C::Unreadable, C::NotUtf8, C::RuleKind, C::WeightOutOfRange, C::MatchesEverything, C::Leak] {
            assert_eq!(serde_json::json!(code), code.as_str());
        }
    }
}
