//! The fine-tuned transformer: texts to one logit per label.

use std::path::Path;

use crate::{
    Document, Labels, Model, ModelError, ModelKind, Scores,
    calibration::energy,
    transformer::{Precision, Specification, Task, Transformer},
};

/// A BERT or DistilBERT with a classification head.
///
/// Its out-of-scope score is the [`energy`] of its logits.
#[derive(Debug)]
pub struct SequenceClassifier {
    transformer: Transformer,
    labels: Labels,
    /// For each label the place of its logit in the graph's output.
    places: Vec<usize>,
}

impl SequenceClassifier {
    /// Loads a directory that [`crate::import`] wrote, or one with `tokenizer.json`, `model.onnx` and `config.json`
    /// made by others, to score in the order of `labels`.
    ///
    /// # Errors
    /// [`ModelError::Io`] when a file cannot be read, [`ModelError::InvalidFile`] when one is broken, does not fit the
    /// others, or when the model's labels are not those of `labels`.
    pub fn load(directory: &Path, precision: Precision, labels: &Labels) -> Result<Self, ModelError> {
        let transformer = Transformer::load(directory, precision, Task::Classification)?;
        let own = &transformer.specification().labels;
        let unknown = own.iter().find(|name| labels.index_of(name).is_none());
        let missing = labels.iter().find(|name| !own.iter().any(|known| known == name));
        let reason = match (unknown, missing) {
            (None, None) => None,
            (Some(unknown), None) => Some(format!("it has the label `{unknown}`, which is not an intent")),
            (None, Some(missing)) => Some(format!("it has no label for the intent `{missing}`")),
            (Some(unknown), Some(missing)) => Some(format!(
                "it has the label `{unknown}`, which is not an intent, and none for the intent `{missing}`"
            )),
        };
        if let Some(reason) = reason {
            return Err(ModelError::invalid(
                directory,
                format!("{reason}; train it on the intents it is to tell apart"),
            ));
        }
        let place = |name: &str| own.iter().position(|known| known == name).expect("every intent was found");
        let places = labels.iter().map(place).collect();
        Ok(Self { transformer, labels: labels.clone(), places })
    }

    /// Returns how the model is used: limits, labels, architecture.
    pub fn specification(&self) -> &Specification {
        self.transformer.specification()
    }

    /// Returns a digest of everything that decides the scores.
    pub fn fingerprint(&self) -> &str {
        self.transformer.fingerprint()
    }
}

impl Model for SequenceClassifier {
    fn kind(&self) -> ModelKind {
        ModelKind::Distilbert
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
        let texts: Vec<&str> = documents.iter().map(|document| document.text()).collect();
        let rows = self.transformer.run(&texts)?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let logits: Vec<f32> = self.places.iter().map(|&place| row.values[place]).collect();
                Scores { out_of_scope: Some(energy(&logits)), truncated: row.truncated, ..Scores::from_logits(logits) }
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conformance::{self, Tolerance},
        tiny,
    };

    fn labels() -> Labels {
        Labels::new(["refund", "greeting", "poem"])
    }

    #[test]
    fn it_conforms_to_the_contract_of_models() {
        conformance::check(&tiny::sequence_classifier(&labels()), Tolerance { batch: 1e-5 });
    }

    #[test]
    fn logits_follow_the_order_that_is_asked_for() {
        let out = tempfile::tempdir().unwrap();
        let directory = out.path().join("model");
        tiny::write_model(&directory, &tiny::Spec::classifier(tiny::Family::Bert, &["refund", "greeting", "poem"]));
        let load = |labels: &Labels| SequenceClassifier::load(&directory, Precision::Fp32, labels).unwrap();
        let document = Document::new("write a poem");
        let score = |labels: &Labels| load(labels).score(&[&document]).unwrap().remove(0).logits;
        let given = score(&labels());
        let turned = score(&Labels::new(["poem", "refund", "greeting"]));
        assert_eq!(turned, [given[2], given[0], given[1]]);
    }

    #[test]
    fn labels_that_are_not_the_models_own_are_refused_by_name() {
        let out = tempfile::tempdir().unwrap();
        let directory = out.path().join("model");
        tiny::write_model(&directory, &tiny::Spec::classifier(tiny::Family::DistilBert, &["refund", "greeting"]));
        let refuse = |labels: &[&str]| {
            let labels = Labels::new(labels.iter().copied());
            SequenceClassifier::load(&directory, Precision::Fp32, &labels).unwrap_err().to_string()
        };
        assert!(refuse(&["refund"]).contains("`greeting`, which is not an intent"));
        assert!(refuse(&["refund", "greeting", "poem"]).contains("no label for the intent `poem`"));
    }

    #[test]
    fn a_text_that_is_too_long_says_so() {
        let model = tiny::sequence_classifier(&labels());
        let long = Document::new("please ".repeat(200));
        let short = Document::new("please");
        let scores = model.score(&[&long, &short]).unwrap();
        assert!(scores[0].truncated && !scores[1].truncated);
    }
}
