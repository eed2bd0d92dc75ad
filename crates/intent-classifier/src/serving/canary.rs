//! Texts that a new version must answer before it serves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use intent_engine::LoadedModel;
use intent_model::{Document, ModelKind, Pack, Scores};

use super::Assembly;

/// The most canary texts of one intent, and of all.
const TEXTS_PER_INTENT: usize = 3;
const MAX_TEXTS: usize = 120;
/// A trained model must get this share of what it got right on validation data; the texts are easier than those.
const LEAST_SHARE_OF_ACCURACY: f64 = 0.5;

/// Lets every model of an assembly answer some examples of the pack.
///
/// # Errors
/// What is wrong, for people: a model that fails, answers in the wrong shape, or is far less right than it was when it
/// was trained.
pub(super) fn check(assembly: &Assembly) -> Result<(), String> {
    let texts = texts(&assembly.pack);
    assembly.catalog.iter().try_for_each(|(kind, loaded)| check_model(kind, loaded, &texts))
}

/// Returns the first examples of every intent with its label.
fn texts(pack: &Pack) -> Vec<(Document, usize)> {
    let each = TEXTS_PER_INTENT.min((MAX_TEXTS / pack.intents.len().max(1)).max(1));
    let labelled = pack.intents.iter().enumerate();
    labelled
        .flat_map(|(label, intent)| intent.examples.iter().take(each).map(move |text| (Document::new(text), label)))
        .collect()
}

fn check_model(kind: ModelKind, loaded: &LoadedModel, texts: &[(Document, usize)]) -> Result<(), String> {
    // What computes elsewhere is replaced elsewhere, and has a circuit breaker.
    let Some(model) = loaded.backend.local() else { return Ok(()) };
    let documents: Vec<&Document> = texts.iter().map(|(document, _)| document).collect();
    let scores = catch_unwind(AssertUnwindSafe(|| model.score(&documents)))
        .map_err(|_| format!("`{kind}` panicked on the canary texts"))?
        .map_err(|error| format!("`{kind}` failed on the canary texts: {error}"))?;
    let labels = loaded.backend.labels().len();
    let well_formed = |row: &Scores| row.logits.len() == labels && row.logits.iter().all(|logit| logit.is_finite());
    if scores.len() != texts.len() || !scores.iter().all(well_formed) {
        return Err(format!("`{kind}` gives scores that are not one finite number for each intent"));
    }
    if matches!(kind, ModelKind::Rules | ModelKind::ZeroShot) || texts.is_empty() {
        return Ok(());
    }
    let right = scores.iter().zip(texts).filter(|(row, (_, label))| best(row) == Some(*label)).count();
    let share = right as f64 / texts.len() as f64;
    let least = f64::from(loaded.accuracy) * LEAST_SHARE_OF_ACCURACY;
    if share < least {
        let (share, least) = (share * 100.0, least * 100.0);
        return Err(format!("`{kind}` gets {share:.0} % of the canary texts right, expected at least {least:.0} %"));
    }
    Ok(())
}

fn best(scores: &Scores) -> Option<usize> {
    (0..scores.logits.len()).max_by(|&a, &b| scores.logits[a].total_cmp(&scores.logits[b]))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use intent_engine::{Backend, Catalog};
    use intent_model::{Calibration, Labels, Model, ModelError};

    use super::*;

    type Answer = fn(usize) -> Vec<f32>;

    /// Gives every text the logits that `answer` returns for its number.
    #[derive(Debug)]
    struct Scripted {
        labels: Labels,
        answer: Answer,
    }

    impl Model for Scripted {
        fn kind(&self) -> ModelKind {
            ModelKind::Linear
        }

        fn labels(&self) -> &Labels {
            &self.labels
        }

        fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
            Ok((0..documents.len()).map(|index| Scores::from_logits((self.answer)(index))).collect())
        }
    }

    fn checked(answer: Answer) -> Result<(), String> {
        let pack = Pack::load_embedded(&[("pack.toml", &Pack::template("test"))]).expect("the template loads");
        let model = LoadedModel {
            backend: Backend::Inline(Arc::new(Scripted { labels: pack.labels(), answer })),
            calibration: Calibration::IDENTITY,
            accuracy: 0.9,
            coverage: 0.5,
        };
        let catalog = Catalog::new("test", &pack.labels(), [model]).expect("the labels are those of the pack");
        check(&Assembly { catalog, pack, availability: BTreeMap::new(), zero_shot: None, remote: None })
    }

    #[test]
    fn a_model_that_is_right_passes() {
        // Three examples of the first intent, then three of the second.
        assert_eq!(checked(|index| if index < 3 { vec![1.0, 0.0] } else { vec![0.0, 1.0] }), Ok(()));
    }

    #[test]
    fn a_model_that_is_wrong_broken_or_panics_does_not() {
        let cases: [(Answer, &str); 4] = [
            (|index| if index < 3 { vec![0.0, 1.0] } else { vec![1.0, 0.0] }, "gets 0 % of the canary texts right"),
            (|_| vec![f32::NAN, 0.0], "not one finite number"),
            (|_| vec![1.0], "not one finite number"),
            (|_| panic!("scripted"), "panicked"),
        ];
        for (answer, reason) in cases {
            let message = checked(answer).expect_err(reason);
            assert!(message.contains(reason), "{message}");
        }
    }
}
