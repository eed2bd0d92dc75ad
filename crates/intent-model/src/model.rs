//! The one trait behind which every model stands.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Document, Labels, ModelError};

/// The models of the service, by the names that requests, metrics and files use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Patterns, phrases and keywords of the intent pack.
    Rules,
    /// Trained n-gram classifier.
    Linear,
    /// Sentence-encoder similarity to what the pack says of each intent; needs no training.
    ZeroShot,
    /// Trained classifier on n-grams and the encoder's embedding.
    Hybrid,
    /// Fine-tuned DistilBERT-family sequence classifier.
    Distilbert,
}

impl ModelKind {
    /// All kinds, cheapest first.
    pub const ALL: [Self; 5] = [Self::Rules, Self::Linear, Self::ZeroShot, Self::Hybrid, Self::Distilbert];

    /// Returns the name used in requests, metrics and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Linear => "linear",
            Self::ZeroShot => "zero_shot",
            Self::Hybrid => "hybrid",
            Self::Distilbert => "distilbert",
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ModelKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(|kind| format!("`{kind}`")).join(", ");
            format!("unknown model `{name}`, expected one of {known}")
        })
    }
}

/// What a model says of one text, before calibration.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// One raw score per label, in the order of [`Model::labels`]; higher is likelier. Their softmax at the model's
    /// temperature is the confidence.
    pub logits: Vec<f32>,
    /// How foreign the text looks to this model; higher is more foreign, the scale is the model's own. `None` when
    /// the model cannot tell.
    pub out_of_scope: Option<f32>,
    /// The rule that decided, for models that have rules.
    pub rule: Option<String>,
    /// Whether the end of the text was not read.
    pub truncated: bool,
}

impl Scores {
    /// Wraps logits of a model that says nothing else.
    pub fn from_logits(logits: Vec<f32>) -> Self {
        Self { logits, out_of_scope: None, rule: None, truncated: false }
    }
}

/// Scores texts against a fixed list of labels.
///
/// Contract, checked by `crate::conformance` for every implementation: one [`Scores`] per document, in order; one
/// finite logit per label; an empty batch gives an empty answer; a document's scores do not depend on its batch mates;
/// the same document always gets the same scores; any Unicode text of any length is scored. Implementations do no I/O,
/// read no clock, and compute on the thread that calls them.
pub trait Model: fmt::Debug + Send + Sync {
    /// Returns which of the service's models this is.
    fn kind(&self) -> ModelKind;

    /// Returns the labels in the order of the logits.
    fn labels(&self) -> &Labels;

    /// Scores a batch.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the runtime fails; the whole batch is then unanswered.
    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError>;
}
