//! `export feedback`: what users said, for other programs.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{Failure, database};
use crate::{
    config::Sources,
    storage::{Feedback, FeedbackPosition},
};

/// How many rows are read at once.
const PAGE: u32 = 500;
/// With these a spreadsheet begins a formula; the last four are their full-width forms.
const FORMULA_STARTS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Write feedback as JSON lines or CSV, the oldest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier export feedback --since 7d > week.jsonl
  intent-classifier export feedback --since 2026-01-01 --format csv --out feedback.csv

In CSV a cell that a spreadsheet would take for a formula begins with an apostrophe; JSON lines hold texts as they are.")]
pub(super) struct Arguments {
    /// Only feedback from this time on: `2026-01-31T12:00:00Z`, `2026-01-31`, or how long ago, `7d` [default: all].
    #[arg(long, value_name = "TIME", value_parser = database::parse_time)]
    since: Option<SystemTime>,
    /// How to write it.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// One JSON object a line.
    #[default]
    Jsonl,
    /// Comma-separated values with a header, for spreadsheets.
    Csv,
}

/// A line of the export.
#[derive(Debug, Serialize)]
struct Line<'a> {
    feedback_id: String,
    received_at: String,
    feedback_type: &'a str,
    text: &'a str,
    original_intent: &'a str,
    correct_intent: &'a str,
    original_confidence: Option<f64>,
    request_id: Option<String>,
    user_id: Option<&'a str>,
    comment: Option<&'a str>,
    context: Option<&'a serde_json::value::RawValue>,
    model: Option<&'a str>,
    model_version: Option<&'a str>,
    experiment_group: Option<&'a str>,
}

/// The columns of CSV, named as the fields of [`Line`].
const COLUMNS: [&str; 14] = [
    "feedback_id",
    "received_at",
    "feedback_type",
    "text",
    "original_intent",
    "correct_intent",
    "original_confidence",
    "request_id",
    "user_id",
    "comment",
    "context",
    "model",
    "model_version",
    "experiment_group",
];

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let settings = sources.load()?.settings.database;
    super::block_on(async {
        let storage = database::connect(&settings).await?;
        let out: Box<dyn Write> = match &arguments.out {
            Some(path) => Box::new(File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?),
            None => Box::new(io::stdout().lock()),
        };
        let mut sink = Sink::new(arguments.format, BufWriter::new(out))?;
        let mut position = FeedbackPosition::before(arguments.since.unwrap_or(UNIX_EPOCH));
        loop {
            let page = storage.feedback_after(&position, PAGE).await.context("the feedback cannot be read")?;
            for feedback in &page {
                sink.write(feedback)?;
            }
            match page.last() {
                Some(last) => position = FeedbackPosition::after(last),
                None => break,
            }
        }
        sink.finish()?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Where lines go.
enum Sink<W: Write> {
    Jsonl(W),
    Csv(Box<csv::Writer<W>>),
}

impl<W: Write> Sink<W> {
    fn new(format: Format, out: W) -> io::Result<Self> {
        match format {
            Format::Jsonl => Ok(Self::Jsonl(out)),
            Format::Csv => {
                let mut writer = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(out);
                writer.write_record(COLUMNS)?;
                Ok(Self::Csv(Box::new(writer)))
            }
        }
    }

    fn write(&mut self, feedback: &Feedback) -> io::Result<()> {
        let line = Line::of(feedback);
        match self {
            Self::Jsonl(out) => {
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")
            }
            Self::Csv(writer) => Ok(writer.write_record(line.cells())?),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Jsonl(mut out) => out.flush(),
            Self::Csv(mut writer) => writer.flush(),
        }
    }
}

impl<'a> Line<'a> {
    fn of(feedback: &'a Feedback) -> Self {
        let received = UNIX_EPOCH + Duration::from_millis(u64::try_from(feedback.received_at_ms).unwrap_or_default());
        Self {
            feedback_id: feedback.id.to_string(),
            received_at: humantime::format_rfc3339_millis(received).to_string(),
            feedback_type: feedback.kind.as_str(),
            text: &feedback.text,
            original_intent: &feedback.original_intent,
            correct_intent: &feedback.correct_intent,
            original_confidence: feedback.original_confidence,
            request_id: feedback.request_id.map(|id| id.to_string()),
            user_id: feedback.user_id.as_deref(),
            comment: feedback.comment.as_deref(),
            context: feedback.context.as_deref().and_then(|context| serde_json::from_str(context).ok()),
            model: feedback.model.as_deref(),
            model_version: feedback.model_version.as_deref(),
            experiment_group: feedback.experiment_group.as_deref(),
        }
    }

    fn cells(&self) -> [String; COLUMNS.len()] {
        let confidence = self.original_confidence.map(|confidence| confidence.to_string());
        let cells = [
            Some(self.feedback_id.as_str()),
            Some(&self.received_at),
            Some(self.feedback_type),
            Some(self.text),
            Some(self.original_intent),
            Some(self.correct_intent),
            confidence.as_deref(),
            self.request_id.as_deref(),
            self.user_id,
            self.comment,
            self.context.map(|context| context.get()),
            self.model,
            self.model_version,
            self.experiment_group,
        ];
        cells.map(|cell| inert(cell.unwrap_or_default()))
    }
}

/// Keeps a spreadsheet from running a cell as a formula (OWASP, "CSV injection").
fn inert(cell: &str) -> String {
    // Some programs look past white space.
    let first = cell.chars().next().into_iter().chain(cell.trim_start().chars().next());
    let is_formula = first.into_iter().any(|first| FORMULA_STARTS.contains(&first));
    if is_formula { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feedback(text: &str) -> Feedback {
        Feedback {
            original_confidence: Some(0.5),
            user_id: Some("=cmd|' /C calc'!A0".to_owned()),
            comment: Some("@SUM(1;2)".to_owned()),
            context: Some(r#"{"a":1}"#.to_owned()),
            received_at_ms: 1_000,
            ..Feedback::correction(0, text)
        }
    }

    fn exported(format: Format, text: &str) -> String {
        let mut bytes = Vec::new();
        let mut sink = Sink::new(format, &mut bytes).expect("memory takes everything");
        sink.write(&feedback(text)).expect("memory takes everything");
        sink.finish().expect("memory takes everything");
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn csv_has_every_field_of_a_json_line_in_its_place() {
        insta::assert_snapshot!(exported(Format::Csv, "-2+3, \"quoted\"\nand more"));
        let line: serde_json::Value = serde_json::from_str(&exported(Format::Jsonl, "=1")).expect("JSON");
        let fields: Vec<&String> = line.as_object().expect("an object").keys().collect();
        let mut columns = COLUMNS;
        columns.sort_unstable();
        assert_eq!(fields, columns);
        assert_eq!((&line["text"], &line["context"]["a"]), (&"=1".into(), &1.into()));
    }

    proptest! {
        #[test]
        fn no_cell_is_a_formula_whatever_users_write(text in r#"[\s=+\-@\t\r＝＋－＠",;|'a]{0,12}"#) {
            let csv = exported(Format::Csv, &text);
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let row = reader.records().next().expect("a row").expect("valid CSV");
            for cell in &row {
                prop_assert!(!cell.trim_start().starts_with(FORMULA_STARTS), "{cell:?}");
                prop_assert!(!cell.starts_with(['\t', '\r']), "{cell:?}");
            }
            prop_assert_eq!(row[3].strip_prefix('\'').unwrap_or(&row[3]), text.strip_prefix('\'').unwrap_or(&text));
        }
    }
}
