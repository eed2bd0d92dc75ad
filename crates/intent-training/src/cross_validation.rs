//! Models judged without a held-out split: each row is answered by models that were trained without it.

use intent_model::{Calibration, Model, ModelError, ModelKind, OutOfScopeGate, SentenceEncoder};

use crate::{
    dataset::{Dataset, deal_folds},
    evaluation::{Candidate, EvaluationSet, LatencyMs, ModelPredictions, Scored, latency, score_all},
    progress::Progress,
    train::{TrainOptions, Trained, train},
};

/// The models that are trained for each fold.
pub const KINDS: [ModelKind; 2] = [ModelKind::Linear, ModelKind::Hybrid];

/// Why rows cannot be cross-validated.
#[derive(Debug, thiserror::Error)]
pub enum CrossValidationError {
    /// One fold leaves nothing to train on.
    #[error("{0} fold(s) leave no rows to train on, expected at least 2")]
    TooFewFolds(usize),
    /// An intent would be missing from training whenever its row is held out.
    #[error("intent `{intent}` has {rows} row(s), at least 2 are needed to train on one and answer the other")]
    TooFewRows {
        /// The intent.
        intent: String,
        /// How many rows it has.
        rows: usize,
    },
    /// A model failed.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Trains `linear`, and `hybrid` when there is an encoder, `folds` times, each time on all rows but those of one fold,
/// and lets the models answer that fold. Out-of-scope texts are dealt into the folds like rows.
///
/// Everything about a model is fitted without the rows that it answers: weights, calibration, gate and threshold. As the
/// gates differ from fold to fold, out-of-scope scores are given as the distance from the gate of their fold, in its
/// scale.
///
/// # Errors
/// [`CrossValidationError`] when there are too few folds or rows, or the encoder fails.
pub fn cross_validate(
    set: &EvaluationSet,
    encoder: Option<&SentenceEncoder>,
    folds: usize,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> Result<Vec<ModelPredictions>, CrossValidationError> {
    if folds < 2 {
        return Err(CrossValidationError::TooFewFolds(folds));
    }
    check_rows(set)?;
    let texts: Vec<&str> = set.rows.iter().map(|row| row.text.as_str()).collect();
    let targets: Vec<u32> = set.rows.iter().map(|row| row.label).collect();
    let fold_of_row = deal_folds(&texts, &targets, folds, options.seed);
    let mut answers: Vec<OutOfFold> = KINDS
        .iter()
        .filter(|kind| **kind == ModelKind::Linear || encoder.is_some())
        .map(|kind| OutOfFold::new(*kind, set))
        .collect();
    for fold in 0..folds {
        progress.note(&format!("fold {} of {folds}", fold + 1));
        let of_fold = |row: usize| fold_of_row[row] == fold;
        let foreign_of_fold = |row: usize| row % folds == fold;
        let (held_out, kept): (Vec<usize>, Vec<usize>) = (0..set.rows.len()).partition(|&row| of_fold(row));
        let (foreign, kept_foreign): (Vec<usize>, Vec<usize>) =
            (0..set.out_of_scope.len()).partition(|&row| foreign_of_fold(row));
        let dataset = Dataset {
            labels: set.labels.clone(),
            training: kept.iter().map(|&row| set.rows[row].clone()).collect(),
            validation: Vec::new(),
            out_of_scope: kept_foreign.iter().map(|&row| set.out_of_scope[row].clone()).collect(),
            warnings: Vec::new(),
        };
        let trained = train(&dataset, encoder, options, progress)?;
        for answers in &mut answers {
            answers.take_fold(set, &trained, &held_out, &foreign, progress)?;
        }
    }
    Ok(answers.into_iter().map(|answers| answers.finish(folds)).collect())
}

fn check_rows(set: &EvaluationSet) -> Result<(), CrossValidationError> {
    let mut rows = vec![0_usize; set.labels.len()];
    set.rows.iter().for_each(|row| rows[row.label as usize] += 1);
    match rows.iter().position(|&rows| rows < 2) {
        None => Ok(()),
        Some(label) => {
            Err(CrossValidationError::TooFewRows { intent: set.labels.name(label).to_owned(), rows: rows[label] })
        }
    }
}

/// What the models of one kind say of the rows that they were trained without.
struct OutOfFold {
    kind: ModelKind,
    in_scope: Vec<Option<Scored>>,
    foreign: Vec<Option<Scored>>,
    has_gate: bool,
    accept_thresholds: f32,
    latency_ms: LatencyMs,
}

impl OutOfFold {
    fn new(kind: ModelKind, set: &EvaluationSet) -> Self {
        Self {
            kind,
            in_scope: vec![None; set.rows.len()],
            foreign: vec![None; set.out_of_scope.len()],
            has_gate: false,
            accept_thresholds: 0.0,
            latency_ms: LatencyMs::default(),
        }
    }

    fn take_fold(
        &mut self,
        set: &EvaluationSet,
        trained: &Trained,
        rows: &[usize],
        foreign: &[usize],
        progress: &dyn Progress,
    ) -> Result<(), ModelError> {
        let (model, calibration): (&dyn Model, Calibration) = match (self.kind, &trained.hybrid) {
            (ModelKind::Hybrid, Some(hybrid)) => (&hybrid.model, hybrid.calibration),
            _ => (&trained.linear.model, trained.linear.calibration),
        };
        let candidate = Candidate { name: self.kind.as_str(), model, calibration };
        let texts: Vec<&str> = rows.iter().map(|&row| set.rows[row].text.as_str()).collect();
        let foreign_texts: Vec<&str> = foreign.iter().map(|&row| set.out_of_scope[row].as_str()).collect();
        progress.stage(candidate.name, (texts.len() + foreign_texts.len()) as u64);
        for (&row, scored) in rows.iter().zip(score_all(candidate, &texts, progress)?) {
            self.in_scope[row] = Some(relative_to_gate(scored, calibration.out_of_scope));
        }
        for (&row, scored) in foreign.iter().zip(score_all(candidate, &foreign_texts, progress)?) {
            self.foreign[row] = Some(relative_to_gate(scored, calibration.out_of_scope));
        }
        self.has_gate |= calibration.out_of_scope.is_some();
        self.accept_thresholds += calibration.accept_threshold;
        // The models of all folds are equally large: timing one is enough.
        if self.latency_ms.texts == 0 {
            self.latency_ms = latency::measure(model, &texts)?;
        }
        Ok(())
    }

    fn finish(self, folds: usize) -> ModelPredictions {
        let all = |scored: Vec<Option<Scored>>| -> Vec<Scored> {
            scored.into_iter().map(|scored| scored.expect("every row is in one fold")).collect()
        };
        ModelPredictions {
            name: self.kind.to_string(),
            in_scope: all(self.in_scope),
            foreign: all(self.foreign),
            gate: self.has_gate.then_some(OutOfScopeGate { threshold: 0.0, scale: 1.0 }),
            accept_threshold: self.accept_thresholds / folds as f32,
            latency_ms: self.latency_ms,
        }
    }
}

fn relative_to_gate(scored: Scored, gate: Option<OutOfScopeGate>) -> Scored {
    let relative = |score: f32| gate.map_or(score, |gate| (score - gate.threshold) / gate.scale);
    Scored { out_of_scope_score: scored.out_of_scope_score.map(relative), ..scored }
}

#[cfg(test)]
mod tests {
    use intent_model::{Labels, tiny};

    use super::*;
    use crate::{dataset::Labelled, evaluation::evaluate, progress::Quiet};

    /// Two intents that any model tells apart, and one row with the other intent's words.
    fn set() -> EvaluationSet {
        let mut rows: Vec<Labelled> = (0..30)
            .flat_map(|at| {
                [
                    Labelled { text: format!("play the song number {at} for me"), label: 0 },
                    Labelled { text: format!("will it rain on day {at} of the month"), label: 1 },
                ]
            })
            .collect();
        rows.push(Labelled { text: "will it rain on day 31 of the month".to_owned(), label: 0 });
        let out_of_scope = (0..6).map(|at| format!("invoice {at} is wrong")).collect();
        EvaluationSet { labels: Labels::new(["music", "weather"]), rows, out_of_scope }
    }

    #[test]
    fn every_row_is_answered_by_models_that_were_trained_without_it() {
        let (set, encoder) = (set(), tiny::encoder());
        let predictions =
            cross_validate(&set, Some(&encoder), 3, &TrainOptions::default(), &Quiet).expect("enough rows");
        let names: Vec<&str> = predictions.iter().map(|model| model.name.as_str()).collect();
        assert_eq!(names, ["linear", "hybrid"]);
        let evaluation = evaluate(&set, &predictions, Vec::new());
        let linear = &evaluation.models["linear"];
        // A model that had seen the misleading row would know it by heart.
        assert_eq!(linear.per_intent["music"].confused_with[0].rows, 1, "{:?}", linear.per_intent);
        assert!(linear.per_intent["weather"].recall > 0.9, "{:?}", linear.per_intent);
        let foreign = linear.out_of_scope.as_ref().expect("there are out-of-scope texts");
        assert_eq!((foreign.rows, evaluation.comparisons.len()), (6, 1));
    }

    #[test]
    fn what_cannot_be_cross_validated_is_named() {
        let message = |set: &EvaluationSet, folds| {
            cross_validate(set, None, folds, &TrainOptions::default(), &Quiet).expect_err("too few").to_string()
        };
        let mut few = set();
        assert_eq!(message(&few, 1), "1 fold(s) leave no rows to train on, expected at least 2");
        few.rows.retain(|row| row.label == 0 || row.text.contains("day 7 "));
        assert_eq!(
            message(&few, 5),
            "intent `weather` has 1 row(s), at least 2 are needed to train on one and answer the other"
        );
    }
}
