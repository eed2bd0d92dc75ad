//! Hugging Face directories to ONNX graphs, without Python.
//!
//! Reads the `config.json`, safetensors and `tokenizer.json` of a BERT or DistilBERT, encoder or
//! `…ForSequenceClassification`, writes the graph in fp32 and int8, and keeps both only when they compute what an
//! independent forward pass computes.

mod check;
pub mod config;
pub(crate) mod graph;
mod onnx;
pub mod parameters;
mod protobuf;
mod quantization;
pub(crate) mod reference;
pub(crate) mod tensors;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

pub use self::check::{Fp32Check, Int8Check};
use self::{config::Config, parameters::Parameters, tensors::Tensors};
use crate::{
    ModelError,
    transformer::{
        FileEntry, MAX_JSON_BYTES, MODEL_FP32, MODEL_INT8, Precision, Specification, TOKENIZER, Task, Transformer,
        read_limits,
    },
    trust,
};

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Whether to write an int8 graph beside the fp32 one.
    pub int8: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { int8: true }
    }
}

/// What an import did and found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportReport {
    /// Where the files are.
    pub directory: PathBuf,
    /// `bert` or `distilbert`.
    pub architecture: String,
    /// How many numbers the model has learnt.
    pub parameters: usize,
    /// How many layers it has.
    pub layers: usize,
    /// The dimension of its hidden states and embeddings.
    pub hidden_size: usize,
    /// Longer texts are cut to this many tokens.
    pub max_tokens: usize,
    /// The labels of a classifier, in the order of its logits; empty for an encoder.
    pub labels: Vec<String>,
    /// Name and size of every file, in bytes.
    pub files: BTreeMap<String, u64>,
    /// How exact the fp32 graph is.
    pub fp32: Fp32Check,
    /// How exact the int8 graph is, where there is one.
    pub int8: Option<Int8Check>,
}

/// Imports the Hugging Face directory `source` as the model directory `out`.
///
/// `out` is written under another name and renamed when everything was checked; a model directory that was there
/// before is replaced.
///
/// # Errors
/// [`ModelError::Io`] when a file cannot be read or written, [`ModelError::InvalidFile`] when one is broken, does not
/// fit the others, is of a kind that cannot be imported, or when a written graph does not compute what it should.
pub fn import(source: &Path, out: &Path, options: &ImportOptions) -> Result<ImportReport, ModelError> {
    let model = HuggingFaceModel::load(source)?;
    let staging = stage(out)?;
    let mut specification = model.write(staging.path(), options)?;
    let fp32 = check::fp32(staging.path(), &model.config, &model.parameters)?;
    let mut report = ImportReport {
        directory: out.to_owned(),
        architecture: model.config.family.as_str().to_owned(),
        parameters: model.parameters.count(),
        layers: model.config.layers,
        hidden_size: model.config.hidden,
        max_tokens: specification.max_tokens,
        labels: specification.labels.clone(),
        files: specification.files.iter().map(|(name, entry)| (name.clone(), entry.bytes)).collect(),
        fp32,
        int8: None,
    };
    let task = model.config.task();
    if options.int8 {
        report.int8 = Some(model.check_int8(staging.path())?);
    }
    for precision in [Some(Precision::Fp32), options.int8.then_some(Precision::Int8)].into_iter().flatten() {
        let values = Transformer::load(staging.path(), precision, task)?.probe_values()?;
        specification.probes.insert(precision, values);
    }
    specification.write(staging.path(), task)?;
    replace(staging, out)?;
    Ok(report)
}

/// Imports without running what was written: for the tiny models of tests.
#[cfg(any(test, feature = "test-support"))]
pub(crate) fn import_unchecked(source: &Path, out: &Path, options: &ImportOptions) -> Result<(), ModelError> {
    let staging = stage(out)?;
    HuggingFaceModel::load(source)?.write(staging.path(), options)?;
    replace(staging, out)
}

/// A directory of Hugging Face, read whole.
#[derive(Debug)]
pub struct HuggingFaceModel {
    /// Where it is.
    pub directory: PathBuf,
    /// The shape of the model.
    pub config: Config,
    /// Its weights.
    pub parameters: Parameters,
}

impl HuggingFaceModel {
    /// Reads `config.json` and the safetensors of a directory.
    ///
    /// # Errors
    /// [`ModelError::Io`] when a file cannot be read, [`ModelError::InvalidFile`] when one is broken, does not fit the
    /// others, or describes a model that cannot be imported.
    pub fn load(directory: &Path) -> Result<Self, ModelError> {
        let config = Config::load(&directory.join("config.json"))?;
        let parameters = Parameters::take(&config, &mut Tensors::load(directory)?)?;
        Ok(Self { directory: directory.to_owned(), config, parameters })
    }

    /// Writes all files of a model directory.
    fn write(&self, out: &Path, options: &ImportOptions) -> Result<Specification, ModelError> {
        let Self { config, parameters, .. } = self;
        let mut files = BTreeMap::new();
        let mut keep = |name: &str, bytes: &[u8]| {
            let path = out.join(name);
            fs::write(&path, bytes).map_err(ModelError::io(&path))?;
            files.insert(name.to_owned(), FileEntry::of_bytes(bytes));
            Ok(())
        };
        let tokenizer = self.directory.join(TOKENIZER);
        keep(TOKENIZER, &trust::read(&tokenizer, MAX_JSON_BYTES)?)?;
        keep(MODEL_FP32, &onnx::encode(config, parameters, Precision::Fp32))?;
        if options.int8 {
            keep(MODEL_INT8, &onnx::encode(config, parameters, Precision::Int8))?;
        }
        let limits = read_limits(&self.directory, Some(config.positions))?;
        let specification = Specification {
            architecture: Some(config.family.as_str().to_owned()),
            hidden_size: Some(config.hidden),
            vocabulary_size: Some(config.vocabulary),
            max_tokens: limits.max_tokens,
            pad_token_id: config.pad_token_id,
            pooling: limits.pooling,
            labels: self.labels(),
            files,
            probes: BTreeMap::new(),
        };
        specification.write(out, config.task())?;
        Ok(specification)
    }

    /// Returns how many tokens of a text the model reads.
    ///
    /// # Errors
    /// [`ModelError::Io`] or [`ModelError::InvalidFile`] when a file that limits it cannot be read.
    pub fn max_tokens(&self) -> Result<usize, ModelError> {
        Ok(read_limits(&self.directory, Some(self.config.positions))?.max_tokens)
    }

    /// Returns the names of the logits; a head without names gets those that Hugging Face would give it. Empty for an
    /// encoder.
    pub fn labels(&self) -> Vec<String> {
        match &self.config.task {
            config::Task::Encode => Vec::new(),
            config::Task::Classify { labels } if !labels.is_empty() => labels.clone(),
            config::Task::Classify { .. } => {
                let count = self.parameters.head.as_ref().map_or(0, |head| head.classifier.outputs);
                (0..count).map(|id| format!("LABEL_{id}")).collect()
            }
        }
    }

    fn check_int8(mut self, directory: &Path) -> Result<Int8Check, ModelError> {
        if self.config.task() == Task::Embedding {
            return check::int8(directory, Task::Embedding, directory);
        }
        // What a classifier answers is not an embedding: its encoder is written once more by itself, to be measured.
        let encoder = directory.join("encoder");
        fs::create_dir(&encoder).map_err(ModelError::io(&encoder))?;
        self.parameters.head = None;
        self.config.task = config::Task::Encode;
        self.write(&encoder, &ImportOptions { int8: true })?;
        let check = check::int8(directory, Task::Classification, &encoder)?;
        fs::remove_dir_all(&encoder).map_err(ModelError::io(&encoder))?;
        Ok(check)
    }
}

/// Makes a directory beside `out` to write into.
fn stage(out: &Path) -> Result<tempfile::TempDir, ModelError> {
    refuse_to_replace_other_things(out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(ModelError::io(parent))?;
    tempfile::Builder::new().prefix(".import-").tempdir_in(parent).map_err(ModelError::io(parent))
}

fn refuse_to_replace_other_things(out: &Path) -> Result<(), ModelError> {
    if !out.exists() {
        return Ok(());
    }
    let ours = [Task::Embedding, Task::Classification].map(|task| out.join(task.specification_file()).exists());
    let empty = fs::read_dir(out).map_err(ModelError::io(out))?.next().is_none();
    if ours.contains(&true) || empty {
        return Ok(());
    }
    Err(ModelError::invalid(out, "it holds other things than an imported model; name another directory or remove it"))
}

/// Puts the staged directory in the place of `out`; what was there goes only when the new one stands.
fn replace(staging: tempfile::TempDir, out: &Path) -> Result<(), ModelError> {
    make_readable(staging.path())?;
    let parent = staging.path().parent().unwrap_or(Path::new("."));
    let attic = tempfile::Builder::new().prefix(".replaced-").tempdir_in(parent).map_err(ModelError::io(parent))?;
    let old = attic.path().join("old");
    let replaced = out.exists();
    if replaced {
        fs::rename(out, &old).map_err(ModelError::io(out))?;
    }
    if let Err(source) = fs::rename(staging.path(), out) {
        if replaced {
            fs::rename(&old, out).map_err(ModelError::io(out))?;
        }
        return Err(ModelError::io(out)(source));
    }
    // It was renamed: there is nothing left to remove.
    let _ = staging.keep();
    Ok(())
}

/// Temporary directories are closed to other users; a model directory is like any other.
fn make_readable(directory: &Path) -> Result<(), ModelError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).map_err(ModelError::io(directory))?;
    }
    Ok(())
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { architecture, layers, hidden_size, max_tokens, fp32, .. } = self;
        let millions = self.parameters as f64 / 1e6;
        writeln!(
            f,
            "{architecture}: {layers} layers, {hidden_size} dimensions, {millions:.1} million parameters, texts of up to {max_tokens} tokens"
        )?;
        if !self.labels.is_empty() {
            writeln!(f, "labels: {}", self.labels.join(", "))?;
        }
        writeln!(
            f,
            "fp32: largest difference to an independent forward pass {:.1e}, between batches {:.1e}",
            fp32.largest_difference, fp32.largest_batch_difference
        )?;
        if let Some(int8) = &self.int8 {
            write!(
                f,
                "int8: mean cosine to fp32 {:.4}, smallest {:.4}, between batches {:.5}",
                int8.mean_cosine, int8.smallest_cosine, int8.smallest_batch_cosine
            )?;
            if let Some(agreement) = int8.label_agreement {
                write!(f, ", same label {:.0} %", agreement * 100.0)?;
            }
            writeln!(f)?;
        }
        for (name, bytes) in &self.files {
            writeln!(f, "{}: {:.1} MB", self.directory.join(name).display(), *bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}
