//! The one place that counts and logs a decision.

use intent_engine::{Decision, EngineError};
use tracing::{info, warn};

use super::metrics::Metrics;
use crate::http::RequestId;

/// Counts a decision, or that there was none, and writes its log line. The text is in neither.
pub(crate) fn record(metrics: &Metrics, request_id: RequestId, decision: Result<&Decision, &EngineError>) {
    match decision {
        Ok(decision) => {
            metrics.decided(decision);
            let best = decision.best();
            info!(
                %request_id,
                intent = &*best.intent,
                confidence = f64::from(best.confidence),
                model = decision.model.as_str(),
                model_version = &*decision.model_version,
                strategy = decision.strategy.as_str(),
                degraded = decision.degraded,
                latency_ms = decision.timings.total.as_micros() as f64 / 1000.0,
                "classified"
            );
        }
        Err(error) => {
            metrics.undecided(error);
            warn!(%request_id, %error, "not classified");
        }
    }
}
