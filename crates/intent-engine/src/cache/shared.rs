//! The second layer: answers that other replicas have computed.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use intent_model::OUT_OF_SCOPE;
use tokio::time::{Instant, timeout_at};

use super::SharedKey;
use crate::{
    Catalog, Decision,
    circuit::{Circuit, CircuitOptions, CircuitState},
};

/// A cache that several processes share, behind the one in this process.
///
/// The engine bounds every look-up in time and stops asking a cache that fails, so that losing it costs no request its
/// answer.
pub trait SharedCache: fmt::Debug + Send + Sync {
    /// Looks an answer up. What is kept of a decision: the ranking, the model and its version, the rule, whether the
    /// text was truncated, the strategy and the reasons. Dropping the future gives the look-up up.
    ///
    /// # Errors
    /// [`SharedCacheError`] when the cache cannot be asked or holds something that is no answer.
    fn get<'a>(&'a self, key: &'a SharedKey) -> BoxFuture<'a, Result<Option<Decision>, SharedCacheError>>;

    /// Keeps an answer, some time later or, when there is too much to do, not at all. Never waits.
    fn put(&self, key: SharedKey, decision: &Decision);
}

/// Why a shared cache could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SharedCacheError(pub String);

/// Why a look-up came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("failed")]
    Failed,
    #[error("timed out")]
    TimedOut,
    #[error("circuit open")]
    CircuitOpen,
}

/// A [`SharedCache`] behind a time limit and a circuit breaker.
#[derive(Debug)]
pub(super) struct GuardedCache {
    cache: Arc<dyn SharedCache>,
    time_limit: Duration,
    circuit: Circuit,
}

impl GuardedCache {
    pub(super) fn new(cache: Arc<dyn SharedCache>, time_limit: Duration) -> Self {
        // A look-up is never longer than the limit: slow ones fail, there is no third kind.
        let options = CircuitOptions { slow_call: Duration::MAX, ..CircuitOptions::default() };
        Self { cache, time_limit, circuit: Circuit::new(options) }
    }

    /// Looks an answer for these models up, until `deadline` at most.
    pub(super) async fn look_up(
        &self,
        key: &SharedKey,
        catalog: &Catalog,
        deadline: Instant,
    ) -> Result<Option<Decision>, Unavailable> {
        let call = self.circuit.call().ok_or(Unavailable::CircuitOpen)?;
        let began = Instant::now();
        let limit = began + self.time_limit;
        let found = match timeout_at(limit.min(deadline), self.cache.get(key)).await {
            Ok(Ok(Some(decision))) if fits(&decision, catalog) => Ok(Some(decision)),
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(_)) | Err(_)) => Err(Unavailable::Failed),
            Err(_) => Err(Unavailable::TimedOut),
        };
        // A deadline that no cache could meet says nothing of this one.
        if !matches!(found, Err(Unavailable::TimedOut)) || limit <= deadline {
            call.record(found.is_ok(), began.elapsed());
        }
        found
    }

    pub(super) fn put(&self, key: SharedKey, decision: &Decision) {
        self.cache.put(key, decision);
    }

    pub(super) fn circuit(&self) -> CircuitState {
        self.circuit.state()
    }
}

/// Tells whether an answer is one that these models can give: what comes from outside is not trusted.
fn fits(decision: &Decision, catalog: &Catalog) -> bool {
    let is_known = |intent: &str| intent == OUT_OF_SCOPE || catalog.intents().iter().any(|known| **known == *intent);
    decision.model_version == *catalog.version()
        && !decision.ranking.is_empty()
        && decision.ranking.iter().all(|ranked| is_known(&ranked.intent) && (0.0..=1.0).contains(&ranked.confidence))
}
