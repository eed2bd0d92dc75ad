//! Circuit breaker: a dependency that fails is left alone until it may have recovered.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

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
            open_for: Duration::from_secs(2),
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

/// A call that was let through. [`Call::record`] says how it went; dropped without that, because its caller left or its
/// end says nothing of the dependency, it counts for nothing and makes room for the next trial.
#[derive(Debug)]
#[must_use = "a call that is dropped at once says nothing of the dependency"]
pub struct Call<'a> {
    circuit: &'a Circuit,
    era: u64,
}

#[derive(Debug)]
struct Inner {
    /// Grows with every change of state: what a call of an earlier one has to tell is old news.
    era: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Closed { calls: u32, failures: u64, slow: u64 },
    Open { since: Instant },
    HalfOpen { succeeded: u32, is_trying: bool },
}

const CLOSED: Phase = Phase::Closed { calls: 0, failures: 0, slow: 0 };

impl Circuit {
    /// Makes a closed circuit.
    pub fn new(options: CircuitOptions) -> Self {
        Self { options, inner: Mutex::new(Inner { era: 0, phase: CLOSED }) }
    }

    /// Lets a call through, or returns `None` while the dependency is left alone.
    pub fn call(&self) -> Option<Call<'_>> {
        let mut inner = self.lock();
        match &mut inner.phase {
            Phase::Closed { .. } => {}
            Phase::Open { since } if since.elapsed() < self.options.open_for => return None,
            Phase::Open { .. } => inner.enter(Phase::HalfOpen { succeeded: 0, is_trying: true }),
            Phase::HalfOpen { is_trying: true, .. } => return None,
            Phase::HalfOpen { is_trying, .. } => *is_trying = true,
        }
        Some(Call { circuit: self, era: inner.era })
    }

    /// Returns the state now.
    pub fn state(&self) -> CircuitState {
        match &self.lock().phase {
            Phase::Closed { .. } => CircuitState::Closed,
            Phase::Open { since } if since.elapsed() < self.options.open_for => CircuitState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Closes it and forgets all calls.
    pub fn reset(&self) {
        self.lock().enter(CLOSED);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no code panics while it holds this lock")
    }
}

impl Call<'_> {
    /// Reports how the call went: whether it succeeded and how long it took.
    pub fn record(self, succeeded: bool, took: Duration) {
        let options = &self.circuit.options;
        let is_slow = took > options.slow_call;
        let mut inner = self.circuit.lock();
        if inner.era != self.era {
            return;
        }
        match &mut inner.phase {
            Phase::Closed { calls, failures, slow } => {
                let window = options.window.clamp(1, 64);
                let mask = u64::MAX >> (64 - window);
                *failures = (*failures << 1 | u64::from(!succeeded)) & mask;
                *slow = (*slow << 1 | u64::from(is_slow)) & mask;
                *calls = (*calls + 1).min(window);
                let rate = |bits: u64| bits.count_ones() as f32 / *calls as f32;
                if *calls >= options.minimum_calls
                    && (rate(*failures) >= options.failure_rate || rate(*slow) >= options.slow_call_rate)
                {
                    inner.enter(Phase::Open { since: Instant::now() });
                }
            }
            Phase::HalfOpen { .. } if !succeeded || is_slow => inner.enter(Phase::Open { since: Instant::now() }),
            Phase::HalfOpen { succeeded, .. } => {
                // The drop of this call makes room for the next trial.
                *succeeded += 1;
                if *succeeded >= options.trial_calls {
                    inner.enter(CLOSED);
                }
            }
            Phase::Open { .. } => {}
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut inner = self.circuit.lock();
        if inner.era == self.era
            && let Phase::HalfOpen { is_trying, .. } = &mut inner.phase
        {
            *is_trying = false;
        }
    }
}

impl Inner {
    fn enter(&mut self, phase: Phase) {
        self.era += 1;
        self.phase = phase;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);

    fn opened() -> Circuit {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..8).for_each(|_| record(&circuit, false, FAST));
        circuit
    }

    fn record(circuit: &Circuit, succeeded: bool, took: Duration) {
        circuit.call().expect("the call is let through").record(succeeded, took);
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_failures_do_not_open_it() {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..7).for_each(|_| record(&circuit, false, FAST));
        assert_eq!(circuit.state(), CircuitState::Closed);
        assert!(circuit.call().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_calls_failing_opens_it() {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..8).for_each(|call| record(&circuit, call % 2 == 0, FAST));
        assert_eq!(circuit.state(), CircuitState::Open);
        assert!(circuit.call().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_calls_open_it_even_when_they_succeed() {
        let circuit = Circuit::new(CircuitOptions::default());
        (0..8).for_each(|_| record(&circuit, true, Duration::from_secs(2)));
        assert_eq!(circuit.state(), CircuitState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_while_one_trial_call_at_a_time_is_let_through() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        let first = circuit.call().expect("a trial call");
        assert!(circuit.call().is_none(), "the first trial call is still running");
        first.record(true, FAST);
        assert!(circuit.call().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn three_good_trial_calls_close_it() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..3 {
            record(&circuit, true, FAST);
        }
        assert_eq!(circuit.state(), CircuitState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn one_bad_trial_call_opens_it_again() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        record(&circuit, false, FAST);
        assert_eq!(circuit.state(), CircuitState::Open);
        assert!(circuit.call().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_call_whose_caller_leaves_makes_room_for_the_next() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(5)).await;
        let left = circuit.call().expect("a trial call");
        drop(left);
        assert_eq!(circuit.state(), CircuitState::HalfOpen, "leaving says nothing of the dependency");
        assert!(circuit.call().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_from_before_it_opened_is_no_trial() {
        let circuit = Circuit::new(CircuitOptions { trial_calls: 1, ..CircuitOptions::default() });
        let early = circuit.call().expect("a closed circuit lets calls through");
        (0..8).for_each(|_| record(&circuit, false, FAST));
        tokio::time::advance(Duration::from_secs(5)).await;
        let trial = circuit.call().expect("a trial call");
        early.record(true, FAST);
        assert_eq!(circuit.state(), CircuitState::HalfOpen, "its news is old");
        assert!(circuit.call().is_none(), "and the trial is still running");
        trial.record(true, FAST);
        assert_eq!(circuit.state(), CircuitState::Closed);
    }
}
