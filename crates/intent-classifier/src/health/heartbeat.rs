//! Whether the async runtime runs its tasks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{error, info};

/// How often the task and the watchdog look, as a part of the longest stall.
const BEATS_PER_LIMIT: u32 = 10;

/// A task that says "I ran", and a thread outside the runtime that listens: a runtime that is stuck can neither log that
/// it is nor be trusted to answer who asks.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    began: Instant,
    /// Milliseconds from `began` to the latest beat; 0 before the first.
    latest: AtomicU64,
    limit: Duration,
}

impl Heartbeat {
    /// Makes a heart that does not beat yet, and counts as stuck when it misses `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { began: Instant::now(), latest: AtomicU64::new(0), limit }
    }

    /// Starts the task on the current runtime, and the watchdog.
    ///
    /// # Panics
    /// When the operating system refuses a thread.
    pub(super) fn start(self: &Arc<Self>) {
        let every = self.limit / BEATS_PER_LIMIT;
        self.beat();
        let heart = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                heart.beat();
            }
        });
        let heart = Arc::downgrade(self);
        let watch = move || {
            let mut was_stuck = false;
            while let Some(heart) = heart.upgrade() {
                was_stuck = heart.report(was_stuck);
                drop(heart);
                thread::sleep(every);
            }
        };
        thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(watch)
            .expect("the operating system gives a thread at start");
    }

    /// Returns the time since the latest beat; `None` before the first.
    pub(crate) fn age(&self) -> Option<Duration> {
        match self.latest.load(Ordering::Relaxed) {
            0 => None,
            latest => Some(self.began.elapsed().saturating_sub(Duration::from_millis(latest))),
        }
    }

    /// Tells whether the runtime has not run the task for too long.
    pub(crate) fn is_stuck(&self) -> bool {
        self.age().is_some_and(|age| age > self.limit)
    }

    fn beat(&self) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.latest.store(elapsed.max(1), Ordering::Relaxed);
    }

    /// Logs when the runtime gets stuck and when it runs again; returns whether it is stuck.
    fn report(&self, was_stuck: bool) -> bool {
        let is_stuck = self.is_stuck();
        if is_stuck && !was_stuck {
            let age_ms = self.age().unwrap_or_default().as_millis() as u64;
            error!(age_ms, "the async runtime is stuck");
        } else if was_stuck && !is_stuck {
            info!("the async runtime runs again");
        }
        is_stuck
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            thread::yield_now();
        }
    }

    #[test]
    fn a_blocked_runtime_is_seen_from_outside_and_so_is_its_recovery() {
        let heart = Arc::new(Heartbeat::new(Duration::from_millis(200)));
        assert!(!heart.is_stuck() && heart.age().is_none(), "it has not started");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build();
        let runtime = runtime.expect("a runtime starts");
        runtime.block_on(async { heart.start() });
        let (release, released) = channel::<()>();
        // The one worker waits for a message that the test sends later.
        runtime.spawn(async move { assert!(released.recv().is_ok(), "the test is still there") });
        wait_until("a runtime whose only worker is blocked is stuck", || heart.is_stuck());
        release.send(()).expect("the task waits");
        wait_until("a runtime that runs again is not", || !heart.is_stuck());
    }
}
