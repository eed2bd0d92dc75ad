//! `model.json`: what a version says of itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Calibration, Labels, ModelKind};

/// The schema of `model.json` that this program writes and reads.
pub const SCHEMA_VERSION: u32 = 1;

/// The content of `model.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`] at the time of writing.
    pub schema: u32,
    /// The name of the version, which is also that of its folder.
    pub version: String,
    /// When it was trained, RFC 3339 in UTC.
    pub created_at: String,
    /// The pack it was trained for.
    pub pack: PackReference,
    /// The intents, in the order in which all models of the version score them.
    pub labels: Labels,
    /// What it was trained from.
    pub data: DataSummary,
    /// The fingerprint of the encoder whose embeddings it was trained on; `None` when no model needs one.
    pub encoder: Option<String>,
    /// What was asked of the training.
    pub training: TrainingSettings,
    /// The calibrated models. Those without files of their own (`rules`, `zero_shot`) come from the pack.
    pub models: BTreeMap<ModelKind, ModelEntry>,
    /// Every file of the version but `model.json`, by its path within the folder.
    pub files: BTreeMap<String, FileEntry>,
}

/// The pack of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackReference {
    /// Its name.
    pub name: String,
    /// Its own version.
    pub version: String,
}

/// The rows of a training.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSummary {
    /// Rows learnt from.
    pub training_rows: usize,
    /// Rows that only hyper-parameters were chosen on.
    pub validation_rows: usize,
    /// Out-of-scope texts that the gates were adjusted on.
    pub out_of_scope_rows: usize,
    /// SHA-256 of all of them, in hexadecimal digits.
    pub sha256: String,
}

/// What was asked of a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingSettings {
    /// The seed of everything random.
    pub seed: u64,
    /// The share of accepted answers that may be wrong.
    pub target_error: f64,
    /// The share of in-scope texts that the out-of-scope gate must let pass.
    pub in_scope_retention: f64,
}

/// One model of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// Its file or folder within the version; `None` when it is made from the pack.
    pub path: Option<String>,
    /// What turns its scores into confidence and decisions.
    pub calibration: Calibration,
    /// What it did on rows it had not seen.
    pub metrics: ModelMetrics,
}

/// What a model did on rows it had not seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelMetrics {
    /// Which rows these were.
    pub measured_on: MeasuredOn,
    /// How many in-scope rows.
    pub rows: usize,
    /// The share of them whose likeliest intent is right.
    pub accuracy: f64,
    /// The mean F1 over the intents.
    pub macro_f1: f64,
    /// Expected calibration error after calibration, 0 to 1.
    pub ece: f64,
    /// Mean squared distance of the confidences from the truth, summed over intents, 0 to 2 (Brier 1950); `None` in
    /// versions written before it was measured.
    #[serde(default)]
    pub brier: Option<f64>,
    /// Area under the ROC curve of the out-of-scope score, where out-of-scope texts were given.
    pub auroc: Option<f64>,
    /// The share of rows whose confidence reaches the accept threshold.
    pub coverage: f64,
    /// The share of accepted rows that are wrong.
    pub accepted_error: f64,
    /// What the training chose, by name.
    pub hyper_parameters: BTreeMap<String, f64>,
}

/// Which rows some metrics were measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredOn {
    /// The training rows, each scored by a model trained without it.
    OutOfFold,
    /// The validation rows.
    Validation,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
}
