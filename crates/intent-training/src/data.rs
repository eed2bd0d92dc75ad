//! Labelled texts from JSONL and CSV files.
//!
//! Every row that cannot be used is reported with its file and line, all of them at once; none is left out silently.

use std::{collections::BTreeMap, fmt, fs, path::Path, sync::Arc};

use intent_model::OUT_OF_SCOPE;
use serde::Deserialize;

/// A labelled text and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The text, as it is in the file.
    pub text: String,
    /// The name of its intent.
    pub intent: String,
    /// Where it stands.
    pub origin: Origin,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// The line, counted from 1; `None` for what concerns the whole file.
    pub line: Option<u64>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file.display()),
            None => write!(f, "{}", self.file.display()),
        }
    }
}

/// Something about the data that a person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataProblem {
    /// Where; `None` when it concerns all data together.
    pub origin: Option<Origin>,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for DataProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Everything that makes some data unusable, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct DataErrors(pub Vec<DataProblem>);

impl fmt::Display for DataErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 50;
        write!(f, "the data has {} problem(s)", self.0.len())?;
        for problem in self.0.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// Reads a file of labelled texts: JSON lines `{"text", "intent"}` (`.jsonl`, `.ndjson`) or comma-separated values with
/// a header that names the columns `text` and `intent` (`.csv`); other fields are ignored.
///
/// # Errors
/// With every problem found: the file cannot be read, is empty, is not UTF-8, has an unknown ending, lacks a column, or
/// has rows that cannot be parsed or whose text or intent is empty.
pub fn read_file(path: &Path) -> Result<Vec<Example>, DataErrors> {
    read(path, None)
}

/// Reads a file of out-of-scope texts: as [`read_file`], but rows need no intent, and one that is there does not count.
///
/// # Errors
/// As [`read_file`].
pub fn read_out_of_scope(path: &Path) -> Result<Vec<String>, DataErrors> {
    Ok(read(path, Some(OUT_OF_SCOPE))?.into_iter().map(|row| row.text).collect())
}

/// Reads a file; rows without an intent have that of `unlabelled`, and are a problem when it is `None`.
fn read(path: &Path, unlabelled: Option<&'static str>) -> Result<Vec<Example>, DataErrors> {
    let file: Arc<Path> = path.into();
    let fail = |message: String| {
        let origin = Some(Origin { file: Arc::clone(&file), line: None });
        Err(DataErrors(vec![DataProblem { origin, message }]))
    };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return fail(format!("cannot be read: {error}")),
    };
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
    let rows = match ending.as_deref() {
        Some("jsonl" | "ndjson") => parse_jsonl,
        Some("csv") => parse_csv,
        _ => return fail("has an unknown ending, expected `.jsonl` or `.csv`".to_owned()),
    };
    if let Some(encoding) = other_encoding(&bytes) {
        return fail(format!("is {encoding}, expected UTF-8: save it as UTF-8 and try again"));
    }
    let mut reading = Reading { file: Arc::clone(&file), unlabelled, examples: Vec::new(), problems: Vec::new() };
    rows(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes), &mut reading);
    if !reading.problems.is_empty() {
        return Err(DataErrors(reading.problems));
    }
    if reading.examples.is_empty() {
        return fail("has no rows".to_owned());
    }
    Ok(reading.examples)
}

/// Reads several files into one list, or reports the problems of all of them.
///
/// # Errors
/// As [`read_file`], for every file.
pub fn read_files(paths: &[impl AsRef<Path>]) -> Result<Vec<Example>, DataErrors> {
    let (mut examples, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        match read_file(path.as_ref()) {
            Ok(more) => examples.extend(more),
            Err(DataErrors(more)) => problems.extend(more),
        }
    }
    if problems.is_empty() { Ok(examples) } else { Err(DataErrors(problems)) }
}

/// What has been read of one file so far.
struct Reading {
    file: Arc<Path>,
    unlabelled: Option<&'static str>,
    examples: Vec<Example>,
    problems: Vec<DataProblem>,
}

impl Reading {
    fn problem(&mut self, line: Option<u64>, message: impl Into<String>) {
        let origin = Some(Origin { file: Arc::clone(&self.file), line });
        self.problems.push(DataProblem { origin, message: message.into() });
    }

    fn row(&mut self, line: u64, text: &str, intent: &str) {
        if text.trim().is_empty() {
            self.problem(Some(line), "`text` is empty");
        } else if intent.trim().is_empty() {
            self.problem(Some(line), "`intent` is empty");
        } else {
            let origin = Origin { file: Arc::clone(&self.file), line: Some(line) };
            self.examples.push(Example { text: text.to_owned(), intent: intent.trim().to_owned(), origin });
        }
    }
}

/// Recognises encodings that begin with a byte-order mark or put a zero beside every ASCII letter.
fn other_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [1..=127, 0, ..] | [0, 1..=127, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// Describes the first byte of a row that is not UTF-8.
fn not_utf8(error: std::str::Utf8Error) -> String {
    format!("is not UTF-8 from byte {} on: save the file as UTF-8 and try again", error.valid_up_to() + 1)
}

fn parse_jsonl(bytes: &[u8], reading: &mut Reading) {
    #[derive(Deserialize)]
    struct Row {
        text: String,
        intent: Option<String>,
    }
    for (line, row) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let row = match std::str::from_utf8(row) {
            Ok(row) => row.trim(),
            Err(error) => {
                reading.problem(Some(line), not_utf8(error));
                continue;
            }
        };
        if row.is_empty() {
            continue;
        }
        match serde_json::from_str::<Row>(row) {
            Ok(Row { text, intent }) => match intent.as_deref().or(reading.unlabelled) {
                Some(intent) => reading.row(line, &text, intent),
                None => reading.problem(Some(line), "has no `intent`"),
            },
            Err(error) => {
                // The error names a line of its own, which is always 1 here.
                let reason = error.to_string();
                let reason = reason.split(" at line 1").next().unwrap_or_default();
                let column = error.column();
                reading.problem(
                    Some(line),
                    format!("is not a row `{{\"text\": …, \"intent\": …}}`: {reason} (column {column})"),
                );
            }
        }
    }
}

fn parse_csv(bytes: &[u8], reading: &mut Reading) {
    let mut table = csv::ReaderBuilder::new().from_reader(bytes);
    let columns: BTreeMap<String, usize> = match table.byte_headers() {
        Ok(header) => header
            .iter()
            .enumerate()
            .map(|(at, name)| (String::from_utf8_lossy(name).trim().to_lowercase(), at))
            .collect(),
        Err(error) => return reading.problem(Some(1), format!("the header cannot be parsed: {error}")),
    };
    let intent = columns.get("intent").copied();
    let (Some(&text), true) = (columns.get("text"), intent.is_some() || reading.unlabelled.is_some()) else {
        let found: Vec<String> = columns.keys().map(|name| format!("`{name}`")).collect();
        let found = found.join(", ");
        return reading.problem(Some(1), format!("the header has {found}, expected the columns `text` and `intent`"));
    };
    let mut lines = Lines { bytes, at: 0, line: 1 };
    for record in table.into_byte_records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map(|position| lines.of(position));
                let message = match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("has {len} field(s), expected {expected_len} as in the header")
                    }
                    _ => error.to_string(),
                };
                reading.problem(line, message);
                continue;
            }
        };
        let line = record.position().map_or(1, |position| lines.of(position));
        let field = |at: usize| std::str::from_utf8(record.get(at).unwrap_or_default());
        let unlabelled = reading.unlabelled.unwrap_or_default();
        match (field(text), intent.map_or(Ok(unlabelled), field)) {
            (Ok(text), Ok(intent)) => reading.row(line, text, intent),
            (Err(error), _) => reading.problem(Some(line), format!("`text` {}", not_utf8(error))),
            (_, Err(error)) => reading.problem(Some(line), format!("`intent` {}", not_utf8(error))),
        }
    }
}

/// Counts the lines up to ascending positions. The line of a [`csv::Position`] itself is that of the line break before
/// the record when lines end in CR LF.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    fn of(&mut self, position: &csv::Position) -> u64 {
        let from = usize::try_from(position.byte()).unwrap_or(usize::MAX).min(self.bytes.len());
        let breaks = self.bytes[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = &self.bytes[self.at..from + breaks];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.at = from + breaks;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: impl AsRef<[u8]>) -> Result<Vec<Example>, DataErrors> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("written");
        read_file(&path)
    }

    /// The problems as `line: message`.
    fn problems(name: &str, content: impl AsRef<[u8]>) -> Vec<String> {
        let DataErrors(problems) = read(name, content).expect_err("bad data");
        let line = |problem: &DataProblem| problem.origin.as_ref().and_then(|origin| origin.line).unwrap_or(0);
        problems.iter().map(|problem| format!("{}: {}", line(problem), problem.message)).collect()
    }

    #[test]
    fn jsonl_and_csv_give_the_same_rows() {
        let jsonl = "{\"text\": \"play a song\", \"intent\": \"music\"}\n\n{\"intent\": \"weather\", \"text\": \"rain, today?\", \"id\": 7}\n";
        let csv = "\u{feff}intent,text,id\r\nmusic,play a song,1\r\nweather,\"rain, today?\",7\r\n";
        let rows = |examples: Vec<Example>| -> Vec<(String, String, Option<u64>)> {
            examples.into_iter().map(|row| (row.text, row.intent, row.origin.line)).collect()
        };
        let jsonl = rows(read("a.jsonl", jsonl).expect("good"));
        assert_eq!(jsonl[1], ("rain, today?".to_owned(), "weather".to_owned(), Some(3)));
        let csv = rows(read("a.csv", csv).expect("good"));
        assert_eq!(csv[1], ("rain, today?".to_owned(), "weather".to_owned(), Some(3)));
    }

    #[test]
    fn a_quoted_line_break_does_not_shift_the_line_numbers() {
        let rows = read("a.csv", "text,intent\n\"two\nlines\",a\none,b\n").expect("good");
        assert_eq!(rows[1].origin.line, Some(4));
    }

    #[test]
    fn every_broken_line_is_named() {
        let content = b"{\"text\": \"a\", \"intent\": \"x\"}\n{\"text\": \"b\"}\nhello\n{\"text\": \" \", \"intent\": \"x\"}\n{\"text\": \"b\xff\", \"intent\": \"x\"}\n";
        insta::assert_debug_snapshot!(problems("a.jsonl", content), @r#"
        [
            "2: has no `intent`",
            "3: is not a row `{\"text\": …, \"intent\": …}`: expected value (column 1)",
            "4: `text` is empty",
            "5: is not UTF-8 from byte 12 on: save the file as UTF-8 and try again",
        ]
        "#);
        insta::assert_debug_snapshot!(problems("a.csv", "text,intent\na\nb,\nc,x,y\n"), @r#"
        [
            "2: has 1 field(s), expected 2 as in the header",
            "3: `intent` is empty",
            "4: has 3 field(s), expected 2 as in the header",
        ]
        "#);
    }

    #[test]
    fn out_of_scope_texts_need_no_intent() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in [
            ("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\", \"intent\": \"oos\"}\n"),
            ("a.csv", "text\na\nb\n"),
            ("b.csv", "intent,text\noos,a\nx,b\n"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, content).expect("written");
            assert_eq!(read_out_of_scope(&path).expect("good"), ["a", "b"], "{name}");
        }
    }

    #[test]
    fn unusable_files_are_named() {
        insta::assert_debug_snapshot!(
            [
                problems("a.jsonl", ""),
                problems("a.csv", "text,intent\n"),
                problems("a.csv", "words,label\nhi,x\n"),
                problems("a.xlsx", "PK"),
                problems("a.csv", b"\xff\xfet\0e\0x\0t\0"),
            ].concat(),
            @r#"
        [
            "0: has no rows",
            "0: has no rows",
            "1: the header has `label`, `words`, expected the columns `text` and `intent`",
            "0: has an unknown ending, expected `.jsonl` or `.csv`",
            "0: is UTF-16, expected UTF-8: save it as UTF-8 and try again",
        ]
        "#
        );
        let missing = read_file(Path::new("no-such-file.jsonl")).expect_err("missing").to_string();
        assert!(missing.contains("no-such-file.jsonl: cannot be read"), "{missing}");
    }
}
