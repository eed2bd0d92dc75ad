//! A text on its way through one or more models.

use std::sync::{Arc, OnceLock};

/// One sentence embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// Unit-length vector; its length is the encoder's dimension (384 for all-MiniLM-L6-v2).
    pub values: Arc<[f32]>,
    /// Whether the text was longer than the encoder reads, so that its end has no part in `values`.
    pub truncated: bool,
}

/// A text, and what was already computed from it.
///
/// The models of a cascade look at the same document one after the other; the sentence embedding is computed by the
/// first that needs it and found there by the others. All models that share a document must share one encoder.
#[derive(Debug)]
pub struct Document {
    text: String,
    embedding: OnceLock<Embedding>,
}

impl Document {
    /// Wraps a text as the user sent it.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), embedding: OnceLock::new() }
    }

    /// Returns the text as the user sent it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the embedding, once an encoder has computed it.
    pub fn embedding(&self) -> Option<&Embedding> {
        self.embedding.get()
    }

    /// Keeps an embedding for the models that come later; a second one is ignored.
    pub fn set_embedding(&self, embedding: Embedding) {
        // The first one wins: both come from the same text and the same encoder.
        let _ = self.embedding.set(embedding);
    }
}
