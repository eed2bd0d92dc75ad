//! Text to scores.
//!
//! Every model that can answer "which intent is this text?" lives here behind one synchronous, batch-oriented
//! trait, [`Model`]: rules, n-gram linear, sentence-encoder similarity, the hybrid of both, and transformer
//! sequence classifiers, together with calibration and the files that hold them.
//!
//! This crate does no network I/O, reads no clock and no environment, knows no async runtime, and records no metrics.
//! Files are read when a model is loaded and never afterwards.

mod binary;
pub mod calibration;
#[cfg(any(test, feature = "test-support"))]
pub mod conformance;
pub mod directory;
pub mod document;
pub mod encoder;
pub mod error;
pub mod hybrid;
pub mod import;
pub mod label;
pub mod linear;
pub mod model;
pub mod ngram;
pub mod pack;
pub mod rules;
pub mod sequence_classifier;
pub mod stage;
pub mod text;
#[cfg(any(test, feature = "test-support"))]
pub mod tiny;
pub mod transformer;
mod trust;
mod weights;
pub mod zero_shot;

pub use calibration::{Calibration, OutOfScopeGate, Prediction};
pub use document::{Document, Embedding};
pub use encoder::SentenceEncoder;
pub use error::ModelError;
pub use hybrid::Hybrid;
pub use label::{Labels, OUT_OF_SCOPE};
pub use model::{Model, ModelKind, Scores};
pub use pack::Pack;
pub use rules::Rules;
pub use sequence_classifier::SequenceClassifier;
pub use zero_shot::ZeroShot;
