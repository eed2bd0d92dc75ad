//! `config.json` of a Hugging Face directory, under the key names of BERT and of DistilBERT.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use crate::{ModelError, transformer, trust};

/// The shape of a model and what it computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which of the two architectures it is.
    pub family: Family,
    /// What it answers.
    pub task: Task,
    /// Width of a token's vector.
    pub hidden: usize,
    /// Attention heads per layer; a divisor of `hidden`.
    pub heads: usize,
    /// Width inside the feed-forward part of a layer.
    pub intermediate: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Tokens that have an embedding.
    pub vocabulary: usize,
    /// Longest text in tokens, special ones included.
    pub positions: usize,
    /// What is added to a variance before its root divides.
    pub layer_norm_epsilon: f32,
    /// The non-linearity of the feed-forward blocks.
    pub activation: Activation,
    /// The token that fills up batches.
    pub pad_token_id: u32,
}

/// The two architectures that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Devlin et al. 2019.
    Bert,
    /// Sanh et al. 2019; without token types and pooler.
    DistilBert,
}

impl Family {
    /// The prefix that the names of the encoder's tensors carry when the model has a head.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Bert => "bert.",
            Self::DistilBert => "distilbert.",
        }
    }

    /// The name in `model_type`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::DistilBert => "distilbert",
        }
    }
}

/// What the model answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Hidden states, to be pooled into an embedding.
    Encode,
    /// One logit per label.
    Classify {
        /// Their names in order; empty when `config.json` has none, the head then decides how many there are.
        labels: Vec<String>,
    },
}

/// The non-linearity of the feed-forward blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * Phi(x)` with the exact error function.
    Gelu,
    /// The approximation of GELU with tanh.
    GeluTanh,
    /// The positive part.
    Relu,
}

/// The keys as they stand in the file; DistilBERT has names of its own for some.
#[derive(Deserialize)]
struct RawConfig {
    model_type: Option<String>,
    #[serde(default)]
    architectures: Vec<String>,
    hidden_size: Option<usize>,
    dim: Option<usize>,
    num_attention_heads: Option<usize>,
    n_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_dim: Option<usize>,
    num_hidden_layers: Option<usize>,
    n_layers: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    layer_norm_eps: Option<f32>,
    hidden_act: Option<String>,
    activation: Option<String>,
    pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    problem_type: Option<String>,
    #[serde(default)]
    is_decoder: bool,
    id2label: Option<BTreeMap<String, String>>,
}

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read, [`ModelError::InvalidFile`] when it is not JSON, lacks a key,
    /// contradicts itself, or describes a model that cannot be imported.
    pub(crate) fn load(path: &Path) -> Result<Self, ModelError> {
        let text = trust::read_text(path, transformer::MAX_JSON_BYTES)?;
        let raw: RawConfig = serde_json::from_str(&text)
            .map_err(|error| ModelError::invalid(path, format!("not the configuration of a model: {error}")))?;
        Self::from_raw(raw).map_err(|reason| ModelError::invalid(path, reason))
    }

    fn from_raw(raw: RawConfig) -> Result<Self, String> {
        let family = family(&raw)?;
        refuse_what_is_not_implemented(&raw)?;
        let config = Self {
            family,
            task: task(&raw)?,
            hidden: size(&[("hidden_size", raw.hidden_size), ("dim", raw.dim)])?,
            heads: size(&[("num_attention_heads", raw.num_attention_heads), ("n_heads", raw.n_heads)])?,
            intermediate: size(&[("intermediate_size", raw.intermediate_size), ("hidden_dim", raw.hidden_dim)])?,
            layers: size(&[("num_hidden_layers", raw.num_hidden_layers), ("n_layers", raw.n_layers)])?,
            vocabulary: size(&[("vocab_size", raw.vocab_size)])?,
            positions: size(&[("max_position_embeddings", raw.max_position_embeddings)])?,
            // DistilBERT has no such key: its epsilon is a constant of the architecture.
            layer_norm_epsilon: raw.layer_norm_eps.unwrap_or(1e-12),
            activation: activation(raw.hidden_act.or(raw.activation).as_deref())?,
            pad_token_id: raw.pad_token_id.unwrap_or(0),
        };
        if !config.hidden.is_multiple_of(config.heads) {
            return Err(format!(
                "the hidden size {} is not a multiple of the number of attention heads {}",
                config.hidden, config.heads
            ));
        }
        if config.pad_token_id as usize >= config.vocabulary {
            return Err(format!(
                "`pad_token_id` {} is not below `vocab_size` {}",
                config.pad_token_id, config.vocabulary
            ));
        }
        if !(config.layer_norm_epsilon > 0.0 && config.layer_norm_epsilon < 1.0) {
            return Err(format!("`layer_norm_eps` is {}, expected above 0 and below 1", config.layer_norm_epsilon));
        }
        Ok(config)
    }

    /// Returns what kind of model directory this becomes.
    pub(crate) fn task(&self) -> transformer::Task {
        match self.task {
            Task::Encode => transformer::Task::Embedding,
            Task::Classify { .. } => transformer::Task::Classification,
        }
    }

    /// Returns the number of values of one attention head.
    pub(crate) fn head_size(&self) -> usize {
        self.hidden / self.heads
    }
}

/// Sizes above this are taken for a broken file rather than for a model.
const LARGEST_SIZE: usize = 1 << 20;

/// Takes a size that either of two names may give.
fn size(names: &[(&str, Option<usize>)]) -> Result<usize, String> {
    let mut given = names.iter().filter_map(|&(name, value)| Some((name, value?)));
    let Some((name, value)) = given.next() else {
        let names: Vec<String> = names.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(format!("{} is missing", names.join(" or ")));
    };
    if let Some((other, differs)) = given.find(|&(_, other)| other != value) {
        return Err(format!("`{name}` is {value} but `{other}` is {differs}"));
    }
    if !(1..=LARGEST_SIZE).contains(&value) {
        return Err(format!("`{name}` is {value}, expected 1 to {LARGEST_SIZE}"));
    }
    Ok(value)
}

fn family(raw: &RawConfig) -> Result<Family, String> {
    match raw.model_type.as_deref() {
        Some("bert") => Ok(Family::Bert),
        Some("distilbert") => Ok(Family::DistilBert),
        Some(other) => Err(format!("`model_type` is `{other}`, expected `bert` or `distilbert`")),
        None => Err("`model_type` is missing, expected `bert` or `distilbert`".to_owned()),
    }
}

fn refuse_what_is_not_implemented(raw: &RawConfig) -> Result<(), String> {
    match raw.position_embedding_type.as_deref() {
        None | Some("absolute") => {}
        Some(other) => return Err(format!("`position_embedding_type` is `{other}`, expected `absolute`")),
    }
    match raw.problem_type.as_deref() {
        None | Some("single_label_classification") => {}
        Some(other) => return Err(format!("`problem_type` is `{other}`, expected `single_label_classification`")),
    }
    if raw.is_decoder {
        return Err("`is_decoder` is true, expected an encoder".to_owned());
    }
    Ok(())
}

fn task(raw: &RawConfig) -> Result<Task, String> {
    let architecture = raw.architectures.first().map_or("", String::as_str);
    if !architecture.ends_with("ForSequenceClassification") {
        // Heads of other tasks (masked words, next sentence) are left behind: the encoder below them is whole.
        return Ok(Task::Encode);
    }
    let Some(names) = &raw.id2label else {
        return Ok(Task::Classify { labels: Vec::new() });
    };
    let label = |id: usize| {
        names.get(&id.to_string()).cloned().ok_or_else(|| {
            let last = names.len() - 1;
            format!("`id2label` has {} labels but none with the number {id}, expected 0 to {last}", names.len())
        })
    };
    let labels = (0..names.len()).map(label).collect::<Result<Vec<_>, _>>()?;
    if labels.len() < 2 {
        return Err(format!("`id2label` has {} labels, expected at least 2", labels.len()));
    }
    if let Some(twice) = labels.iter().enumerate().find(|(at, name)| labels[..*at].contains(name)) {
        return Err(format!("`id2label` gives the name `{}` to more than one label", twice.1));
    }
    Ok(Task::Classify { labels })
}

fn activation(name: Option<&str>) -> Result<Activation, String> {
    match name {
        None | Some("gelu" | "gelu_python") => Ok(Activation::Gelu),
        Some("gelu_new" | "gelu_pytorch_tanh") => Ok(Activation::GeluTanh),
        Some("relu") => Ok(Activation::Relu),
        Some(other) => {
            Err(format!("the activation is `{other}`, expected `gelu`, `gelu_new`, `gelu_pytorch_tanh` or `relu`"))
        }
    }
}
