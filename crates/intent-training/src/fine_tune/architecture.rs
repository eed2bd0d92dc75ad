//! The size of a network.

/// The sizes that fix a `DistilBertForSequenceClassification` (Sanh et al. 2019, "DistilBERT, a distilled version of
/// BERT").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Tokens of the tokenizer.
    pub vocabulary: usize,
    /// Longest text in tokens, the two special ones included.
    pub positions: usize,
    /// Width of a token's vector.
    pub dim: usize,
    /// Width inside the feed-forward part of a layer.
    pub hidden_dim: usize,
    /// Attention heads per layer; divides `dim`.
    pub heads: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Intents to tell apart.
    pub labels: usize,
}

/// What DistilBERT adds to a variance before it divides by its root, whatever its configuration says.
pub(crate) const LAYER_NORM_EPSILON: f32 = 1e-12;
