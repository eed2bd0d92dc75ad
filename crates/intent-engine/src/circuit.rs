//! Circuit breaker: a dependency that fails is left alone until it may have recovered.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// When a circuit opens and closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitOptions {
    /// How many of the latest calls are looked at; at most 64.
    pub window: u32,
    /// Fewer calls than this never open the circuit.
    pub minimum_calls: u32,
    /// The share of failed calls that opens it, 0 to 1.
    pub failure_rate: f32,
    /// Calls longer than this count as slow.
    pub slow_call: Duration,
    /// The share of slow calls that opens it, 0 to 1.
    pub slow_call_rate: f32,
    /// How long it stays open before a call is let through to try.
    pub open_for: Duration,
    /// How many trial calls must succeed, one after the other, to close it.
    pub trial_calls: u32,
}

impl Default for CircuitOptions {
    fn default() -> Self {
        Self {
            window: 32,
            minimum_calls: 8,
            failure_rate: 0.5,
            slow_call: Duration::from_secs(1),
            slow_call_rate: 0.8,
            open_for: Duration::from_secs(5),
            trial_calls: 3,
        }
    }
}

/// Whether calls are let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls go through.
    Closed,
    /// One call at a time goes through, to see whether it works again.
    HalfOpen,
    /// No call goes through.
    Open,
}

impl CircuitState {
    /// Returns the name used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Watches the calls to one dependency.
#[derive(Debug)]
pub struct Circuit {
    options: CircuitOptions,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
enum Inner {
    Closed { calls: u32, failures: u64, slow: u64 },
    Open { since: Instant },
    HalfOpen { succeeded: u32, trial_running: Option<Instant> },
}

const CLOSED: Inner = Inner::Closed { calls: 0, failures: 0, slow: 0 };

impl Circuit {
    /// Makes a closed circuit.
    pub fn new(options: CircuitOptions) -> Self {
        Self { options, inner: Mutex::new(CLOSED) }
    }

    /// Tells whether a call may be made now. A caller that gets `true` must report the outcome by
    /// [`Circuit::record`]; a trial call that never reports is given up after [`CircuitOptions::open_for`].
    pub fn allows_call(&self) -> bool {
        let now = Instant::now();
        let mut inner = self.lock();
        match &mut *inner {
            Inner::Closed { .. } => true,
            Inner::Open { since } if now - *since < self.options.open_for => false,
            Inner::Open { .. } => {
                *inner = Inner::HalfOpen { succeeded: 0, trial_running: Some(now) };
                true
            }
            Inner::HalfOpen { trial_running: Some(since), .. } if now - *since < self.options.open_for => false,
            Inner::HalfOpen { trial_running, .. } => {
                *trial_running = Some(now);
                true
            }
        }
    }

    /// Reports how a call went: whether it succeeded and how long it took.
    pub fn record(&self, succeeded: bool, took: Duration) {
        let is_slow = took > self.options.slow_call;
        let mut inner = self.lock();
        match &mut *inner {
            Inner::Closed { calls, failures, slow } => {
                let window = self.options.window.clamp(1, 64);
                let mask = u64::MAX >> (64 - window);
                *failures = (*failures << 1 | u64::from(!succeeded)) & mask;
                *slow = (*slow << 1 | u64::from(is_slow)) & mask;
                *calls = (*calls + 1).min(window);
                let rate = |bits: u64| bits.count_ones() as f32 / *calls as f32;
                if *calls >= self.options.minimum_calls
                    && (rate(*failures) >= self.options.failure_rate || rate(*slow) >= self.options.slow_call_rate)
                {
                    *inner = Inner::Open { since: Instant::now() };
                }
            }
            Inner::HalfOpen { .. } if !succeeded || is_slow => *inner = Inner::Open { since: Instant::now() },
            Inner::HalfOpen { succeeded, trial_running } => {
                *succeeded += 1;
                *trial_running = None;
                if *succeeded >= self.options.trial_calls {
                    *inner = CLOSED;
                }
            }
            // A call that began before the circuit opened; its news is old.
            Inner::Open { .. } => {}
        }
    }

    /// Returns the state now.
    pub fn state(&self) -> CircuitState {
        match &*self.lock() {
            Inner::Closed { .. } => CircuitState::Closed,
            Inner::Open { since } if since.elapsed() < self.options.open_for => CircuitState::Open,
            Inner::Open { .. } | Inner::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Closes it and forgets all calls.
    pub fn reset(&self) {
        *self.lock() = CLOSED;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);

    fn opened() -> Circuit {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..8).for_each(|_| circuit.record(false, FAST));
        circuit
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_failures_do_not_open_it() {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..7).for_each(|_| circuit.record(false, FAST));
        assert_eq!(circuit.state(), CircuitState::Closed);
        assert!(circuit.allows_call());
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_calls_failing_opens_it() {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..8).for_each(|call| circuit.record(call % 2 == 0, FAST));
        assert_eq!(circuit.state(), CircuitState::Open);
        assert!(!circuit.allows_call());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_calls_open_it_even_when_they_succeed() {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..8).for_each(|_| circuit.record(true, Duration::from_secs(2)));
        assert_eq!(circuit.state(), CircuitState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_while_one_trial_call_at_a_time_is_let_through() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert!(circuit.allows_call());
        assert!(!circuit.allows_call(), "the first trial call is still running");
        circuit.record(true, FAST);
        assert!(circuit.allows_call());
    }

    #[tokio::test(start_paused = true)]
    async fn three_good_trial_calls_close_it() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..3 {
            assert!(circuit.allows_call());
            circuit.record(true, FAST);
        }
        assert_eq!(circuit.state(), CircuitState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_bad_trial_call_opens_it_again() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(circuit.allows_call());
        circuit.record(false, FAST);
        assert_eq!(circuit.state(), CircuitState::Open);
        assert!(!circuit.allows_call());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_call_that_never_reports_does_not_block_for_ever() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(circuit.allows_call());
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(circuit.allows_call());
    }
}
