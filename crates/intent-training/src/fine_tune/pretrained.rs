//! Reads a Hugging Face directory of a BERT or DistilBERT.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tokenizers::{Tokenizer, TruncationParams};

use super::{
    Architecture, FineTuneError,
    network::mix,
    parameters::{Layout, WORD_EMBEDDINGS},
};

/// The weights to start from, under DistilBERT's names whatever the family was.
pub(crate) struct Pretrained {
    pub(crate) directory: PathBuf,
    pub(crate) architecture: Architecture,
    pub(crate) tokenizer: Tokenizer,
    /// The labels of the head, when there is a head that fits.
    pub(crate) labels: Vec<String>,
    tensors: HashMap<String, Vec<f32>>,
}

impl Pretrained {
    /// Reads `config.json`, `model.safetensors` and `tokenizer.json`.
    ///
    /// BERT's token types become part of the position embeddings: with a single text every token has type 0, so
    /// adding that type's vector to every position gives the same function without token types, which is a DistilBERT.
    /// BERT's pooler and its head are left out, as DistilBERT's head has another shape.
    ///
    /// # Errors
    /// [`FineTuneError::Io`] when a file cannot be read, [`FineTuneError::InvalidFile`] when one is not what it should
    /// be.
    pub(crate) fn read(directory: &Path) -> Result<Self, FineTuneError> {
        let config_path = directory.join("config.json");
        let config: Value = serde_json::from_slice(&fs::read(&config_path).map_err(FineTuneError::io(&config_path))?)
            .map_err(|error| FineTuneError::invalid(&config_path, error.to_string()))?;
        let architecture = read_architecture(&config).map_err(|reason| FineTuneError::invalid(&config_path, reason))?;

        let weights_path = directory.join("model.safetensors");
        let bytes = fs::read(&weights_path).map_err(FineTuneError::io(&weights_path))?;
        let tensors =
            read_tensors(&bytes, &architecture).map_err(|reason| FineTuneError::invalid(&weights_path, reason))?;

        let tokenizer_path = directory.join("tokenizer.json");
        let json = fs::read(&tokenizer_path).map_err(FineTuneError::io(&tokenizer_path))?;
        let tokenizer =
            Tokenizer::from_bytes(json).map_err(|error| FineTuneError::invalid(&tokenizer_path, error.to_string()))?;
        let tokens = tokenizer.get_vocab_size(true);
        if tokens > architecture.vocabulary {
            let reason = format!("it has {tokens} tokens, but `config.json` says {}", architecture.vocabulary);
            return Err(FineTuneError::invalid(&tokenizer_path, reason));
        }
        Ok(Self { directory: directory.to_owned(), architecture, tokenizer, labels: read_labels(&config), tensors })
    }

    /// Returns the tokens of each text, the special ones included, at most `max_tokens`.
    pub(crate) fn encode(&self, texts: &[&str], max_tokens: usize) -> Result<Vec<Vec<u32>>, FineTuneError> {
        let invalid =
            |error: tokenizers::Error| FineTuneError::invalid(self.directory.join("tokenizer.json"), error.to_string());
        let mut tokenizer = self.tokenizer.clone();
        let max_length = max_tokens.min(self.architecture.positions);
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(invalid)?;
        let encodings = tokenizer.encode_batch(texts.to_vec(), true).map_err(invalid)?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// Returns the word table of the file, one row per token of the vocabulary.
    pub(crate) fn words(&self) -> &[f32] {
        &self.tensors[WORD_EMBEDDINGS]
    }

    /// Tells whether there are weights of DistilBERT's head.
    pub(crate) fn has_head(&self) -> bool {
        ["pre_classifier.weight", "classifier.weight"].iter().all(|name| self.tensors.contains_key(*name))
    }

    /// Returns the token that fills up batches elsewhere.
    pub(crate) fn pad_token(&self) -> u32 {
        self.tokenizer.token_to_id("[PAD]").unwrap_or(0)
    }

    /// Tells whether the tokenizer knows no capital letters.
    pub(crate) fn lower_cases(&self) -> bool {
        self.tokenizer
            .encode("A", false)
            .is_ok_and(|upper| self.tokenizer.encode("a", false).is_ok_and(|lower| upper.get_ids() == lower.get_ids()))
    }

    /// Fills a flat vector: with the weights of the file, the word rows of `tokens` alone, and a head that is drawn
    /// anew unless the file has one for exactly these labels.
    pub(crate) fn parameters(
        &self,
        layout: &Layout,
        tokens: &[u32],
        labels: &[&str],
        seed: u64,
    ) -> Result<Vec<f32>, FineTuneError> {
        let same_labels = self.labels == labels;
        let mut parameters = vec![0.0; layout.len()];
        for (index, tensor) in layout.tensors.iter().enumerate() {
            let values = &mut parameters[tensor.range.clone()];
            let is_head = tensor.depth == 0;
            match self.tensors.get(&tensor.name) {
                Some(words) if tensor.name == WORD_EMBEDDINGS => {
                    let dim = self.architecture.dim;
                    for (row, &token) in values.chunks_exact_mut(dim).zip(tokens) {
                        row.copy_from_slice(&words[token as usize * dim..][..dim]);
                    }
                }
                Some(stored) if stored.len() == values.len() && (same_labels || !is_head) => {
                    values.copy_from_slice(stored);
                }
                None | Some(_) if is_head => {
                    if tensor.shape.len() == 2 {
                        draw_normal(values, 0.02, mix(seed, index as u64));
                    }
                }
                found => {
                    let found = found.map_or("nothing".to_owned(), |stored| format!("{} values", stored.len()));
                    let reason = format!("tensor `{}`: expected shape {:?}, found {found}", tensor.name, tensor.shape);
                    return Err(FineTuneError::invalid(self.directory.join("model.safetensors"), reason));
                }
            }
        }
        Ok(parameters)
    }
}

fn read_architecture(config: &Value) -> Result<Architecture, String> {
    let family = config["model_type"].as_str().unwrap_or_default();
    let is_bert = match family {
        "bert" => true,
        "distilbert" => false,
        _ => return Err(format!("`model_type` is `{family}`, expected `bert` or `distilbert`")),
    };
    let activation = config[if is_bert { "hidden_act" } else { "activation" }].as_str().unwrap_or("gelu");
    if activation != "gelu" {
        return Err(format!("the activation is `{activation}`, expected `gelu`"));
    }
    let positions = config["position_embedding_type"].as_str().unwrap_or("absolute");
    if positions != "absolute" {
        return Err(format!("`position_embedding_type` is `{positions}`, expected `absolute`"));
    }
    let size = |bert: &str, distilbert: &str| {
        let key = if is_bert { bert } else { distilbert };
        match config[key].as_u64() {
            Some(value) if (1..1 << 24).contains(&value) => Ok(value as usize),
            _ => Err(format!("`{key}` is {}, expected a whole number above 0", config[key])),
        }
    };
    let architecture = Architecture {
        vocabulary: size("vocab_size", "vocab_size")?,
        positions: size("max_position_embeddings", "max_position_embeddings")?,
        dim: size("hidden_size", "dim")?,
        hidden_dim: size("intermediate_size", "hidden_dim")?,
        heads: size("num_attention_heads", "n_heads")?,
        layers: size("num_hidden_layers", "n_layers")?,
        labels: 0,
    };
    if !architecture.dim.is_multiple_of(architecture.heads) {
        return Err(format!("{} attention heads do not divide the width {}", architecture.heads, architecture.dim));
    }
    Ok(architecture)
}

/// Returns the labels of a DistilBERT's head in order; empty when there are none or when they are not numbered from 0.
fn read_labels(config: &Value) -> Vec<String> {
    let Some(names) = config["id2label"].as_object() else { return Vec::new() };
    let labels: Option<Vec<String>> =
        (0..names.len()).map(|id| Some(names.get(&id.to_string())?.as_str()?.to_owned())).collect();
    labels.unwrap_or_default()
}

fn read_tensors(bytes: &[u8], architecture: &Architecture) -> Result<HashMap<String, Vec<f32>>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let mut tensors = HashMap::new();
    let mut token_types = None;
    for (name, view) in file.iter() {
        let plain = name.strip_prefix("bert.").or_else(|| name.strip_prefix("distilbert.")).unwrap_or(name);
        let is_token_types = plain == "embeddings.token_type_embeddings.weight";
        let Some(name) = distilbert_name(plain).or(is_token_types.then(String::new)) else { continue };
        let values = floats(view.dtype(), view.data()).map_err(|reason| format!("tensor `{plain}` {reason}"))?;
        if is_token_types {
            token_types = Some(values);
        } else {
            tensors.insert(name, values);
        }
    }
    let words = tensors.get(WORD_EMBEDDINGS).ok_or("there is no tensor `embeddings.word_embeddings.weight`")?;
    let expected = architecture.vocabulary * architecture.dim;
    if words.len() != expected {
        return Err(format!("the word embeddings have {} values, `config.json` asks for {expected}", words.len()));
    }
    if let Some(types) = token_types {
        let positions = tensors
            .get_mut("distilbert.embeddings.position_embeddings.weight")
            .ok_or("there is no tensor `embeddings.position_embeddings.weight`")?;
        let first = types.get(..architecture.dim).ok_or("the token type embeddings are too short")?;
        for row in positions.chunks_exact_mut(architecture.dim) {
            row.iter_mut().zip(first).for_each(|(value, offset)| *value += offset);
        }
    }
    Ok(tensors)
}

/// Returns the name that a tensor has in a DistilBERT; `None` when DistilBERT has no such tensor.
fn distilbert_name(plain: &str) -> Option<String> {
    let (stem, kind) = plain.rsplit_once('.')?;
    // The first BERT files name the parts of a layer norm otherwise.
    let kind = match kind {
        "weight" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        _ => return None,
    };
    if ["pre_classifier", "classifier"].contains(&stem) {
        return Some(format!("{stem}.{kind}"));
    }
    if ["word_embeddings", "position_embeddings", "LayerNorm"].iter().any(|part| stem == format!("embeddings.{part}")) {
        return Some(format!("distilbert.{stem}.{kind}"));
    }
    if stem.starts_with("transformer.layer.") {
        return Some(format!("distilbert.{stem}.{kind}"));
    }
    let (layer, part) = stem.strip_prefix("encoder.layer.")?.split_once('.')?;
    let part = match part {
        "attention.self.query" => "attention.q_lin",
        "attention.self.key" => "attention.k_lin",
        "attention.self.value" => "attention.v_lin",
        "attention.output.dense" => "attention.out_lin",
        "attention.output.LayerNorm" => "sa_layer_norm",
        "intermediate.dense" => "ffn.lin1",
        "output.dense" => "ffn.lin2",
        "output.LayerNorm" => "output_layer_norm",
        _ => return None,
    };
    Some(format!("distilbert.transformer.layer.{layer}.{part}.{kind}"))
}

fn floats(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, String> {
    match dtype {
        Dtype::F32 => Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        Dtype::BF16 => Ok(bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16))
            .collect()),
        other => Err(format!("is of type {other:?}, expected F32 or BF16")),
    }
}

/// Draws from a normal distribution around 0 by the Box-Muller transform.
fn draw_normal(values: &mut [f32], deviation: f32, seed: u64) {
    let uniform = |index: u64| ((mix(seed, index) >> 40) as f32 + 0.5) / (1_u64 << 24) as f32;
    for (index, value) in values.iter_mut().enumerate() {
        let (radius, angle) = (uniform(2 * index as u64), uniform(2 * index as u64 + 1));
        *value = deviation * (-2.0 * radius.ln()).sqrt() * (std::f32::consts::TAU * angle).cos();
    }
}
