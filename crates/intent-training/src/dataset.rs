//! Examples checked against each other and brought into the order of the labels.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use intent_model::{Labels, OUT_OF_SCOPE, text::fold};
use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::data::{DataErrors, DataProblem, Example, Origin};

/// The other name under which public data sets keep their out-of-scope rows.
const OUT_OF_SCOPE_ALIAS: &str = "oos";

/// A text and the index of its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    /// The text.
    pub text: String,
    /// The index of its intent in the labels.
    pub label: u32,
}

/// What a model is trained from.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The intents, in the order in which the models score them.
    pub labels: Labels,
    /// The rows that are learnt from.
    pub training: Vec<Labelled>,
    /// Rows that hyper-parameters are chosen on; never learnt from. May be empty.
    pub validation: Vec<Labelled>,
    /// Out-of-scope texts, from rows labelled `out_of_scope` or `oos`: they show how well foreign texts are told apart
    /// and set the steepness of that decision; no classifier is trained on them. May be empty.
    pub out_of_scope: Vec<String>,
    /// What a person should look at; nothing of it stops the training.
    pub warnings: Vec<DataProblem>,
}

impl Dataset {
    /// Brings examples together. Without `labels`, those of a pack, the intents of the training rows are the labels, in
    /// alphabetic order.
    ///
    /// Warnings name texts with two intents, intents with fewer than two examples or none in validation, and
    /// validation texts that are trained on.
    ///
    /// # Errors
    /// When a row names an intent that `labels` lacks, or fewer than two intents have examples.
    pub fn new(training: Vec<Example>, validation: Vec<Example>, labels: Option<Labels>) -> Result<Self, DataErrors> {
        let out_of_scope = training.iter().chain(&validation).filter(|row| is_out_of_scope(&row.intent));
        let out_of_scope: Vec<String> = out_of_scope.map(|row| row.text.clone()).collect();
        let in_scope = |rows: Vec<Example>| -> Vec<Example> {
            rows.into_iter().filter(|row| !is_out_of_scope(&row.intent)).collect()
        };
        let (training, validation) = (in_scope(training), in_scope(validation));

        let labels = labels.unwrap_or_else(|| {
            let names: BTreeSet<&str> = training.iter().map(|row| row.intent.as_str()).collect();
            Labels::new(names)
        });
        let mut errors = unknown_intents(training.iter().chain(&validation), &labels);
        let present: BTreeSet<&str> = training.iter().map(|row| row.intent.as_str()).collect();
        if errors.is_empty() && present.len() < 2 {
            let found = present.first().map_or("none".to_owned(), |intent| format!("only `{intent}`"));
            let message = format!("at least two intents need examples to be told apart, found {found}");
            errors.push(DataProblem { origin: None, message });
        }
        if !errors.is_empty() {
            return Err(DataErrors(errors));
        }

        let warnings = warnings(&training, &validation, &labels);
        let (training, validation) = (labelled(training, &labels), labelled(validation, &labels));
        Ok(Self { labels, training, validation, out_of_scope, warnings })
    }

    /// Splits rows into labelled texts and out-of-scope texts.
    ///
    /// # Errors
    /// With every row that names an intent that `labels` lacks.
    pub fn resolve(rows: Vec<Example>, labels: &Labels) -> Result<(Vec<Labelled>, Vec<String>), DataErrors> {
        let (foreign, rows): (Vec<Example>, Vec<Example>) =
            rows.into_iter().partition(|row| is_out_of_scope(&row.intent));
        let errors = unknown_intents(rows.iter(), labels);
        if !errors.is_empty() {
            return Err(DataErrors(errors));
        }
        Ok((labelled(rows, labels), foreign.into_iter().map(|row| row.text).collect()))
    }

    /// Returns the texts that are learnt from.
    pub fn training_texts(&self) -> Vec<&str> {
        self.training.iter().map(|row| row.text.as_str()).collect()
    }

    /// Returns the label of each row that is learnt from.
    pub fn training_labels(&self) -> Vec<u32> {
        self.training.iter().map(|row| row.label).collect()
    }
}

/// Tells whether an intent's name means that no intent fits.
pub fn is_out_of_scope(intent: &str) -> bool {
    intent == OUT_OF_SCOPE || intent == OUT_OF_SCOPE_ALIAS
}

fn unknown_intents<'a>(rows: impl Iterator<Item = &'a Example>, labels: &Labels) -> Vec<DataProblem> {
    let known: HashSet<&str> = labels.iter().collect();
    let all = labels.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let all = if labels.len() <= 20 { format!(": {all}") } else { String::new() };
    rows.filter(|row| !known.contains(row.intent.as_str()))
        .map(|row| DataProblem {
            origin: Some(row.origin.clone()),
            message: format!("intent `{}` is not one of the {} intents{all}", row.intent, labels.len()),
        })
        .collect()
}

/// Replaces names, all known, by indices.
fn labelled(rows: Vec<Example>, labels: &Labels) -> Vec<Labelled> {
    let indices: HashMap<&str, u32> = labels.iter().zip(0..).collect();
    rows.into_iter().map(|row| Labelled { label: indices[row.intent.as_str()], text: row.text }).collect()
}

fn warnings(training: &[Example], validation: &[Example], labels: &Labels) -> Vec<DataProblem> {
    let mut warnings = Vec::new();
    let mut warn = |origin: Option<&Origin>, message: String| {
        warnings.push(DataProblem { origin: origin.cloned(), message });
    };
    let mut first: HashMap<String, &Example> = HashMap::new();
    for row in training {
        let earlier = *first.entry(fold(row.text.trim())).or_insert(row);
        if earlier.intent != row.intent {
            let (intent, other, place) = (&row.intent, &earlier.intent, &earlier.origin);
            warn(
                Some(&row.origin),
                format!("the same text is `{intent}` here and `{other}` at {place}: decide for one"),
            );
        }
    }
    for row in validation {
        if let Some(same) = first.get(&fold(row.text.trim())) {
            let message =
                format!("this validation text is also trained on, at {}: its result says little", same.origin);
            warn(Some(&row.origin), message);
        }
    }
    let count = |rows: &[Example]| -> BTreeMap<String, usize> {
        let mut counts: BTreeMap<String, usize> = labels.iter().map(|name| (name.to_owned(), 0)).collect();
        for row in rows {
            *counts.entry(row.intent.clone()).or_default() += 1;
        }
        counts
    };
    for (intent, examples) in count(training) {
        match examples {
            0 => warn(None, format!("intent `{intent}` has no example: trained models will never answer it")),
            1 => warn(None, format!("intent `{intent}` has one example: its confidence cannot be checked, add more")),
            _ => {}
        }
    }
    if !validation.is_empty() {
        for (intent, _) in count(validation).into_iter().filter(|&(_, examples)| examples == 0) {
            warn(None, format!("intent `{intent}` has no validation row: nothing is known of its accuracy there"));
        }
    }
    warnings
}

/// Deals rows into `folds` folds: every label evenly, equal texts together, so that no fold is scored by a model that
/// has seen its texts. Returns the fold of each row.
pub fn deal_folds(texts: &[&str], labels: &[u32], folds: usize, seed: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut by_label: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        by_label.entry(label).or_default().push(row);
    }
    let mut assigned = vec![0; texts.len()];
    let mut of_text: HashMap<String, usize> = HashMap::new();
    // Each label goes on where the one before it stopped, so that small labels do not all fill the first folds.
    let mut next = 0;
    for mut rows in by_label.into_values() {
        rows.shuffle(&mut random);
        for row in rows {
            assigned[row] = *of_text.entry(fold(texts[row].trim())).or_insert_with(|| {
                next = (next + 1) % folds;
                next
            });
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn examples(rows: &[(&str, &str)]) -> Vec<Example> {
        (1..)
            .zip(rows)
            .map(|(line, &(text, intent))| Example {
                text: text.to_owned(),
                intent: intent.to_owned(),
                origin: Origin { file: Path::new("a.jsonl").into(), line: Some(line) },
            })
            .collect()
    }

    #[test]
    fn without_a_pack_the_sorted_intents_are_the_labels_and_out_of_scope_rows_stand_aside() {
        let rows = examples(&[("rain?", "weather"), ("play", "music"), ("qwerty", "oos"), ("x9", "out_of_scope")]);
        let dataset = Dataset::new(rows, Vec::new(), None).expect("good");
        assert_eq!(dataset.labels, Labels::new(["music", "weather"]));
        assert_eq!(dataset.training_labels(), [1, 0]);
        assert_eq!(dataset.out_of_scope, ["qwerty", "x9"]);
    }

    #[test]
    fn labels_that_the_pack_lacks_are_all_named() {
        let rows = examples(&[("rain?", "weather"), ("play", "musik"), ("sing", "musik")]);
        let errors = Dataset::new(rows, Vec::new(), Some(Labels::new(["music", "weather"]))).expect_err("unknown");
        insta::assert_snapshot!(errors, @r"
        the data has 2 problem(s)
          a.jsonl:2: intent `musik` is not one of the 2 intents: `music`, `weather`
          a.jsonl:3: intent `musik` is not one of the 2 intents: `music`, `weather`
        ");
    }

    #[test]
    fn one_class_is_not_enough() {
        let errors = Dataset::new(examples(&[("a", "x"), ("b", "x")]), Vec::new(), None).expect_err("one class");
        assert_eq!(errors.0[0].message, "at least two intents need examples to be told apart, found only `x`");
    }

    #[test]
    fn doubtful_rows_are_warned_of_but_kept() {
        let training = examples(&[("Play", "music"), ("play ", "weather"), ("sing", "music"), ("rain", "weather")]);
        let validation = examples(&[("sing", "music")]);
        let labels = Labels::new(["music", "news", "weather"]);
        let dataset = Dataset::new(training, validation, Some(labels)).expect("usable");
        assert_eq!(dataset.training.len(), 4);
        let warnings: Vec<String> = dataset.warnings.iter().map(ToString::to_string).collect();
        insta::assert_debug_snapshot!(warnings, @r#"
        [
            "a.jsonl:2: the same text is `weather` here and `music` at a.jsonl:1: decide for one",
            "a.jsonl:1: this validation text is also trained on, at a.jsonl:3: its result says little",
            "intent `news` has no example: trained models will never answer it",
            "intent `news` has no validation row: nothing is known of its accuracy there",
            "intent `weather` has no validation row: nothing is known of its accuracy there",
        ]
        "#);
    }

    proptest! {
        #[test]
        fn folds_are_even_and_equal_texts_stay_together(labels in prop::collection::vec(0_u32..5, 10..200), folds in 2_usize..6) {
            let texts: Vec<String> = (0..labels.len()).map(|row| format!("text {}", row / 2)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let assigned = deal_folds(&texts, &labels, folds, 7);
            for pair in assigned.chunks(2) {
                prop_assert_eq!(pair[0], pair[pair.len() - 1]);
            }
            for fold in 0..folds {
                let size = assigned.iter().filter(|&&of| of == fold).count();
                prop_assert!(size.abs_diff(labels.len() / folds) <= 4, "{} of {} rows", size, labels.len());
            }
        }
    }
}
