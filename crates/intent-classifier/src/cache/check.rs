//! Whether Redis works.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use intent_engine::{DecisionCache, circuit::CircuitState};

use super::RedisConnection;
use crate::{health::DependencyCheck, telemetry::labels::Dependency};

/// Asks Redis for a sign of life.
#[derive(Debug)]
pub(crate) struct RedisCheck {
    redis: Arc<RedisConnection>,
    /// The cache with the circuit before Redis, once there is one.
    cache: OnceLock<DecisionCache>,
}

impl RedisCheck {
    /// Knows of no cache yet.
    pub(crate) fn new(redis: Arc<RedisConnection>) -> Self {
        Self { redis, cache: OnceLock::new() }
    }

    /// Tells of the circuit before Redis from now on.
    pub(crate) fn watch(&self, cache: &DecisionCache) {
        // There is one cache in a process, and it is told once.
        let _ = self.cache.set(cache.clone());
    }
}

#[async_trait]
impl DependencyCheck for Arc<RedisCheck> {
    fn dependency(&self) -> Dependency {
        Dependency::Redis
    }

    async fn check(&self) -> Result<(), String> {
        self.redis.check().await
    }

    fn circuit(&self) -> CircuitState {
        self.cache.get().and_then(DecisionCache::shared_circuit).unwrap_or(CircuitState::Closed)
    }
}
