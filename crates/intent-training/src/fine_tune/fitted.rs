//! From a trained directory to a calibrated model that serves.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use intent_model::{
    SequenceClassifier,
    directory::{Content, MeasuredOn},
    import::{ImportOptions, import},
    transformer::Precision,
};

use super::{FineTuneError, FineTuned, Options, Place, fine_tune, refit};
use crate::{
    dataset::Dataset,
    evidence::Evidence,
    progress::Progress,
    train::{Fitted, TrainOptions},
};

/// A fine-tuned classifier in both its forms.
#[derive(Debug)]
pub struct Classifier {
    /// The model as it serves: int8, calibrated on the rows that its epoch was chosen on.
    pub fitted: Fitted<SequenceClassifier>,
    /// How the training went, and the directory for Hugging Face transformers.
    pub tuned: FineTuned,
    /// The ONNX graphs, fp32 and int8, with their tokenizer.
    pub serving: PathBuf,
}

/// Trains a classifier into the folder [`Place::out`]: `huggingface/` for transformers, `serving/` for this service, and
/// calibrates what serves.
///
/// With [`Options::refit`] the classifier is trained a second time, on all rows; calibration and figures stay those of
/// the first, which had not learnt from the rows that they are measured on.
///
/// # Errors
/// As [`fine_tune`], and [`FineTuneError::Model`] when the trained model cannot be imported.
pub fn train_classifier(
    dataset: &Dataset,
    place: &Place<'_>,
    options: &Options,
    targets: &TrainOptions,
    progress: &dyn Progress,
) -> Result<Classifier, FineTuneError> {
    let directory = place.out.join("huggingface");
    let place = Place { out: &directory, ..place.clone() };
    let serving = place.out.with_file_name("serving");
    let tuned = fine_tune(dataset, &place, options, progress)?;
    let model = convert(&directory, &serving, dataset, progress)?;
    let mut fitted = calibrate(model, &tuned, dataset, options, targets)?;
    if options.refit {
        let checkpoint = place.checkpoint.map(|path| path.with_extension("refit.safetensors"));
        let place = Place { checkpoint: checkpoint.as_deref(), ..place.clone() };
        progress.note(&format!("training again on all rows, for {} epochs", tuned.best_epoch));
        refit(dataset, tuned.best_epoch, &place, options, progress)?;
        fitted.model = convert(&directory, &serving, dataset, progress)?;
    }
    Ok(Classifier { fitted, tuned, serving })
}

fn convert(
    directory: &Path,
    serving: &Path,
    dataset: &Dataset,
    progress: &dyn Progress,
) -> Result<SequenceClassifier, FineTuneError> {
    progress.stage("convert to int8", 1);
    import(directory, serving, &ImportOptions::default())?;
    let model = SequenceClassifier::load(serving, Precision::Int8, &dataset.labels)?;
    progress.advance(1);
    Ok(model)
}

impl Classifier {
    /// Lists the files of a version: those that serve in `path`, those for transformers in `path/huggingface`.
    ///
    /// # Errors
    /// [`FineTuneError::Io`] when a folder cannot be listed.
    pub fn files(&self, path: &str) -> Result<Vec<(String, Content)>, FineTuneError> {
        let mut files = list(&self.serving, path)?;
        files.extend(list(&self.tuned.directory, &format!("{path}/huggingface"))?);
        Ok(files)
    }
}

fn list(folder: &Path, prefix: &str) -> Result<Vec<(String, Content)>, FineTuneError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(FineTuneError::io(folder))? {
        let entry = entry.map_err(FineTuneError::io(folder))?;
        files.push((format!("{prefix}/{}", entry.file_name().display()), Content::CopyOf(entry.path())));
    }
    Ok(files)
}

/// Fits scaling, gate and threshold on the rows that the epoch was chosen on, scored by the model that serves.
fn calibrate(
    model: SequenceClassifier,
    tuned: &FineTuned,
    dataset: &Dataset,
    options: &Options,
    targets: &TrainOptions,
) -> Result<Fitted<SequenceClassifier>, FineTuneError> {
    let evidence = Evidence::gather(&model, &tuned.validation, &dataset.out_of_scope)?;
    let calibration = evidence.calibrate(targets);
    let hyper_parameters = BTreeMap::from([
        ("epoch".to_owned(), tuned.best_epoch as f64),
        ("learning_rate".to_owned(), f64::from(options.learning_rate)),
        ("batch_size".to_owned(), options.batch_size as f64),
        ("consistency".to_owned(), f64::from(options.consistency)),
        ("refit".to_owned(), f64::from(u8::from(options.refit))),
    ]);
    let metrics = evidence.metrics(&calibration, MeasuredOn::Validation, hyper_parameters);
    Ok(Fitted { calibration, metrics, model })
}
