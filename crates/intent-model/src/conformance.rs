//! The contract of [`Model`] as checks that every implementation runs, here and in the crates above.

use crate::{Document, Model, Scores};

/// How close two runs of the same text must be.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Largest absolute difference between two logits of the same text in different batches.
    pub batch: f32,
}

impl Tolerance {
    /// For models whose arithmetic does not depend on the batch at all.
    pub const EXACT: Self = Self { batch: 0.0 };
}

/// Runs every check of the suite.
///
/// # Panics
/// With the name of the rule that the model breaks.
pub fn check(model: &dyn Model, tolerance: Tolerance) {
    let texts = sample_texts();
    let together = score(model, &texts);

    assert!(score(model, &[]).is_empty(), "an empty batch gives an empty answer");
    assert_eq!(together.len(), texts.len(), "there is one row of scores per document");
    for (text, row) in texts.iter().zip(&together) {
        assert_eq!(row.logits.len(), model.labels().len(), "there is one logit per label for {text:?}");
        assert!(row.logits.iter().all(|logit| logit.is_finite()), "every logit is finite for {text:?}");
        assert!(row.out_of_scope.is_none_or(f32::is_finite), "the out-of-scope score is finite for {text:?}");
    }
    for (text, row) in texts.iter().zip(&together) {
        let alone = score(model, std::slice::from_ref(text)).remove(0);
        assert_close(&alone, row, tolerance.batch, "a batch of one equals a batch of many", text);
    }
    let mut reversed = texts.clone();
    reversed.reverse();
    let mut backwards = score(model, &reversed);
    backwards.reverse();
    for ((text, row), other) in texts.iter().zip(&together).zip(&backwards) {
        assert_close(row, other, tolerance.batch, "the order of a batch changes nothing", text);
    }
    assert_eq!(score(model, &texts), together, "the same batch gets the same scores");
}

/// Texts of every awkward shape: empty, very long, every script, control characters.
fn sample_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "hello",
        "Write a Python function to reverse a string",
        "what is the capital of peru",
        "Übersetze bitte: „Guten Morgen“ — danke!",
        "東京の天気はどうですか",
        "مرحبا كيف حالك",
        "e\u{301}\u{200d}\u{202e}\u{feff}",
        "👩‍👩‍👧‍👦 🏳️‍🌈",
        "\u{0}\u{1}\u{7f}\t\r\n",
        "?!.,;:—…",
        "0123456789 3.14e-10 0x1F",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    texts.push("word ".repeat(2_000));
    texts.push("a".repeat(5_000));
    texts.push("漢".repeat(1_500));
    texts
}

fn score(model: &dyn Model, texts: &[String]) -> Vec<Scores> {
    let documents: Vec<Document> = texts.iter().map(Document::new).collect();
    model.score(&documents.iter().collect::<Vec<_>>()).expect("a conforming model scores any text")
}

fn assert_close(a: &Scores, b: &Scores, tolerance: f32, rule: &str, text: &str) {
    let shown: String = text.chars().take(40).collect();
    for (x, y) in a.logits.iter().zip(&b.logits) {
        assert!((x - y).abs() <= tolerance, "{rule}: {x} and {y} for {shown:?}");
    }
    match (a.out_of_scope, b.out_of_scope) {
        (Some(x), Some(y)) => assert!((x - y).abs() <= tolerance, "{rule}: out of scope {x} and {y} for {shown:?}"),
        (x, y) => assert_eq!(x, y, "{rule}: for {shown:?}"),
    }
    assert_eq!(a.rule, b.rule, "{rule}: the deciding rule for {shown:?}");
    assert_eq!(a.truncated, b.truncated, "{rule}: truncation of {shown:?}");
}
