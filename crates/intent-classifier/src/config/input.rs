//! What a request may hold.

use confique::Config;

use crate::screening::Finding;

/// What a request may hold.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct InputSettings {
    /// Longest text, in Unicode characters. The size limits of request bodies follow from it.
    #[config(env = "MAX_TEXT_CHARS", default = 5000)]
    #[config(validate((1..=1_000_000).contains(max_text_chars), "the longest text must be 1 to 1000000 characters"))]
    pub(crate) max_text_chars: usize,

    /// Suspicious texts that are refused instead of only counted: any of `control_characters`, `bidi_controls`, `zero_width`, `homoglyphs`,
    /// `repetition`, `encoded_payload`, `prompt_injection`; in the variable separated by commas.
    #[config(env = "REFUSE_SUSPICIOUS", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub(crate) refuse_suspicious: Vec<Finding>,
}

impl InputSettings {
    /// The most texts of one batch.
    pub(crate) const MAX_BATCH_TEXTS: usize = 100;
    /// The longest way to write a character in JSON: two `\uXXXX` escapes.
    const MAX_JSON_BYTES_PER_CHAR: usize = 12;
    /// Room for everything in a request that is not its text.
    const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

    /// Returns the largest body with one text, in bytes: no valid text is ever too large.
    pub(crate) fn max_body_bytes(&self) -> usize {
        self.max_text_chars * Self::MAX_JSON_BYTES_PER_CHAR + Self::MAX_ENVELOPE_BYTES
    }

    /// Returns the largest body of a batch, in bytes.
    pub(crate) fn max_batch_body_bytes(&self) -> usize {
        Self::MAX_BATCH_TEXTS * self.max_text_chars * Self::MAX_JSON_BYTES_PER_CHAR + Self::MAX_ENVELOPE_BYTES
    }
}
