//! The model to start from.

use std::{fs, ops::Range, path::Path};

use intent_model::import::{
    HuggingFaceModel,
    config::{Activation, Task},
    parameters::{Head, HeadActivation, Linear as StoredLinear, Norm},
};
use tokenizers::{Tokenizer, TruncationParams};

use super::{
    Architecture, FineTuneError,
    network::{LayerNorm, Linear, mix},
    parameters::Layout,
};

/// The spread of a head that is drawn anew, as in Hugging Face transformers.
const HEAD_DEVIATION: f32 = 0.02;

/// A BERT or DistilBERT and its tokenizer.
#[derive(Debug)]
pub(crate) struct Pretrained {
    pub(crate) model: HuggingFaceModel,
    pub(crate) tokenizer: Tokenizer,
    /// The shape of the model, with its own number of labels, 0 for an encoder.
    pub(crate) architecture: Architecture,
}

impl Pretrained {
    /// Reads `config.json`, the safetensors and `tokenizer.json` of a Hugging Face directory.
    ///
    /// # Errors
    /// [`FineTuneError::Model`] when configuration or weights are not usable, [`FineTuneError::InvalidFile`] when they
    /// are but cannot be fine-tuned here, or when the tokenizer is broken.
    pub(crate) fn read(directory: &Path) -> Result<Self, FineTuneError> {
        let model = HuggingFaceModel::load(directory).map_err(FineTuneError::Base)?;
        let config = &model.config;
        if config.activation != Activation::Gelu {
            let reason = format!("the activation is {:?}, only the exact `gelu` can be fine-tuned", config.activation);
            return Err(FineTuneError::invalid(directory.join("config.json"), reason));
        }
        let architecture = Architecture {
            vocabulary: config.vocabulary,
            positions: config.positions,
            dim: config.hidden,
            hidden_dim: config.intermediate,
            heads: config.heads,
            layers: config.layers,
            labels: labels(&model).len(),
        };
        let path = directory.join("tokenizer.json");
        let json = fs::read(&path).map_err(FineTuneError::io(&path))?;
        let tokenizer =
            Tokenizer::from_bytes(json).map_err(|error| FineTuneError::invalid(&path, error.to_string()))?;
        let tokens = tokenizer.get_vocab_size(true);
        if tokens > architecture.vocabulary {
            let reason = format!("it has {tokens} tokens, but `config.json` says {}", architecture.vocabulary);
            return Err(FineTuneError::invalid(path, reason));
        }
        Ok(Self { model, tokenizer, architecture })
    }

    /// Returns the names of the labels that the model tells apart; none for an encoder.
    pub(crate) fn labels(&self) -> &[String] {
        labels(&self.model)
    }

    /// Returns DistilBERT's head. BERT's is of another shape and of no use here.
    pub(crate) fn head(&self) -> Option<&Head> {
        self.model.parameters.head.as_ref().filter(|head| head.activation == HeadActivation::Relu)
    }

    /// Returns the tokens of each text, the special ones included, at most `max_tokens`.
    pub(crate) fn encode(&self, texts: &[&str], max_tokens: usize) -> Result<Vec<Vec<u32>>, FineTuneError> {
        let invalid = |error: tokenizers::Error| {
            FineTuneError::invalid(self.model.directory.join("tokenizer.json"), error.to_string())
        };
        let mut tokenizer = self.tokenizer.clone();
        let max_length = max_tokens.min(self.architecture.positions);
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(Some(TruncationParams { max_length, ..TruncationParams::default() }))
            .map_err(invalid)?;
        let encodings = tokenizer.encode_batch(texts.to_vec(), true).map_err(invalid)?;
        Ok(encodings.iter().map(|encoding| encoding.get_ids().to_vec()).collect())
    }

    /// Tells whether the tokenizer knows no capital letters.
    pub(crate) fn lower_cases(&self) -> bool {
        let tokens = |text| self.tokenizer.encode(text, false).map(|encoding| encoding.get_ids().to_vec()).ok();
        tokens("A") == tokens("a")
    }

    /// Fills a flat vector: with the weights of the model, the word rows of `tokens` alone, and a head that is drawn
    /// anew unless the model has one for exactly these labels.
    ///
    /// BERT's token types become part of the position embeddings: in a single text every token has type 0, so adding
    /// that type's vector to every position gives the same function without token types, which is a DistilBERT.
    pub(crate) fn parameters(&self, layout: &Layout, tokens: &[u32], labels: &[&str], seed: u64) -> Vec<f32> {
        let dim = self.architecture.dim;
        let stored = &self.model.parameters;
        let mut flat = Flat(vec![0.0; layout.len()]);
        for (row, &token) in flat.0[layout.words.clone()].chunks_exact_mut(dim).zip(tokens) {
            row.copy_from_slice(&stored.token_embeddings[token as usize * dim..][..dim]);
        }
        flat.put(&layout.positions, &[&stored.position_embeddings]);
        if let Some(token_type) = &stored.token_type_embedding {
            for row in flat.0[layout.positions.clone()].chunks_exact_mut(dim) {
                row.iter_mut().zip(token_type).for_each(|(value, offset)| *value += offset);
            }
        }
        flat.put_norm(&layout.embedding_norm, &stored.embedding_norm);
        for (place, layer) in layout.layers.iter().zip(&stored.layers) {
            flat.put_linear(&place.query_key_value, &[&layer.query, &layer.key, &layer.value]);
            flat.put_linear(&place.attention_output, &[&layer.attention_output]);
            flat.put_norm(&place.attention_norm, &layer.attention_norm);
            flat.put_linear(&place.expand, &[&layer.up]);
            flat.put_linear(&place.contract, &[&layer.down]);
            flat.put_norm(&place.output_norm, &layer.output_norm);
        }
        match self.head() {
            Some(head) if self.labels() == labels => {
                flat.put_linear(&layout.pre_classifier, &[&head.dense]);
                flat.put_linear(&layout.classifier, &[&head.classifier]);
            }
            _ => {
                for (index, linear) in [&layout.pre_classifier, &layout.classifier].into_iter().enumerate() {
                    draw_normal(&mut flat.0[linear.weight.clone()], HEAD_DEVIATION, mix(seed, index as u64));
                }
            }
        }
        flat.0
    }
}

fn labels(model: &HuggingFaceModel) -> &[String] {
    match &model.config.task {
        Task::Classify { labels } => labels,
        Task::Encode => &[],
    }
}

/// The vector that is filled.
struct Flat(Vec<f32>);

impl Flat {
    /// Writes `parts` side by side into the place `range`.
    fn put(&mut self, range: &Range<usize>, parts: &[&[f32]]) {
        let mut start = range.start;
        for part in parts {
            self.0[start..start + part.len()].copy_from_slice(part);
            start += part.len();
        }
        debug_assert_eq!(start, range.end, "the shapes were checked when the model was read");
    }

    fn put_linear(&mut self, place: &Linear, parts: &[&StoredLinear]) {
        self.put(&place.weight, &parts.iter().map(|part| part.weight.as_slice()).collect::<Vec<_>>());
        self.put(&place.bias, &parts.iter().map(|part| part.bias.as_slice()).collect::<Vec<_>>());
    }

    fn put_norm(&mut self, place: &LayerNorm, norm: &Norm) {
        self.put(&place.weight, &[&norm.gamma]);
        self.put(&place.bias, &[&norm.beta]);
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
