//! Texts to token numbers, with truncation that is reported.

use std::path::Path;

use tokenizers::{Tokenizer, TruncationDirection, TruncationParams};

use super::specification::MAX_JSON_BYTES;
use crate::{ModelError, transformer::Specification, trust};

/// A Hugging Face tokenizer with the limits of one model.
#[derive(Debug)]
pub(crate) struct TextTokenizer {
    inner: Tokenizer,
    pad_token_id: u32,
}

/// One text as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Special tokens included; never empty.
    pub(crate) ids: Vec<u32>,
    /// Whether the end of the text did not fit.
    pub(crate) truncated: bool,
}

impl TextTokenizer {
    /// Loads `tokenizer.json`; the limits of `specification` take the place of those in the file.
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read, [`ModelError::InvalidFile`] when it is broken, knows more tokens
    /// than the model, or cannot cut to the model's limit.
    pub(crate) fn load(path: &Path, specification: &Specification) -> Result<Self, ModelError> {
        let bytes = trust::read(path, MAX_JSON_BYTES)?;
        let mut inner = Tokenizer::from_bytes(&bytes)
            .map_err(|error| ModelError::invalid(path, format!("not a tokenizer: {error}")))?;
        let known = inner.get_vocab(true).into_values().max().map_or(0, |largest| largest as usize + 1);
        if let Some(vocabulary) = specification.vocabulary_size.filter(|&vocabulary| known > vocabulary) {
            return Err(ModelError::invalid(
                path,
                format!("it has {known} tokens, expected at most the {vocabulary} that the model has embeddings for"),
            ));
        }
        let direction = inner.get_truncation().map_or(TruncationDirection::Right, |truncation| truncation.direction);
        // Batches are padded here, to the longest text of each rather than to a fixed length.
        inner.with_padding(None);
        let truncation =
            TruncationParams { max_length: specification.max_tokens, direction, ..TruncationParams::default() };
        inner.with_truncation(Some(truncation)).map_err(|error| {
            ModelError::invalid(path, format!("cannot cut texts to {} tokens: {error}", specification.max_tokens))
        })?;
        Ok(Self { inner, pad_token_id: specification.pad_token_id })
    }

    /// Splits a text into tokens.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the tokenizer has no token for a part of the text, not even an unknown one.
    pub(crate) fn encode(&self, text: &str) -> Result<Tokens, ModelError> {
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(|error| ModelError::Inference(format!("cannot split the text into tokens: {error}")))?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.is_empty() {
            // A tokenizer without special tokens leaves nothing of an empty text; a graph needs one token.
            ids.push(self.pad_token_id);
        }
        Ok(Tokens { ids, truncated: !encoding.get_overflowing().is_empty() })
    }
}
