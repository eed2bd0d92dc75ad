//! Examples to trained and calibrated models.

use std::collections::BTreeMap;

use intent_model::{
    Calibration, Labels,
    linear::Linear,
    ngram::{NgramOptions, Ngrams},
};
use serde::{Deserialize, Serialize};

use crate::{
    calibrate::{self, AcceptThreshold},
    dataset::{Dataset, deal_folds},
    evaluation::{
        classification::{self, ConfusionMatrix},
        metrics,
    },
    progress::Progress,
    sparse::FeatureRows,
    svm::{self, SvmOptions},
};

/// How models are trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOptions {
    /// Decides folds and the order of rows; the same data and seed give the same files.
    pub seed: u64,
    /// How many folds the training rows are dealt into for out-of-fold predictions, at least 2.
    pub folds: usize,
    /// The share of accepted answers that may be wrong, from which the accept thresholds are solved.
    pub target_error: f64,
    /// The share of in-scope texts that the out-of-scope gate must let pass.
    pub in_scope_retention: f64,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self { seed: 0, folds: 5, target_error: 0.02, in_scope_retention: 0.97 }
    }
}

/// A trained model and what is known of it.
#[derive(Clone, Debug)]
pub struct Fitted<M> {
    /// The model, trained on all training rows.
    pub model: M,
    /// Fitted on out-of-fold predictions.
    pub calibration: Calibration,
    /// Measured on out-of-fold predictions.
    pub metrics: FittedMetrics,
}

/// What out-of-fold predictions say of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FittedMetrics {
    /// How many rows were predicted by a model that had not seen them.
    pub rows: usize,
    /// The share of them whose likeliest intent is right.
    pub accuracy: f64,
    /// The mean F1 over the intents.
    pub macro_f1: f64,
    /// Expected calibration error after calibration, 0 to 1.
    pub ece: f64,
    /// Area under the ROC curve of the out-of-scope score, where out-of-scope texts were given.
    pub auroc: Option<f64>,
    /// The threshold for accepting an answer.
    pub accept: AcceptThreshold,
    /// What was chosen in training.
    pub hyper_parameters: BTreeMap<String, f64>,
}

/// The models of one training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The intents in the order of the scores.
    pub labels: Labels,
    /// The n-gram classifier.
    pub linear: Fitted<Linear>,
}

/// The costs of a violated margin that training chooses from.
const COSTS: [f32; 3] = [0.5, 1.0, 2.0];

/// Trains, calibrates and measures all models.
pub fn train(dataset: &Dataset, options: &TrainOptions, progress: &dyn Progress) -> Trained {
    Trained { labels: dataset.labels.clone(), linear: train_linear(dataset, options, progress) }
}

fn train_linear(dataset: &Dataset, options: &TrainOptions, progress: &dyn Progress) -> Fitted<Linear> {
    let texts = dataset.training_texts();
    let targets = dataset.training_labels();
    let labels = dataset.labels.len();
    let folds = deal_folds(&texts, &targets, options.folds, options.seed);

    progress.stage("linear", (COSTS.len() * options.folds) as u64 + 1);
    let candidates: Vec<OutOfFold> = COSTS
        .into_iter()
        .map(|cost| {
            let svm = SvmOptions { cost, seed: options.seed, ..SvmOptions::default() };
            out_of_fold(&texts, &targets, labels, &folds, options.folds, svm, progress)
        })
        .collect();
    let best = (0..candidates.len())
        .max_by(|&a, &b| {
            let loss = |at: usize| {
                let temperature = calibrate::fit_temperature(&candidates[at].logits, &targets);
                calibrate::negative_log_likelihood(&candidates[at].logits, &targets, temperature)
            };
            let accuracy = |at: usize| metrics::accuracy(&candidates[at].logits, &targets);
            accuracy(a).total_cmp(&accuracy(b)).then(loss(b).total_cmp(&loss(a)))
        })
        .expect("there are candidates");
    let cost = COSTS[best];

    let ngrams = Ngrams::fit(texts.iter().copied(), NgramOptions::default());
    let rows = FeatureRows::of_texts(&ngrams, &texts);
    let svm = SvmOptions { cost, seed: options.seed, ..SvmOptions::default() };
    let weights = svm::fit(&rows, &targets, labels, svm);
    progress.advance(1);

    let foreign: Vec<&str> = dataset.out_of_scope.iter().map(String::as_str).collect();
    let foreign = weights.decide_all(&FeatureRows::of_texts(&ngrams, &foreign));
    let model = Linear::new(dataset.labels.clone(), ngrams, &weights.sparse, weights.bias.clone());
    let hyper_parameters = BTreeMap::from([("cost".to_owned(), f64::from(cost))]);
    summarise(model, &candidates[best], &foreign, &targets, hyper_parameters, options)
}

/// Predictions of rows by models that had not seen them.
struct OutOfFold {
    logits: Vec<Vec<f32>>,
}

fn out_of_fold(
    texts: &[&str],
    targets: &[u32],
    labels: usize,
    folds: &[usize],
    count: usize,
    svm: SvmOptions,
    progress: &dyn Progress,
) -> OutOfFold {
    let mut logits = vec![Vec::new(); texts.len()];
    for fold in 0..count {
        let (held_out, kept): (Vec<usize>, Vec<usize>) = (0..texts.len()).partition(|&row| folds[row] == fold);
        let pick = |rows: &[usize]| -> Vec<&str> { rows.iter().map(|&row| texts[row]).collect() };
        let ngrams = Ngrams::fit(pick(&kept), NgramOptions::default());
        let rows = FeatureRows::of_texts(&ngrams, &pick(&kept));
        let kept: Vec<u32> = kept.iter().map(|&row| targets[row]).collect();
        let weights = svm::fit(&rows, &kept, labels, svm);
        let decisions = weights.decide_all(&FeatureRows::of_texts(&ngrams, &pick(&held_out)));
        for (row, decision) in held_out.into_iter().zip(decisions) {
            logits[row] = decision;
        }
        progress.advance(1);
    }
    OutOfFold { logits }
}

fn summarise<M>(
    model: M,
    predicted: &OutOfFold,
    foreign: &[Vec<f32>],
    targets: &[u32],
    hyper_parameters: BTreeMap<String, f64>,
    options: &TrainOptions,
) -> Fitted<M> {
    let temperature = calibrate::fit_temperature(&predicted.logits, targets);
    let foreignness = |logits: &Vec<f32>| -logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let in_scope: Vec<f32> = predicted.logits.iter().map(foreignness).collect();
    let foreign: Vec<f32> = foreign.iter().map(foreignness).collect();
    let answers = calibrate::answers(&predicted.logits, targets, temperature);
    let accept = calibrate::solve_accept_threshold(&answers, options.target_error);
    let calibration = Calibration {
        temperature,
        out_of_scope: calibrate::fit_gate(&in_scope, &foreign, options.in_scope_retention),
        accept_threshold: accept.threshold,
    };
    let metrics = FittedMetrics {
        rows: targets.len(),
        accuracy: metrics::accuracy(&predicted.logits, targets),
        macro_f1: macro_f1(&predicted.logits, targets),
        ece: metrics::expected_calibration_error(&answers),
        auroc: metrics::auroc(&in_scope, &foreign),
        accept,
        hyper_parameters,
    };
    Fitted { model, calibration, metrics }
}

fn macro_f1(logits: &[Vec<f32>], targets: &[u32]) -> f64 {
    let labels = Labels::new((0..logits.first().map_or(0, Vec::len)).map(|label| label.to_string()));
    let pairs = logits.iter().zip(targets).map(|(row, &label)| (label as usize, metrics::argmax(row)));
    classification::macro_f1(&ConfusionMatrix::count(&labels, pairs).per_intent())
}
