//! What is true of models on rows they have not seen.

pub mod classification;
pub mod comparison;
pub mod confidence;
pub mod latency;
pub mod metrics;
pub mod out_of_scope;
pub mod strategy;

use std::collections::BTreeMap;

use intent_model::{
    Calibration, Document, Labels, Model, ModelError, OUT_OF_SCOPE, OutOfScopeGate, Prediction, Scores,
    transformer::map_chunks,
};
use serde::Serialize;

pub use self::latency::LatencyMs;
use self::{
    classification::{ConfusionMatrix, IntentMetrics},
    comparison::{Comparison, compare_all},
    confidence::{Acceptance, HistogramBin, ReliabilityBin},
    metrics::Interval,
    out_of_scope::OutOfScopeMetrics,
    strategy::StrategyEvaluation,
};
use crate::{
    calibrate::squared_distance,
    data::{DataErrors, Example},
    dataset::{Dataset, Labelled},
    progress::Progress,
};

/// How many texts are scored together.
const BATCH_ROWS: usize = 32;

/// A model to evaluate.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The name in the report, usually that of its kind.
    pub name: &'a str,
    /// The model.
    pub model: &'a dyn Model,
    /// What turns its scores into answers.
    pub calibration: Calibration,
}

/// The rows to evaluate on.
#[derive(Clone, Debug)]
pub struct EvaluationSet {
    /// The intents, in the order of the models' scores.
    pub labels: Labels,
    /// In-scope rows.
    pub rows: Vec<Labelled>,
    /// Out-of-scope texts; may be empty.
    pub out_of_scope: Vec<String>,
}

impl EvaluationSet {
    /// Takes rows, of which those labelled `out_of_scope` or `oos` are the out-of-scope texts, and more of these.
    ///
    /// # Errors
    /// With every row whose intent is not among `labels`.
    pub fn new(rows: Vec<Example>, out_of_scope: Vec<String>, labels: &Labels) -> Result<Self, DataErrors> {
        let (rows, mut foreign) = Dataset::resolve(rows, labels)?;
        foreign.extend(out_of_scope);
        Ok(Self { labels: labels.clone(), rows, out_of_scope: foreign })
    }
}

/// What a model says of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The calibrated answer.
    pub prediction: Prediction,
    /// The raw out-of-scope score, for models that have one.
    pub out_of_scope_score: Option<f32>,
    /// Whether the end of the text was not read.
    pub truncated: bool,
}

/// What a model says of all rows.
#[derive(Clone, Debug)]
pub struct ModelPredictions {
    /// The model's name.
    pub name: String,
    /// One per in-scope row.
    pub in_scope: Vec<Scored>,
    /// One per out-of-scope text.
    pub foreign: Vec<Scored>,
    /// The gate that decided what is out of scope.
    pub gate: Option<OutOfScopeGate>,
    /// The confidence from which its answers are accepted.
    pub accept_threshold: f32,
    /// How long a single text takes.
    pub latency_ms: LatencyMs,
}

/// A whole evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// In-scope rows.
    pub rows: usize,
    /// Out-of-scope texts.
    pub out_of_scope_rows: usize,
    /// How many intents there are.
    pub intents: usize,
    /// How many times models were trained, each time without the rows that they answered; `None` when they were there
    /// before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<usize>,
    /// What is true of each model, by its name.
    pub models: BTreeMap<String, ModelEvaluation>,
    /// Every two models on the same rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Comparison>,
    /// What is true of each routing strategy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<StrategyEvaluation>,
}

/// What is true of one model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelEvaluation {
    /// The share of in-scope rows whose likeliest intent is right, whatever the out-of-scope gate says.
    pub accuracy: f64,
    /// Its 95 % interval.
    pub accuracy_interval: Interval,
    /// The share of all rows, those out of scope included, that are answered right with the gate in force.
    pub accuracy_with_out_of_scope: f64,
    /// The share of in-scope rows whose intent is among the three likeliest.
    pub top_3_accuracy: f64,
    /// The mean F1 over intents, each counting the same.
    pub macro_f1: f64,
    /// The mean F1 over intents, weighted by rows.
    pub weighted_f1: f64,
    /// Expected calibration error, 15 bins of equal width, 0 to 1.
    pub ece: f64,
    /// Mean squared distance of the confidences from the truth, summed over intents, 0 to 2 (Brier 1950).
    pub brier: f64,
    /// Mean negative log-likelihood of the true intent, in nats.
    pub negative_log_likelihood: f64,
    /// Mean confidence of the answers.
    pub mean_confidence: f64,
    /// Area under the ROC curve of the out-of-scope score; `null` without out-of-scope texts.
    pub auroc: Option<f64>,
    /// More on out-of-scope texts.
    pub out_of_scope: Option<OutOfScopeMetrics>,
    /// What the model's own accept threshold does.
    pub accepted: Acceptance,
    /// Area under the risk-coverage curve, smaller is better.
    pub area_under_risk_coverage: f64,
    /// How long one text takes.
    pub latency_ms: LatencyMs,
    /// Rows whose end the model did not read.
    pub truncated_rows: usize,
    /// What is true of each intent.
    pub per_intent: BTreeMap<String, IntentMetrics>,
    /// Confidence against accuracy.
    pub reliability: Vec<ReliabilityBin>,
    /// Right and wrong answers by confidence.
    pub histogram: Vec<HistogramBin>,
    /// The error of the surest answers by how many are taken.
    pub risk_coverage: Vec<Acceptance>,
    /// The same by threshold.
    pub threshold_sweep: Vec<Acceptance>,
    /// The counts behind `per_intent`, for the report's plot.
    #[serde(skip)]
    pub confusion: ConfusionMatrix,
}

/// A row that a model answered wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WrongAnswer<'a> {
    /// The model.
    pub model: &'a str,
    /// The text.
    pub text: &'a str,
    /// The intent it has.
    pub intent: &'a str,
    /// The intent answered.
    pub predicted: &'a str,
    /// The confidence of that answer.
    pub confidence: f32,
    /// The confidence of the right intent; 0 for out-of-scope texts.
    pub confidence_of_right: f32,
}

/// Scores all rows with a model and measures how long single texts take.
///
/// # Errors
/// As [`Model::score`].
pub fn predict(
    candidate: Candidate<'_>,
    set: &EvaluationSet,
    progress: &dyn Progress,
) -> Result<ModelPredictions, ModelError> {
    progress.stage(candidate.name, (set.rows.len() + set.out_of_scope.len()) as u64);
    let in_scope: Vec<&str> = set.rows.iter().map(|row| row.text.as_str()).collect();
    let foreign: Vec<&str> = set.out_of_scope.iter().map(String::as_str).collect();
    Ok(ModelPredictions {
        name: candidate.name.to_owned(),
        in_scope: score_all(candidate, &in_scope, progress)?,
        foreign: score_all(candidate, &foreign, progress)?,
        gate: candidate.calibration.out_of_scope,
        accept_threshold: candidate.calibration.accept_threshold,
        latency_ms: latency::measure(candidate.model, &in_scope)?,
    })
}

pub(crate) fn score_all(
    candidate: Candidate<'_>,
    texts: &[&str],
    progress: &dyn Progress,
) -> Result<Vec<Scored>, ModelError> {
    let scored = |scores: &Scores| Scored {
        prediction: candidate.calibration.apply(scores),
        out_of_scope_score: scores.out_of_scope,
        truncated: scores.truncated,
    };
    Ok(score(candidate.model, texts, progress)?.iter().map(scored).collect())
}

/// Scores texts on all cores, in order.
///
/// # Errors
/// As [`Model::score`].
pub(crate) fn score(model: &dyn Model, texts: &[&str], progress: &dyn Progress) -> Result<Vec<Scores>, ModelError> {
    let batches = map_chunks(texts, BATCH_ROWS, |texts| {
        let documents: Vec<Document> = texts.iter().map(|text| Document::new(*text)).collect();
        let scores = model.score(&documents.iter().collect::<Vec<_>>())?;
        progress.advance(texts.len() as u64);
        Ok::<_, ModelError>(scores)
    })?;
    Ok(batches.into_iter().flatten().collect())
}

/// Brings the predictions of models together.
pub fn evaluate(set: &EvaluationSet, models: &[ModelPredictions], strategies: Vec<StrategyEvaluation>) -> Evaluation {
    Evaluation {
        rows: set.rows.len(),
        out_of_scope_rows: set.out_of_scope.len(),
        intents: set.labels.len(),
        folds: None,
        models: models.iter().map(|model| (model.name.clone(), evaluate_model(set, model))).collect(),
        comparisons: compare_all(set, models),
        strategies,
    }
}

fn evaluate_model(set: &EvaluationSet, model: &ModelPredictions) -> ModelEvaluation {
    let rows = || model.in_scope.iter().zip(set.rows.iter().map(|row| row.label as usize));
    let mean = |value: &dyn Fn(&Prediction, usize) -> f64| {
        rows().map(|(scored, label)| value(&scored.prediction, label)).sum::<f64>() / set.rows.len().max(1) as f64
    };
    let answer = |prediction: &Prediction| metrics::argmax(&prediction.confidences);
    let answers: Vec<(f32, bool)> = rows()
        .map(|(scored, label)| {
            let best = answer(&scored.prediction);
            (scored.prediction.confidences[best], best == label)
        })
        .collect();
    let right = answers.iter().filter(|answer| answer.1).count();
    let kept_right =
        rows().zip(&answers).filter(|((scored, _), answer)| scored.prediction.out_of_scope.is_none() && answer.1);
    let found = model.foreign.iter().filter(|scored| scored.prediction.out_of_scope.is_some());
    let decided_right = kept_right.count() + found.count();

    let confusion =
        ConfusionMatrix::count(&set.labels, rows().map(|(scored, label)| (label, answer(&scored.prediction))));
    let per_intent = confusion.per_intent();
    let scores =
        |scored: &[Scored]| -> Vec<f32> { scored.iter().filter_map(|scored| scored.out_of_scope_score).collect() };
    let out_of_scope = out_of_scope::out_of_scope(&scores(&model.in_scope), &scores(&model.foreign), model.gate);
    ModelEvaluation {
        accuracy: right as f64 / answers.len().max(1) as f64,
        accuracy_interval: metrics::wilson_interval(right, answers.len()),
        accuracy_with_out_of_scope: decided_right as f64 / (answers.len() + model.foreign.len()).max(1) as f64,
        top_3_accuracy: mean(&|prediction, label| {
            f64::from(u8::from(metrics::is_in_top(&prediction.confidences, label, 3)))
        }),
        macro_f1: classification::macro_f1(&per_intent),
        weighted_f1: classification::weighted_f1(&per_intent),
        ece: metrics::expected_calibration_error(&answers),
        brier: mean(&|prediction, label| squared_distance(&prediction.confidences, label)),
        negative_log_likelihood: mean(&|prediction, label| {
            -f64::from(prediction.confidences[label].max(f32::MIN_POSITIVE)).ln()
        }),
        mean_confidence: mean(&|prediction, _| f64::from(prediction.confidences[answer(prediction)])),
        auroc: out_of_scope.as_ref().map(|metrics| metrics.auroc),
        out_of_scope,
        accepted: confidence::acceptance(&answers, model.accept_threshold),
        area_under_risk_coverage: confidence::area_under_risk_coverage(&answers),
        latency_ms: model.latency_ms,
        truncated_rows: model.in_scope.iter().filter(|scored| scored.truncated).count(),
        per_intent,
        reliability: confidence::reliability(&answers),
        histogram: confidence::histogram(&answers),
        risk_coverage: confidence::risk_coverage(&answers),
        threshold_sweep: confidence::threshold_sweep(&answers),
        confusion,
    }
}

/// Lists the wrong answers of some models, the surest first, with the out-of-scope gate in force.
pub fn wrong_answers<'a>(set: &'a EvaluationSet, models: &'a [ModelPredictions]) -> Vec<WrongAnswer<'a>> {
    let mut wrong = Vec::new();
    for model in models {
        let known = set.rows.iter().map(|row| (row.text.as_str(), Some(row.label as usize))).zip(&model.in_scope);
        let foreign = set.out_of_scope.iter().map(|text| (text.as_str(), None)).zip(&model.foreign);
        for ((text, label), Scored { prediction, .. }) in known.chain(foreign) {
            let best = metrics::argmax(&prediction.confidences);
            let answered = if prediction.out_of_scope.is_some() { None } else { Some(best) };
            if answered != label {
                let name = |label: Option<usize>| label.map_or(OUT_OF_SCOPE, |label| set.labels.name(label));
                wrong.push(WrongAnswer {
                    model: &model.name,
                    text,
                    intent: name(label),
                    predicted: name(answered),
                    confidence: prediction.confidence(),
                    confidence_of_right: label.map_or(0.0, |label| prediction.confidences[label]),
                });
            }
        }
    }
    wrong.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    wrong
}
