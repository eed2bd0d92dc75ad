//! Examples to trained and calibrated models.

use std::{borrow::Cow, collections::BTreeMap};

use intent_model::{
    Calibration, Hybrid, Labels, Model, ModelError, SentenceEncoder,
    directory::{MeasuredOn, ModelMetrics},
    hybrid::{EmbeddingWeights, energy},
    linear::Linear,
    ngram::{NgramOptions, Ngrams},
    transformer::map_chunks,
};

use rayon::prelude::*;

use crate::{
    calibrate,
    centroids::Centroids,
    dataset::{Dataset, deal_folds},
    evaluation::{confidence::acceptance, metrics},
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
/// How much the likeness to an intent's centroid counts beside the margin, which training chooses from: with few examples
/// a margin is a matter of luck and a mean is not. Some of it always helps to notice foreign texts.
const CENTROID_WEIGHTS: [f32; 3] = [0.5, 1.0, 2.0];
/// The costs of the hybrid that training chooses from: the embedding separates well, so that it matters only with few
/// examples. The scale is chosen at the first.
const HYBRID_COSTS: [f32; 2] = [0.5, 2.0];
/// The part of the target error that a cascade may lose by taking an answer of `linear` instead of asking `hybrid`.
const CASCADE_LOSS: f64 = 0.1;
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
    let folds = Folds::deal(dataset, options);
    let (mut linear, of_linear) = train_linear(dataset, &folds, options, progress);
    let hybrid = encoder.map(|encoder| train_hybrid(dataset, &folds, encoder, options, progress)).transpose()?;
    if let Some((_, of_hybrid)) = &hybrid {
        linear.leave_to_better(&of_linear, of_hybrid, options);
    }
    Ok(Trained { labels: dataset.labels.clone(), linear, hybrid: hybrid.map(|(hybrid, _)| hybrid) })
}

/// The confidence of each out-of-fold answer, and whether it is right; in the order of the training rows.
type Answers = Vec<(f32, bool)>;

impl<M> Fitted<M> {
    /// Raises the accept threshold until accepting costs next to nothing against asking a better model, whose answers
    /// to the same rows are `better`: of two models that are wrong equally often, one may be wrong on the other's easy
    /// rows.
    fn leave_to_better(&mut self, own: &Answers, better: &Answers, options: &TrainOptions) {
        let is_right: Vec<bool> = better.iter().map(|&(_, is_right)| is_right).collect();
        let max_loss = options.target_error * CASCADE_LOSS;
        let threshold = calibrate::solve_cascade_threshold(own, &is_right, max_loss);
        if threshold > self.calibration.accept_threshold {
            self.calibration.accept_threshold = threshold;
            let accepted = acceptance(own, threshold);
            (self.metrics.coverage, self.metrics.accepted_error) = (accepted.coverage, accepted.error);
        }
    }
}

fn train_linear(
    dataset: &Dataset,
    folds: &Folds<'_>,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> (Fitted<Linear>, Answers) {
    progress.stage("linear", (COSTS.len() * options.folds) as u64 + 1);
    let tried = COSTS.map(|cost| (cost, folds.predict(None, options.svm(cost), progress).logits));
    let (cost, predicted) = best_of(tried, folds.judged());

    let Whole { ngrams, rows } = &folds.whole;
    let weights = svm::fit(rows, &folds.targets, folds.labels, options.svm(cost));
    progress.advance(1);

    let foreign = weights.decide_all(&FeatureRows::of_texts(ngrams, &dataset.out_of_scope));
    let model = Linear::new(dataset.labels.clone(), ngrams.clone(), &weights.sparse, weights.bias.clone());
    let foreignness = |logits: &[f32]| -logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let hyper_parameters = BTreeMap::from([("cost".to_owned(), f64::from(cost))]);
    summarise(model, predicted, &foreign, folds.judged(), foreignness, hyper_parameters, options)
}

fn train_hybrid(
    dataset: &Dataset,
    folds: &Folds<'_>,
    encoder: &SentenceEncoder,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> Result<(Fitted<Hybrid>, Answers), ModelError> {
    progress.stage("embeddings", (folds.texts.len() + dataset.out_of_scope.len()) as u64);
    let embeddings = embed(encoder, &folds.texts, progress)?;
    let foreign_embeddings = embed(encoder, &dataset.out_of_scope, progress)?;
    let centre = mean(&embeddings[..folds.judged], encoder.dimension());
    let dense = |embeddings: &[Vec<f32>], scale: f32| -> Vec<f32> {
        embeddings.iter().flat_map(|embedding| EmbeddingWeights::features(&centre, scale, embedding)).collect()
    };

    progress.stage("hybrid", ((SCALES.len() + HYBRID_COSTS.len() - 1) * options.folds) as u64 + 1);
    let tried = |cost: f32, scale: f32| {
        let dense = dense(&embeddings, scale);
        let predicted = folds.predict(Some((&dense, encoder.dimension())), options.svm(cost), progress);
        CENTROID_WEIGHTS.map(|weight| ((cost, scale, weight), predicted.blend(weight)))
    };
    let [first_cost, other_costs @ ..] = HYBRID_COSTS;
    let best = best_of(SCALES.into_iter().flat_map(|scale| tried(first_cost, scale)), folds.judged());
    let (_, scale, _) = best.0;
    let others = other_costs.into_iter().flat_map(|cost| tried(cost, scale));
    let ((cost, scale, centroid_weight), predicted) = best_of(std::iter::once(best).chain(others), folds.judged());

    let Whole { ngrams, rows } = &folds.whole;
    let join =
        |rows: FeatureRows, embeddings: &[Vec<f32>]| rows.with_dense(dense(embeddings, scale), encoder.dimension());
    let rows = join(rows.clone(), &embeddings);
    let mut weights = svm::fit(&rows, &folds.targets, folds.labels, options.svm(cost));
    Centroids::of(&rows, &folds.targets, folds.labels).add_to(&mut weights, centroid_weight);
    progress.advance(1);

    let foreign = weights.decide_all(&join(FeatureRows::of_texts(ngrams, &dataset.out_of_scope), &foreign_embeddings));
    let linear = Linear::new(dataset.labels.clone(), ngrams.clone(), &weights.sparse, weights.bias.clone());
    let embedding = EmbeddingWeights { centre, scale, weights: weights.dense };
    let model = Hybrid::new(linear, embedding, encoder.clone());
    let hyper_parameters = BTreeMap::from([
        ("cost".to_owned(), f64::from(cost)),
        ("embedding_scale".to_owned(), f64::from(scale)),
        ("centroid_weight".to_owned(), f64::from(centroid_weight)),
    ]);
    Ok(summarise(model, predicted, &foreign, folds.judged(), energy, hyper_parameters, options))
}

/// Embeds texts on all cores.
fn embed(
    encoder: &SentenceEncoder,
    texts: &[impl AsRef<str> + Sync],
    progress: &dyn Progress,
) -> Result<Vec<Vec<f32>>, ModelError> {
    // Batches of like length pad little.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&at| texts[at].as_ref().len());
    let batches = map_chunks(&order, EMBEDDING_BATCH, |batch| {
        let embedded = encoder.embed(&batch.iter().map(|&at| texts[at].as_ref()).collect::<Vec<_>>())?;
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
fn best_of<C>(tried: impl IntoIterator<Item = (C, Vec<Vec<f32>>)>, targets: &[u32]) -> (C, Vec<Vec<f32>>) {
    let judge = |predicted: &[Vec<f32>]| {
        let scaling = calibrate::fit_temperature(predicted, targets);
        (metrics::accuracy(predicted, targets), -calibrate::negative_log_likelihood(predicted, targets, scaling))
    };
    let judged = tried.into_iter().map(|(candidate, predicted)| (judge(&predicted), candidate, predicted));
    let best = judged.max_by(|(a, ..), (b, ..)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let (_, candidate, predicted) = best.expect("there are candidates");
    (candidate, predicted)
}

/// The training rows, dealt into folds, and the names of the intents; with their n-grams, which all candidates share.
///
/// A name says much about an intent: as words it is one more example of it, part of every training and judged never.
struct Folds<'a> {
    /// The training texts, and after them the names.
    texts: Vec<Cow<'a, str>>,
    /// The label of each text.
    targets: Vec<u32>,
    labels: usize,
    /// How many of the texts are training rows.
    judged: usize,
    splits: Vec<Split>,
    whole: Whole,
}

/// One fold held out from the rest.
struct Split {
    held_out: Vec<usize>,
    kept: Vec<usize>,
    /// The n-grams of both, by the vocabulary of those kept.
    held_out_rows: FeatureRows,
    kept_rows: FeatureRows,
    /// The labels of those kept.
    targets: Vec<u32>,
}

/// All texts, to learn the final model from.
struct Whole {
    ngrams: Ngrams,
    rows: FeatureRows,
}

/// What models say of the training rows that they have not seen.
struct OutOfFold {
    logits: Vec<Vec<f32>>,
    /// The cosine of each row's dense features and each centroid; empty without dense features.
    likeness: Vec<Vec<f32>>,
}

impl OutOfFold {
    /// Adds the likeness, `weight` times, to the logits.
    fn blend(&self, weight: f32) -> Vec<Vec<f32>> {
        let blend = |(logits, likeness): (&Vec<f32>, &Vec<f32>)| {
            logits.iter().zip(likeness).map(|(logit, likeness)| logit + weight * likeness).collect()
        };
        self.logits.iter().zip(&self.likeness).map(blend).collect()
    }
}

impl<'a> Folds<'a> {
    fn deal(dataset: &'a Dataset, options: &TrainOptions) -> Self {
        let (rows, mut targets) = (dataset.training_texts(), dataset.training_labels());
        let judged = rows.len();
        let fold = deal_folds(&rows, &targets, options.folds, options.seed);
        let mut texts: Vec<Cow<'a, str>> = rows.into_iter().map(Cow::Borrowed).collect();
        texts.extend(dataset.labels.iter().map(|name| Cow::Owned(name.replace(['_', '-'], " "))));
        targets.extend(0..dataset.labels.len() as u32);
        let split = |held_out: usize| {
            let (held_out, kept): (Vec<usize>, Vec<usize>) =
                (0..texts.len()).partition(|&row| fold.get(row) == Some(&held_out));
            let of = |rows: &[usize]| -> Vec<&str> { rows.iter().map(|&row| texts[row].as_ref()).collect() };
            let ngrams = Ngrams::fit(of(&kept), NgramOptions::default());
            Split {
                held_out_rows: FeatureRows::of_texts(&ngrams, &of(&held_out)),
                kept_rows: FeatureRows::of_texts(&ngrams, &of(&kept)),
                targets: kept.iter().map(|&row| targets[row]).collect(),
                held_out,
                kept,
            }
        };
        let splits = (0..options.folds).into_par_iter().map(split).collect();
        let ngrams = Ngrams::fit(texts.iter().map(Cow::as_ref), NgramOptions::default());
        let whole = Whole { rows: FeatureRows::of_texts(&ngrams, &texts), ngrams };
        Self { texts, targets, labels: dataset.labels.len(), judged, splits, whole }
    }

    /// Returns the labels of the training rows alone.
    fn judged(&self) -> &[u32] {
        &self.targets[..self.judged]
    }

    /// Predicts every training row by a model trained on the other folds and the names; `dense` holds features that do
    /// not depend on the training rows, text by text, and their number.
    fn predict(&self, dense: Option<(&[f32], usize)>, svm: SvmOptions, progress: &dyn Progress) -> OutOfFold {
        let of_split = |split: &Split| {
            let (kept, unseen) =
                (join(&split.kept_rows, &split.kept, dense), join(&split.held_out_rows, &split.held_out, dense));
            let weights = svm::fit(&kept, &split.targets, self.labels, svm);
            let centroids = Centroids::of(&kept, &split.targets, self.labels);
            let likeness: Vec<Vec<f32>> = (0..unseen.len()).map(|row| centroids.likeness(unseen.dense(row))).collect();
            progress.advance(1);
            (weights.decide_all(&unseen), likeness)
        };
        let mut predicted =
            OutOfFold { logits: vec![Vec::new(); self.judged], likeness: vec![Vec::new(); self.judged] };
        let of_splits: Vec<_> = self.splits.par_iter().map(of_split).collect();
        for (split, (logits, likeness)) in self.splits.iter().zip(of_splits) {
            for ((&row, logits), likeness) in split.held_out.iter().zip(logits).zip(likeness) {
                (predicted.logits[row], predicted.likeness[row]) = (logits, likeness);
            }
        }
        predicted
    }
}

/// Joins the n-grams of `rows` with their dense features, where there are any.
fn join<'a>(features: &'a FeatureRows, rows: &[usize], dense: Option<(&[f32], usize)>) -> Cow<'a, FeatureRows> {
    let Some((dense, dimension)) = dense else { return Cow::Borrowed(features) };
    let of = |&row: &usize| dense[row * dimension..][..dimension].iter().copied();
    Cow::Owned(features.clone().with_dense(rows.iter().flat_map(of).collect(), dimension))
}

/// Calibrates and measures a model by out-of-fold predictions; `foreign` holds its logits of out-of-scope texts.
fn summarise<M: Model>(
    model: M,
    predicted: Vec<Vec<f32>>,
    foreign: &[Vec<f32>],
    targets: &[u32],
    foreignness: impl Fn(&[f32]) -> f32,
    hyper_parameters: BTreeMap<String, f64>,
    options: &TrainOptions,
) -> (Fitted<M>, Answers) {
    let evidence = Evidence {
        labels: model.labels(),
        in_scope: predicted.iter().map(|logits| foreignness(logits)).collect(),
        foreign: foreign.iter().map(|logits| foreignness(logits)).collect(),
        logits: predicted,
        targets: targets.to_vec(),
    };
    let calibration = evidence.calibrate(options);
    let answers = calibrate::answers(&evidence.logits, &evidence.targets, calibration.scaling);
    let metrics = evidence.metrics(&calibration, MeasuredOn::OutOfFold, hyper_parameters);
    (Fitted { model, calibration, metrics }, answers)
}
