//! Reads the rows of a folder pack: one JSON object a line, `{"text": "…", "intent": "…"}`.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    Place,
    definition::{Draft, Row},
    problem::{ProblemCode, Problems, suggestion},
    source::{SourceFile, Sources},
    table::Text,
};
use crate::OUT_OF_SCOPE;

/// Adds the rows of all files to the draft.
pub(super) fn read(sources: &Sources, draft: &mut Draft, problems: &mut Problems) {
    let names: Vec<String> = draft.intents.iter().map(|intent| intent.name.clone()).collect();
    for row in labelled(sources.train.as_ref(), &names, problems) {
        draft.intents[row.label].examples.push(row.text);
    }
    draft.validation = labelled(sources.validation.as_ref(), &names, problems);
    draft.test = labelled(sources.test.as_ref(), &names, problems);
    draft.out_of_scope_validation = out_of_scope(sources.out_of_scope_validation.as_ref(), problems);
    draft.out_of_scope_test = out_of_scope(sources.out_of_scope_test.as_ref(), problems);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRow {
    text: String,
    intent: Option<String>,
}

/// Rows whose intent must be one of `names`.
fn labelled(source: Option<&SourceFile>, names: &[String], problems: &mut Problems) -> Vec<Row> {
    let index: HashMap<&str, usize> = names.iter().enumerate().map(|(label, name)| (name.as_str(), label)).collect();
    let mut rows = Vec::new();
    for (place, row) in json_rows(source, problems) {
        let Some(intent) = row.intent else {
            problems.add(ProblemCode::MissingKey, &place, None, "the row has no `intent`, which is required here");
            continue;
        };
        match index.get(intent.as_str()) {
            Some(&label) => rows.push(Row { text: Text { text: row.text, place }, label }),
            None if intent == OUT_OF_SCOPE => {
                let message = "out-of-scope texts are never trained on and stand in `out_of_scope_validation.jsonl` \
                               or `out_of_scope_test.jsonl`";
                problems.add(ProblemCode::ReservedName, &place, None, message);
            }
            None => {
                let hint = suggestion(&intent, names.iter().map(String::as_str));
                let message = format!("the pack has no intent `{intent}`{hint}");
                problems.add(ProblemCode::UnknownIntent, &place, None, message);
            }
        }
    }
    rows
}

/// Rows whose intent is left out or `out_of_scope`.
fn out_of_scope(source: Option<&SourceFile>, problems: &mut Problems) -> Vec<Text> {
    let mut texts = Vec::new();
    for (place, row) in json_rows(source, problems) {
        match row.intent {
            Some(intent) if intent != OUT_OF_SCOPE => {
                let message = format!("the intent is `{intent}`, expected `{OUT_OF_SCOPE}` or none in this file");
                problems.add(ProblemCode::UnknownIntent, &place, None, message);
            }
            _ => texts.push(Text { text: row.text, place }),
        }
    }
    texts
}

/// The rows of a file that can be read; blank lines are skipped.
fn json_rows(source: Option<&SourceFile>, problems: &mut Problems) -> Vec<(Place, JsonRow)> {
    let mut rows = Vec::new();
    for (place, line) in source.iter().flat_map(|source| source.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str(line) {
            Ok(row) => rows.push((place, row)),
            Err(error) => {
                // The line within the row is always 1, and the file's is in the place.
                let reason = error.to_string();
                let reason = reason.split(" at line ").next().unwrap_or(&reason).to_owned();
                let message = format!(
                    "is no row like {{\"text\": \"…\", \"intent\": \"…\"}}: {reason} (column {})",
                    error.column()
                );
                problems.add(ProblemCode::Syntax, &place, None, message);
            }
        }
    }
    rows
}
