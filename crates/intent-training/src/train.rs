//! Examples to trained and calibrated models.

use std::collections::BTreeMap;

use intent_model::{
    Calibration, Hybrid, Labels, Model, ModelError, SentenceEncoder,
    directory::{MeasuredOn, ModelMetrics},
    hybrid::{EmbeddingWeights, energy},
    linear::Linear,
    ngram::{NgramOptions, Ngrams},
    transformer::map_chunks,
};

use crate::{
    calibrate,
    dataset::{Dataset, deal_folds},
    evaluation::metrics,
    evidence::Evidence,
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

impl TrainOptions {
    fn svm(&self, cost: f32) -> SvmOptions {
        SvmOptions { cost, seed: self.seed, ..SvmOptions::default() }
    }
}

/// A trained model and what is known of it.
#[derive(Clone, Debug)]
pub struct Fitted<M> {
    /// The model, trained on all training rows.
    pub model: M,
    /// Fitted on predictions for rows that the predicting model had not learnt from.
    pub calibration: Calibration,
    /// Measured on the same predictions.
    pub metrics: ModelMetrics,
}

/// The models of one training.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The intents in the order of the scores.
    pub labels: Labels,
    /// The n-gram classifier.
    pub linear: Fitted<Linear>,
    /// The classifier on n-grams and embeddings, when there is an encoder.
    pub hybrid: Option<Fitted<Hybrid>>,
}

/// The costs of a violated margin that training chooses from.
const COSTS: [f32; 3] = [0.5, 1.0, 2.0];
/// The lengths of the embedding, beside n-grams of length 1 per block, that training chooses from.
const SCALES: [f32; 3] = [1.0, 2.0, 3.0];
/// The cost of the hybrid while its scale is chosen, and after: the embedding separates well, so it hardly matters.
const HYBRID_COST: f32 = 0.5;
/// Texts embedded at a time.
const EMBEDDING_BATCH: usize = 64;

/// Trains, calibrates and measures all models; the hybrid when there is an encoder.
///
/// # Errors
/// [`ModelError::Inference`] when the encoder fails.
pub fn train(
    dataset: &Dataset,
    encoder: Option<&SentenceEncoder>,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> Result<Trained, ModelError> {
    let linear = train_linear(dataset, options, progress);
    let hybrid = encoder.map(|encoder| train_hybrid(dataset, encoder, options, progress)).transpose()?;
    Ok(Trained { labels: dataset.labels.clone(), linear, hybrid })
}

fn train_linear(dataset: &Dataset, options: &TrainOptions, progress: &dyn Progress) -> Fitted<Linear> {
    let folds = Folds::deal(dataset, options);
    progress.stage("linear", (COSTS.len() * options.folds) as u64 + 1);
    let (cost, predicted) = best_of(&COSTS, &folds.targets, |cost| folds.predict(None, options.svm(cost), progress));

    let ngrams = Ngrams::fit(folds.texts.iter().copied(), NgramOptions::default());
    let rows = FeatureRows::of_texts(&ngrams, &folds.texts);
    let weights = svm::fit(&rows, &folds.targets, folds.labels, options.svm(cost));
    progress.advance(1);

    let foreign: Vec<&str> = dataset.out_of_scope.iter().map(String::as_str).collect();
    let foreign = weights.decide_all(&FeatureRows::of_texts(&ngrams, &foreign));
    let model = Linear::new(dataset.labels.clone(), ngrams, &weights.sparse, weights.bias.clone());
    let foreignness = |logits: &[f32]| -logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let hyper_parameters = BTreeMap::from([("cost".to_owned(), f64::from(cost))]);
    summarise(model, predicted, &foreign, &folds.targets, foreignness, hyper_parameters, options)
}

fn train_hybrid(
    dataset: &Dataset,
    encoder: &SentenceEncoder,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> Result<Fitted<Hybrid>, ModelError> {
    let folds = Folds::deal(dataset, options);
    let foreign: Vec<&str> = dataset.out_of_scope.iter().map(String::as_str).collect();
    progress.stage("embeddings", (folds.texts.len() + foreign.len()) as u64);
    let embeddings = embed(encoder, &folds.texts, progress)?;
    let foreign_embeddings = embed(encoder, &foreign, progress)?;
    let centre = mean(&embeddings, encoder.dimension());
    let dense = |embeddings: &[Vec<f32>], scale: f32| -> Vec<f32> {
        embeddings.iter().flat_map(|embedding| EmbeddingWeights::features(&centre, scale, embedding)).collect()
    };

    progress.stage("hybrid", (SCALES.len() * options.folds) as u64 + 1);
    let svm = options.svm(HYBRID_COST);
    let (scale, predicted) = best_of(&SCALES, &folds.targets, |scale| {
        folds.predict(Some((&dense(&embeddings, scale), encoder.dimension())), svm, progress)
    });

    let ngrams = Ngrams::fit(folds.texts.iter().copied(), NgramOptions::default());
    let join = |texts: &[&str], embeddings: &[Vec<f32>]| {
        FeatureRows::of_texts(&ngrams, texts).with_dense(dense(embeddings, scale), encoder.dimension())
    };
    let weights = svm::fit(&join(&folds.texts, &embeddings), &folds.targets, folds.labels, svm);
    progress.advance(1);

    let foreign = weights.decide_all(&join(&foreign, &foreign_embeddings));
    let linear = Linear::new(dataset.labels.clone(), ngrams, &weights.sparse, weights.bias.clone());
    let embedding = EmbeddingWeights { centre, scale, weights: weights.dense };
    let model = Hybrid::new(linear, embedding, encoder.clone());
    let hyper_parameters =
        BTreeMap::from([("cost".to_owned(), f64::from(HYBRID_COST)), ("embedding_scale".to_owned(), f64::from(scale))]);
    Ok(summarise(model, predicted, &foreign, &folds.targets, energy, hyper_parameters, options))
}

/// Embeds texts on all cores.
fn embed(encoder: &SentenceEncoder, texts: &[&str], progress: &dyn Progress) -> Result<Vec<Vec<f32>>, ModelError> {
    // Batches of like length pad little.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&at| texts[at].len());
    let batches = map_chunks(&order, EMBEDDING_BATCH, |batch| {
        let embedded = encoder.embed(&batch.iter().map(|&at| texts[at]).collect::<Vec<_>>())?;
        progress.advance(batch.len() as u64);
        Ok::<_, ModelError>(embedded)
    })?;
    let mut embeddings = vec![Vec::new(); texts.len()];
    for (&at, embedding) in order.iter().zip(batches.into_iter().flatten()) {
        embeddings[at] = embedding.values.to_vec();
    }
    Ok(embeddings)
}

fn mean(embeddings: &[Vec<f32>], dimension: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dimension];
    for embedding in embeddings {
        sums.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.into_iter().map(|sum| (sum / embeddings.len().max(1) as f64) as f32).collect()
}

/// Returns the candidate whose out-of-fold predictions are most accurate, of equals the likeliest, with these.
fn best_of(candidates: &[f32], targets: &[u32], predict: impl Fn(f32) -> OutOfFold) -> (f32, OutOfFold) {
    let judge = |predicted: &OutOfFold| {
        let temperature = calibrate::fit_temperature(&predicted.logits, targets);
        let loss = calibrate::negative_log_likelihood(&predicted.logits, targets, temperature);
        (metrics::accuracy(&predicted.logits, targets), -loss)
    };
    let tried = candidates.iter().map(|&candidate| (candidate, predict(candidate)));
    let judged = tried.map(|(candidate, predicted)| (judge(&predicted), candidate, predicted));
    let best = judged.max_by(|(a, ..), (b, ..)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (_, candidate, predicted) = best.expect("there are candidates");
    (candidate, predicted)
}

/// The training rows, dealt into folds.
struct Folds<'a> {
    texts: Vec<&'a str>,
    targets: Vec<u32>,
    labels: usize,
    fold: Vec<usize>,
    count: usize,
}

/// Predictions of rows by models that had not seen them.
struct OutOfFold {
    logits: Vec<Vec<f32>>,
}

impl<'a> Folds<'a> {
    fn deal(dataset: &'a Dataset, options: &TrainOptions) -> Self {
        let (texts, targets) = (dataset.training_texts(), dataset.training_labels());
        let fold = deal_folds(&texts, &targets, options.folds, options.seed);
        Self { texts, targets, labels: dataset.labels.len(), fold, count: options.folds }
    }

    /// Predicts every row by a model trained on the other folds; `dense` holds features that do not depend on the
    /// training rows, row by row, and their number.
    fn predict(&self, dense: Option<(&[f32], usize)>, svm: SvmOptions, progress: &dyn Progress) -> OutOfFold {
        let mut logits = vec![Vec::new(); self.texts.len()];
        for fold in 0..self.count {
            let (held_out, kept): (Vec<usize>, Vec<usize>) =
                (0..self.texts.len()).partition(|&row| self.fold[row] == fold);
            let texts = |rows: &[usize]| -> Vec<&str> { rows.iter().map(|&row| self.texts[row]).collect() };
            let ngrams = Ngrams::fit(texts(&kept), NgramOptions::default());
            let features = |rows: &[usize]| {
                let features = FeatureRows::of_texts(&ngrams, &texts(rows));
                match dense {
                    None => features,
                    Some((dense, dimension)) => {
                        let of = |&row: &usize| dense[row * dimension..][..dimension].iter().copied();
                        features.with_dense(rows.iter().flat_map(of).collect(), dimension)
                    }
                }
            };
            let targets: Vec<u32> = kept.iter().map(|&row| self.targets[row]).collect();
            let weights = svm::fit(&features(&kept), &targets, self.labels, svm);
            for (&row, decision) in held_out.iter().zip(weights.decide_all(&features(&held_out))) {
                logits[row] = decision;
            }
            progress.advance(1);
        }
        OutOfFold { logits }
    }
}

/// Calibrates and measures a model by out-of-fold predictions; `foreign` holds its logits of out-of-scope texts.
fn summarise<M: Model>(
    model: M,
    predicted: OutOfFold,
    foreign: &[Vec<f32>],
    targets: &[u32],
    foreignness: impl Fn(&[f32]) -> f32,
    hyper_parameters: BTreeMap<String, f64>,
    options: &TrainOptions,
) -> Fitted<M> {
    let evidence = Evidence {
        labels: model.labels(),
        in_scope: predicted.logits.iter().map(|logits| foreignness(logits)).collect(),
        foreign: foreign.iter().map(|logits| foreignness(logits)).collect(),
        logits: predicted.logits,
        targets: targets.to_vec(),
    };
    let calibration = evidence.calibrate(options);
    let metrics = evidence.metrics(&calibration, MeasuredOn::OutOfFold, hyper_parameters);
    Fitted { model, calibration, metrics }
}
