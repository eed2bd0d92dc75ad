//! Fine-tuning: a pretrained encoder and labelled texts to a `DistilBertForSequenceClassification`.
//!
//! The network is small and known, so it is written out by hand: a forward and a backward pass over flat vectors
//! (`network`), on the matrix products of the runtime that serves. Texts of a batch lie one after the other without
//! padding. Every run is deterministic for its seed, whatever the number of threads.

mod architecture;
mod checkpoint;
mod error;
mod examples;
mod export;
mod fitted;
mod network;
mod optimizer;
mod options;
mod parameters;
mod pretrained;
mod shards;
mod trainer;

use std::{
    fs,
    path::{Path, PathBuf},
};

use intent_model::Labels;

use self::{
    architecture::Architecture,
    examples::Examples,
    network::{Network, mix},
    pretrained::Pretrained,
    shards::Shards,
    trainer::Trainer,
};
pub use self::{
    error::FineTuneError,
    fitted::{Classifier, train_classifier},
    options::Options,
    trainer::EpochReport,
};
use crate::{
    dataset::{Dataset, Labelled, deal_folds},
    progress::Progress,
};

/// What is read, written and used by a run, besides its hyper-parameters.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// A Hugging Face directory to start from: a BERT or DistilBERT with `config.json`, `model.safetensors` and
    /// `tokenizer.json`.
    pub base: &'a Path,
    /// The directory to write; made when it is not there.
    pub out: &'a Path,
    /// Where the state of the run is kept; `None` for no checkpoints. The last state stays there: whoever uses what the
    /// run wrote removes it when that has gone well.
    pub checkpoint: Option<&'a Path>,
    /// Whether to go on from that state; otherwise the run starts anew and replaces it.
    pub resume: bool,
    /// Threads to compute on; more than [`Options::shards`] are not used.
    pub threads: usize,
}

/// What a run ends with, besides the directory it wrote.
#[derive(Clone, Debug)]
pub struct FineTuned {
    /// The directory it wrote.
    pub directory: PathBuf,
    /// How each epoch went.
    pub epochs: Vec<EpochReport>,
    /// The epoch whose parameters were kept, from 1: the one of the best validation accuracy.
    pub best_epoch: usize,
    /// The rows on which the epoch was chosen: those given, or else a part of the training rows that was held out.
    /// Fit calibration here, never on rows that were learnt from.
    pub validation: Vec<Labelled>,
    /// The kept parameters' logits on these rows, in fp32.
    pub validation_logits: Vec<Vec<f32>>,
    /// Whether the run went on from a checkpoint.
    pub resumed: bool,
}

/// Trains a classifier and writes it as a Hugging Face directory, which `transformers` loads unchanged.
///
/// Without validation rows, a tenth of the training rows, evenly of each label, is held out instead.
///
/// # Errors
/// [`FineTuneError::Option`] for a senseless option, [`FineTuneError::Data`] when there is nothing to learn,
/// [`FineTuneError::Io`] and [`FineTuneError::InvalidFile`] for the base, the checkpoint and what is written,
/// [`FineTuneError::Diverged`] when the loss is no longer a number.
pub fn fine_tune(
    dataset: &Dataset,
    place: &Place<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<FineTuned, FineTuneError> {
    let (train, validation) = split(dataset, options.seed);
    fine_tune_rows(&dataset.labels, &train, &validation, place, options, progress)
}

/// Trains again on all rows, those that the epoch was chosen on included, for the `epochs` that were found best, and
/// writes the result over what is in [`Place::out`]. There are no validation rows left to measure it by.
///
/// # Errors
/// As [`fine_tune`].
fn refit(
    dataset: &Dataset,
    epochs: usize,
    place: &Place<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<FineTuned, FineTuneError> {
    let rows: Vec<&Labelled> = dataset.training.iter().chain(&dataset.validation).collect();
    let options = Options { epochs, patience: epochs, ..options.clone() };
    fine_tune_rows(&dataset.labels, &rows, &[], place, &options, progress)
}

fn fine_tune_rows(
    labels: &Labels,
    train: &[&Labelled],
    validation: &[&Labelled],
    place: &Place<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<FineTuned, FineTuneError> {
    options.check()?;
    if train.is_empty() || labels.len() < 2 {
        let message = "at least two intents with examples are needed to fine-tune, found ";
        return Err(FineTuneError::Data(format!("{message}{}", labels.len().min(train.len()))));
    }
    let pretrained = Pretrained::read(place.base)?;
    let examples = Examples::encode(&pretrained, train, validation, options)?;
    let labels: Vec<&str> = labels.iter().collect();
    let architecture = Architecture { labels: labels.len(), ..pretrained.architecture };
    let network = Network::new(architecture, examples.vocabulary.len());
    let seed = mix(options.seed, u64::MAX);
    let parameters = pretrained.parameters(&network.layout, &examples.vocabulary, &labels, seed);

    fs::create_dir_all(place.out).map_err(FineTuneError::io(place.out))?;
    let mut trainer = Trainer::new(&network, parameters, &examples, options, place.threads)?;
    let resumed = match place.checkpoint {
        Some(checkpoint) if place.resume => trainer.resume(checkpoint)?,
        _ => false,
    };
    let trained = trainer.train(place.checkpoint, progress)?;
    export::write(place.out, &pretrained, &network, &examples.vocabulary, &trained.parameters, &labels)?;
    Ok(FineTuned {
        directory: place.out.to_owned(),
        epochs: trained.epochs,
        best_epoch: trained.best_epoch,
        validation_logits: trained.validation_logits.chunks_exact(labels.len()).map(<[f32]>::to_vec).collect(),
        validation: validation.iter().map(|&row| row.clone()).collect(),
        resumed,
    })
}

/// Computes the logits of texts with a directory that [`fine_tune`] wrote, by the forward pass of the training: one row
/// per text, in fp32. This is what files for serving are compared with.
///
/// # Errors
/// As for the base of [`fine_tune`]; [`FineTuneError::InvalidFile`] also when the directory holds no classifier.
pub fn reference_logits(directory: &Path, texts: &[&str], max_tokens: usize) -> Result<Vec<Vec<f32>>, FineTuneError> {
    let pretrained = Pretrained::read(directory)?;
    let labels: Vec<&str> = pretrained.labels().iter().map(String::as_str).collect();
    if labels.is_empty() || pretrained.head().is_none() {
        let reason = "it is not a DistilBERT with a sequence-classification head and named labels";
        return Err(FineTuneError::invalid(directory, reason));
    }
    let tokens = pretrained.encode(texts, max_tokens)?;
    let network = Network::new(pretrained.architecture, pretrained.architecture.vocabulary);
    let vocabulary: Vec<u32> = (0..).take(pretrained.architecture.vocabulary).collect();
    let parameters = pretrained.parameters(&network.layout, &vocabulary, &labels, 0);
    let texts: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let logits = Shards::new(1, 1)?.logits(&network, &parameters, &texts);
    Ok(logits.chunks_exact(labels.len()).map(<[f32]>::to_vec).collect())
}

/// Returns the rows to learn from and those to choose the epoch on.
fn split(dataset: &Dataset, seed: u64) -> (Vec<&Labelled>, Vec<&Labelled>) {
    const FOLDS: usize = 10;
    if !dataset.validation.is_empty() {
        return (dataset.training.iter().collect(), dataset.validation.iter().collect());
    }
    let folds = deal_folds(&dataset.training_texts(), &dataset.training_labels(), FOLDS, seed);
    let in_fold = |held_out: bool| {
        let rows = dataset.training.iter().zip(&folds);
        rows.filter(move |(_, fold)| (**fold == 0) == held_out).map(|(row, _)| row).collect()
    };
    (in_fold(false), in_fold(true))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiny_base;
