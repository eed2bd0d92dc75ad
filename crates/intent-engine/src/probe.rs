//! Whether one model works, outside of all requests.

use std::{sync::Arc, time::Duration};

use intent_model::{Document, ModelKind};
use tokio::time::Instant;

use crate::{
    Engine,
    circuit::CircuitState,
    workers::{ComputeError, Lane},
};

/// A model that was probed did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// There is no such model.
    #[error("the model is not loaded")]
    NotLoaded,
    /// It failed often lately and is left alone for a while.
    #[error("its circuit is open")]
    CircuitOpen,
    /// It failed.
    #[error(transparent)]
    Failed(#[from] ComputeError),
}

impl Engine {
    /// Lets one model score `text` and returns how long that took, waiting included. Nothing of it enters the estimates
    /// of live traffic, and a closed circuit hears nothing of it; one that is not takes the probe as a trial, so that a
    /// model comes back without costing a request.
    ///
    /// # Errors
    /// [`ProbeError`] when there are no scores within `time_limit`.
    pub async fn probe(&self, kind: ModelKind, text: &str, time_limit: Duration) -> Result<Duration, ProbeError> {
        let began = Instant::now();
        let catalog = self.catalog();
        let loaded = catalog.get(kind).ok_or(ProbeError::NotLoaded)?;
        let circuit = &self.health.of(kind).circuit;
        let trial = match circuit.state() {
            CircuitState::Closed => None,
            CircuitState::HalfOpen | CircuitState::Open => Some(circuit.call().ok_or(ProbeError::CircuitOpen)?),
        };
        let document = Arc::new(Document::new(text));
        let scored = self.workers.compute(&loaded.backend, &document, began + time_limit, Lane::Single).await;
        let took = began.elapsed();
        if let Some(trial) = trial {
            trial.record(scored.is_ok(), scored.as_ref().map_or(took, |(_, compute)| *compute));
        }
        scored?;
        Ok(took)
    }
}
