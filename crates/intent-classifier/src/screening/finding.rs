//! What can be suspicious about a text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub(crate) enum Finding {
    /// Control characters that no keyboard makes; taken out.
    ControlCharacters,
    /// Characters that turn the direction of writing, so that people read something else; taken out.
    BidiControls,
    /// Characters without width inside words, or text hidden in tags; taken out.
    ZeroWidth,
    /// Letters of another script that look like Latin ones, inside Latin words.
    Homoglyphs,
    /// The same words or characters over and over.
    Repetition,
    /// A long stretch that is encoded: base64, hexadecimal or escapes.
    EncodedPayload,
    /// A phrase that is addressed to a language model rather than to a person.
    PromptInjection,
    /// A source that sends many texts that no model is sure about, as somebody does who looks for the limits.
    ThresholdProbing,
}

/// Several suspicions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings(u8);

/// A text is not the name of a suspicion.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is none of control_characters, bidi_controls, zero_width, homoglyphs, repetition, encoded_payload, prompt_injection, threshold_probing"
)]
pub(crate) struct UnknownFinding(String);

impl Finding {
    /// All, in the order of their bits.
    pub(crate) const ALL: [Self; 8] = [
        Self::ControlCharacters,
        Self::BidiControls,
        Self::ZeroWidth,
        Self::Homoglyphs,
        Self::Repetition,
        Self::EncodedPayload,
        Self::PromptInjection,
        Self::ThresholdProbing,
    ];

    /// Returns the name in settings, metrics and audits.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ControlCharacters => "control_characters",
            Self::BidiControls => "bidi_controls",
            Self::ZeroWidth => "zero_width",
            Self::Homoglyphs => "homoglyphs",
            Self::Repetition => "repetition",
            Self::EncodedPayload => "encoded_payload",
            Self::PromptInjection => "prompt_injection",
            Self::ThresholdProbing => "threshold_probing",
        }
    }
}

impl Findings {
    /// Adds one.
    pub(crate) fn add(&mut self, finding: Finding) {
        self.0 |= 1 << finding as u8;
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Lists them.
    pub(crate) fn iter(self) -> impl Iterator<Item = Finding> {
        Finding::ALL.into_iter().filter(move |&finding| self.0 & 1 << finding as u8 != 0)
    }

    /// Returns those that are in both.
    pub(crate) fn of(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<I: IntoIterator<Item = Finding>>(findings: I) -> Self {
        let mut all = Self::default();
        findings.into_iter().for_each(|finding| all.add(finding));
        all
    }
}

impl FromStr for Finding {
    type Err = UnknownFinding;

    fn from_str(text: &str) -> Result<Self, UnknownFinding> {
        let text = text.trim();
        Self::ALL.into_iter().find(|finding| finding.as_str() == text).ok_or_else(|| UnknownFinding(text.to_owned()))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
