//! The size of a network.

/// The sizes that fix a `DistilBertForSequenceClassification` (Sanh et al. 2019, "DistilBERT, a distilled version of
/// BERT").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Architecture {
    /// Tokens of the tokenizer.
    pub(crate) vocabulary: usize,
    /// Longest text in tokens, the two special ones included.
    pub(crate) positions: usize,
    /// Width of a token's vector.
    pub(crate) dim: usize,
    /// Width inside the feed-forward part of a layer.
    pub(crate) hidden_dim: usize,
    /// Attention heads per layer; divides `dim`.
    pub(crate) heads: usize,
    /// Transformer layers.
    pub(crate) layers: usize,
    /// Intents to tell apart.
    pub(crate) labels: usize,
}

/// What DistilBERT adds to a variance before it divides by its root, whatever its configuration says.
pub(crate) const LAYER_NORM_EPSILON: f32 = 1e-12;
