//! What a check found, and when.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// What a check found.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// Why what was checked does not work; `None` when it does.
    pub(crate) error: Option<String>,
    /// How long the check took.
    pub(crate) latency: Duration,
    taken: Instant,
}

impl Observation {
    /// Returns how old it is.
    pub(crate) fn age(&self) -> Duration {
        self.taken.elapsed()
    }
}

/// The latest observation of one thing.
#[derive(Debug, Default)]
pub(super) struct Latest(ArcSwapOption<Observation>);

impl Latest {
    /// Checks within a time limit, and keeps what was found.
    pub(super) async fn observe(&self, limit: Duration, check: impl Future<Output = Result<(), String>>) {
        let began = Instant::now();
        let outcome = match timeout(limit, check).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {} ms", limit.as_millis())),
        };
        self.0.store(Some(Arc::new(Observation {
            error: outcome.err(),
            latency: began.elapsed(),
            taken: Instant::now(),
        })));
    }

    /// Returns what was found; `None` before the first check.
    pub(super) fn get(&self) -> Option<Arc<Observation>> {
        self.0.load_full()
    }

    /// Forgets what was found.
    pub(super) fn clear(&self) {
        self.0.store(None);
    }
}

/// Returns the interval give or take a tenth, so that replicas that started together do not check together for ever.
pub(super) fn jittered(interval: Duration) -> Duration {
    let random = Uuid::now_v7().as_u128() as u32;
    interval.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_a_failure_after_its_limit() {
        let latest = Latest::default();
        assert!(latest.get().is_none());
        latest.observe(Duration::from_secs(2), std::future::pending()).await;
        let observation = latest.get().expect("it was observed");
        assert_eq!(observation.error.as_deref(), Some("no answer within 2000 ms"));
        assert_eq!(observation.latency, Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(observation.age(), Duration::from_secs(30));
        latest.observe(Duration::from_secs(2), async { Ok(()) }).await;
        assert_eq!(latest.get().expect("it was observed").error, None);
    }

    #[test]
    fn jitter_stays_within_a_tenth_and_varies() {
        let intervals: Vec<Duration> = (0..100).map(|_| jittered(Duration::from_secs(10))).collect();
        assert!(intervals.iter().all(|interval| (9.0..=11.0).contains(&interval.as_secs_f64())), "{intervals:?}");
        assert!(intervals.iter().any(|interval| *interval != intervals[0]));
    }
}
