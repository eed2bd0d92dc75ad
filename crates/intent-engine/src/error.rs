//! Why the engine did not answer.

use std::time::Duration;

use intent_model::ModelKind;

/// A request that got no decision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// There is more work waiting than the engine takes; nothing was done for this request.
    #[error("{in_flight} texts are being classified and {capacity} is the limit")]
    Overloaded {
        /// Texts admitted and not yet answered.
        in_flight: usize,
        /// The most texts that are admitted.
        capacity: usize,
        /// When to try again, from the current throughput.
        retry_after: Duration,
    },
    /// The request named a model that is not loaded.
    #[error("the model `{0}` is not loaded")]
    ModelNotLoaded(ModelKind),
    /// No model could answer; `reasons` says what happened to each.
    #[error("no model could classify the text: {reasons}")]
    NoModel {
        /// What happened to each model, for people.
        reasons: String,
    },
}
