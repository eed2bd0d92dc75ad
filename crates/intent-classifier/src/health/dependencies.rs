//! What the service depends on besides its own process.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use intent_engine::circuit::CircuitState;

use super::monitor::{Latest, Observation};
use crate::telemetry::labels::Dependency;

/// Finds out whether a dependency works.
#[async_trait]
pub(crate) trait DependencyCheck: fmt::Debug + Send + Sync {
    /// Returns which dependency it is.
    fn dependency(&self) -> Dependency;

    /// Asks the dependency something small that shows that it does its work. It is given up when it takes too long.
    ///
    /// # Errors
    /// Why it does not work, for people; never a password.
    async fn check(&self) -> Result<(), String>;

    /// Returns the state of the circuit breaker that guards it; closed where there is none.
    fn circuit(&self) -> CircuitState {
        CircuitState::Closed
    }
}

/// The dependencies that the service is told to use, with what was found of each.
#[derive(Debug, Default)]
pub(crate) struct Dependencies(Vec<Arc<Checked>>);

/// A dependency, and what was found of it.
#[derive(Debug)]
pub(crate) struct Checked {
    check: Box<dyn DependencyCheck>,
    latest: Latest,
}

impl Dependencies {
    /// Takes a dependency among those that are checked.
    pub(crate) fn add(&mut self, check: impl DependencyCheck + 'static) {
        self.0.push(Arc::new(Checked { check: Box::new(check), latest: Latest::default() }));
    }

    /// Returns a dependency; `None` when the service is not told to use it.
    pub(crate) fn get(&self, dependency: Dependency) -> Option<&Checked> {
        self.0.iter().map(Arc::as_ref).find(|checked| checked.check.dependency() == dependency)
    }

    /// Returns all of them.
    pub(super) fn checks(&self) -> Vec<Arc<Checked>> {
        self.0.clone()
    }
}

impl Checked {
    /// Checks it now, within a time limit.
    pub(super) async fn run(&self, limit: Duration) {
        self.latest.observe(limit, self.check.check()).await;
    }

    /// Returns what the latest check found; `None` before the first.
    pub(crate) fn latest(&self) -> Option<Arc<Observation>> {
        self.latest.get()
    }

    /// Returns the state of the circuit breaker that guards it.
    pub(crate) fn circuit(&self) -> CircuitState {
        self.check.circuit()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Debug)]
    struct Scripted(Arc<AtomicBool>);

    #[async_trait]
    impl DependencyCheck for Scripted {
        fn dependency(&self) -> Dependency {
            Dependency::Redis
        }

        async fn check(&self) -> Result<(), String> {
            if self.0.load(Ordering::Relaxed) { Ok(()) } else { Err("connection refused".to_owned()) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_is_what_its_latest_check_found() {
        let works = Arc::new(AtomicBool::new(true));
        let mut dependencies = Dependencies::default();
        dependencies.add(Scripted(Arc::clone(&works)));
        assert!(dependencies.get(Dependency::Postgres).is_none(), "nobody configured it");
        let redis = dependencies.get(Dependency::Redis).expect("it was added");
        assert!(redis.latest().is_none());
        redis.run(Duration::from_secs(1)).await;
        assert_eq!(redis.latest().expect("it was checked").error, None);
        works.store(false, Ordering::Relaxed);
        redis.run(Duration::from_secs(1)).await;
        assert_eq!(redis.latest().expect("it was checked").error.as_deref(), Some("connection refused"));
    }
}
