//! What a model directory holds and how it is to be used.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{ModelError, transformer::Precision, trust};

/// The tokenizer's file.
pub(crate) const TOKENIZER: &str = "tokenizer.json";
/// The largest description of a model or tokenizer that is read, in bytes.
pub(crate) const MAX_JSON_BYTES: u64 = 256 << 20;
/// The graph in floats.
pub(crate) const MODEL_FP32: &str = "model.onnx";
/// The graph in 8-bit integers.
pub(crate) const MODEL_INT8: &str = "model.int8.onnx";

/// What a graph answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Embeddings; described by `encoder.json`.
    Embedding,
    /// Logits; described by `classifier.json`.
    Classification,
}

impl Task {
    /// The file that describes a directory of this task.
    pub(crate) fn specification_file(self) -> &'static str {
        match self {
            Self::Embedding => "encoder.json",
            Self::Classification => "classifier.json",
        }
    }
}

/// How the hidden states of a text's tokens become one vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// The mean over the real tokens, padding left out.
    #[default]
    Mean,
    /// The first token.
    Cls,
    /// The largest value in each dimension over the real tokens.
    Max,
}

impl Pooling {
    /// Pools rows of `width` values into one.
    pub(crate) fn pool(self, rows: &[f32], width: usize) -> Vec<f32> {
        let mut pooled = rows[..width].to_vec();
        match self {
            Self::Cls => {}
            Self::Mean => {
                for row in rows[width..].chunks_exact(width) {
                    pooled.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
                let count = (rows.len() / width) as f32;
                pooled.iter_mut().for_each(|sum| *sum /= count);
            }
            Self::Max => {
                for row in rows[width..].chunks_exact(width) {
                    pooled.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(*value));
                }
            }
        }
        pooled
    }
}

/// The content of `encoder.json` or `classifier.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Specification {
    /// The architecture, `bert` or `distilbert`; unknown for directories made by others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The dimension of hidden states and embeddings.
    #[serde(default)]
    pub hidden_size: Option<usize>,
    /// How many tokens the model has embeddings for.
    #[serde(default)]
    pub vocabulary_size: Option<usize>,
    /// Longer texts are cut to this many tokens, special ones included.
    pub max_tokens: usize,
    /// Fills shorter texts up to the longest of a batch.
    #[serde(default)]
    pub pad_token_id: u32,
    /// How an embedding is made of hidden states.
    #[serde(default)]
    pub pooling: Pooling,
    /// Names of the logits, for classifiers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Size and digest of the other files of the directory.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, FileEntry>,
    /// What each graph made of a certain text when it was imported; loading compares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) probes: BTreeMap<Precision, Vec<f32>>,
}

impl Specification {
    /// Writes the file that describes a directory of the given task.
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be written.
    pub(crate) fn write(&self, directory: &Path, task: Task) -> Result<(), ModelError> {
        let path = directory.join(task.specification_file());
        let json = serde_json::to_string_pretty(self).expect("a specification has only string keys");
        fs::write(&path, json + "\n").map_err(ModelError::io(&path))
    }
}

/// Size and digest of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

impl FileEntry {
    /// Measures the content of a file.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: hexadecimal(&Sha256::digest(bytes)) }
    }

    /// Measures a file.
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read.
    pub(crate) fn of(path: &Path) -> Result<Self, ModelError> {
        let mut file = fs::File::open(path).map_err(ModelError::io(path))?;
        let mut digest = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut buffer).map_err(ModelError::io(path))?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            digest.update(&buffer[..read]);
        }
        Ok(Self { bytes, sha256: hexadecimal(&digest.finalize()) })
    }
}

/// A directory that was looked through.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) specification: Specification,
    /// The graph's file and its arithmetic.
    pub(super) model: PathBuf,
    pub(super) precision: Precision,
    pub(super) fingerprint: String,
}

/// Reads a directory's specification, or works it out from the files of Hugging Face, and checks the files.
///
/// # Errors
/// [`ModelError::Io`] when a file is missing, [`ModelError::InvalidFile`] when one is not what it should be.
pub(super) fn open(directory: &Path, precision: Precision, task: Task) -> Result<Found, ModelError> {
    let path = directory.join(task.specification_file());
    let written_here = path.exists();
    if written_here {
        trust::check(directory, &path)?;
    }
    let specification = if written_here { read(&path)? } else { infer(directory)? };
    let (model, precision) = if written_here {
        let name = match precision {
            Precision::Int8 => MODEL_INT8,
            Precision::Fp32 => MODEL_FP32,
        };
        (directory.join(name), precision)
    } else {
        find_model(directory, precision)
    };
    let mut digest = Sha256::new();
    for file in [&directory.join(TOKENIZER), &model] {
        trust::check(directory, file)?;
        let entry = FileEntry::of(file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(expected) = specification.files.get(&name) {
            check(file, &entry, expected, &path)?;
        }
        digest.update(entry.sha256.as_bytes());
    }
    digest.update(format!("{} {:?}", specification.max_tokens, specification.pooling));
    Ok(Found { specification, model, precision, fingerprint: hexadecimal(&digest.finalize()) })
}

fn check(file: &Path, found: &FileEntry, expected: &FileEntry, specification: &Path) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    let named_by = specification.file_name().unwrap_or_default().to_string_lossy();
    let reason = if found.bytes == expected.bytes {
        format!(
            "its content has changed: its sha256 is {}, expected {} as in `{named_by}`",
            found.sha256, expected.sha256
        )
    } else {
        format!("it has {} bytes, expected {} as in `{named_by}`", found.bytes, expected.bytes)
    };
    Err(ModelError::invalid(file, format!("{reason}; import the model again")))
}

fn read(path: &Path) -> Result<Specification, ModelError> {
    let text = trust::read_text(path, MAX_JSON_BYTES)?;
    let specification: Specification = serde_json::from_str(&text)
        .map_err(|error| ModelError::invalid(path, format!("not the description of a model: {error}")))?;
    if specification.max_tokens == 0 {
        return Err(ModelError::invalid(path, "`max_tokens` is 0, expected at least 1"));
    }
    Ok(specification)
}

/// Where exporters put graphs, the file for the wished precision first.
fn find_model(directory: &Path, precision: Precision) -> (PathBuf, Precision) {
    let int8 = ["model.int8.onnx", "model_int8.onnx", "model_quantized.onnx"].map(|name| (name, Precision::Int8));
    let fp32 = ["model.onnx"].map(|name| (name, Precision::Fp32));
    let (first, second): (&[_], &[_]) = match precision {
        Precision::Int8 => (&int8, &fp32),
        Precision::Fp32 => (&fp32, &int8),
    };
    let candidates = first.iter().chain(second);
    let places = candidates.flat_map(|&(name, precision)| {
        [directory.join(name), directory.join("onnx").join(name)].map(|path| (path, precision))
    });
    places.into_iter().find(|(path, _)| path.exists()).unwrap_or_else(|| (directory.join(MODEL_FP32), Precision::Fp32))
}

/// The keys of Hugging Face files that matter to a graph made by others.
#[derive(Default, Deserialize)]
#[serde(default)]
struct HuggingFaceFiles {
    #[serde(alias = "dim")]
    hidden_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    pad_token_id: Option<u32>,
    model_type: Option<String>,
    id2label: BTreeMap<String, String>,
}

fn infer(directory: &Path) -> Result<Specification, ModelError> {
    let config: HuggingFaceFiles = read_optional(&directory.join("config.json"))?.unwrap_or_default();
    let limits = read_limits(directory, config.max_position_embeddings)?;
    let labels = (0..config.id2label.len()).map(|id| config.id2label.get(&id.to_string()).cloned());
    let labels = labels.collect::<Option<Vec<_>>>().ok_or_else(|| {
        ModelError::invalid(directory.join("config.json"), "`id2label` is not numbered from 0 without gaps")
    })?;
    Ok(Specification {
        architecture: config.model_type,
        hidden_size: config.hidden_size,
        vocabulary_size: config.vocab_size,
        max_tokens: limits.max_tokens,
        pad_token_id: config.pad_token_id.or(limits.pad_token_id).unwrap_or(0),
        pooling: limits.pooling,
        labels,
        files: BTreeMap::new(),
        probes: BTreeMap::new(),
    })
}

/// What the files around a model say of its use.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) max_tokens: usize,
    pub(crate) pad_token_id: Option<u32>,
    pub(crate) pooling: Pooling,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SentenceBertConfig {
    max_seq_length: Option<usize>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    /// Sometimes 1e30, for "no limit".
    model_max_length: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerSettings {
    truncation: Option<Truncation>,
    padding: Option<Padding>,
}

#[derive(Deserialize)]
struct Truncation {
    max_length: usize,
}

#[derive(Deserialize)]
struct Padding {
    pad_id: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PoolingConfig {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
}

/// Reads how long a text may be and how its tokens are pooled.
///
/// The limit is, in this order, that of `sentence_bert_config.json`, of `tokenizer.json` or of
/// `tokenizer_config.json`, and never more than the model has positions for.
///
/// # Errors
/// [`ModelError::InvalidFile`] when a file is broken or asks for a pooling that is not implemented.
pub(crate) fn read_limits(directory: &Path, positions: Option<usize>) -> Result<Limits, ModelError> {
    let sentence: SentenceBertConfig = read_optional(&directory.join("sentence_bert_config.json"))?.unwrap_or_default();
    let tokenizer: TokenizerSettings = read_optional(&directory.join(TOKENIZER))?.unwrap_or_default();
    let config: TokenizerConfig = read_optional(&directory.join("tokenizer_config.json"))?.unwrap_or_default();
    let configured = config.model_max_length.filter(|length| (1.0..1e6).contains(length)).map(|length| length as usize);
    let wished = sentence
        .max_seq_length
        .or(tokenizer.truncation.map(|truncation| truncation.max_length))
        .or(configured)
        .filter(|&length| length > 0);
    let max_tokens = match (wished, positions) {
        (Some(wished), Some(positions)) => wished.min(positions),
        (Some(limit), None) | (None, Some(limit)) => limit,
        (None, None) => 512,
    };
    let pooling_path = directory.join("1_Pooling").join("config.json");
    let pooling = match read_optional::<PoolingConfig>(&pooling_path)? {
        None => Pooling::Mean,
        Some(modes) if modes.pooling_mode_mean_sqrt_len_tokens => {
            return Err(ModelError::invalid(pooling_path, "pooling by the square root of the length is not supported"));
        }
        Some(modes) => {
            match (modes.pooling_mode_mean_tokens, modes.pooling_mode_cls_token, modes.pooling_mode_max_tokens) {
                (true, false, false) => Pooling::Mean,
                (false, true, false) => Pooling::Cls,
                (false, false, true) => Pooling::Max,
                _ => {
                    return Err(ModelError::invalid(pooling_path, "expected exactly one of mean, cls and max pooling"));
                }
            }
        }
    };
    Ok(Limits { max_tokens, pad_token_id: tokenizer.padding.map(|padding| padding.pad_id), pooling })
}

fn read_optional<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Option<T>, ModelError> {
    if !path.exists() {
        return Ok(None);
    }
    let text = trust::read_text(path, MAX_JSON_BYTES)?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| ModelError::invalid(path, format!("not as expected: {error}")))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
