//! What is known of each model from its calls.

use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use intent_model::ModelKind;
use tokio::time::Instant;

use crate::{
    circuit::{Circuit, CircuitOptions, CircuitState},
    latency::LatencyEstimate,
};

/// How one model is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelStatus {
    /// The model.
    pub kind: ModelKind,
    /// Its circuit.
    pub circuit: CircuitState,
    /// Median of recent calls, waiting included; `None` before the first.
    pub p50: Option<Duration>,
    /// 95th percentile of the same.
    pub p95: Option<Duration>,
    /// 99th percentile of the same.
    pub p99: Option<Duration>,
}

/// What is known of all models.
#[derive(Debug)]
pub(crate) struct ModelHealth([OneModelHealth; ModelKind::ALL.len()]);

/// What is known of one model.
#[derive(Debug)]
pub(crate) struct OneModelHealth {
    pub(crate) circuit: Circuit,
    by_length: [LengthClass; LENGTH_CLASSES],
    all: LatencyEstimate,
}

/// Texts of about one length.
#[derive(Debug, Default)]
struct LengthClass {
    latency: LatencyEstimate,
    renewal: Mutex<Renewal>,
}

/// How fresh an estimate is.
#[derive(Debug, Default)]
struct Renewal {
    at: Option<Instant>,
    /// A caller was let through to find out whether it still holds.
    is_trial: bool,
}

/// Short, medium and long texts take different times.
const LENGTH_CLASSES: usize = 3;

/// An estimate that no call has renewed for so long is no reason to leave a model out; one call finds out.
const STALE_AFTER: Duration = Duration::from_secs(2);

impl ModelHealth {
    pub(crate) fn new(circuit: CircuitOptions) -> Self {
        Self(ModelKind::ALL.map(|_| OneModelHealth {
            circuit: Circuit::new(circuit),
            by_length: Default::default(),
            all: LatencyEstimate::default(),
        }))
    }

    pub(crate) fn of(&self, kind: ModelKind) -> &OneModelHealth {
        &self.0[kind as usize]
    }

    /// Starts anew, because other models stand behind the names now.
    pub(crate) fn forget(&self) {
        self.0.iter().for_each(OneModelHealth::forget);
    }
}

impl OneModelHealth {
    /// Returns the p95 for texts about as long as `text_bytes` when it is longer than `left`. Of the callers that meet
    /// an estimate out of date one is let through, to renew it.
    pub(crate) fn p95_beyond(&self, left: Duration, text_bytes: usize) -> Option<Duration> {
        let class = &self.by_length[length_class(text_bytes)];
        let p95 = class.latency.quantile(0.95).filter(|p95| *p95 > left)?;
        let mut renewal = class.renewal();
        if renewal.at.is_some_and(|last| last.elapsed() < STALE_AFTER) {
            return Some(p95);
        }
        *renewal = Renewal { at: Some(Instant::now()), is_trial: true };
        None
    }

    pub(crate) fn record_latency(&self, text_bytes: usize, took: Duration) {
        let class = &self.by_length[length_class(text_bytes)];
        if std::mem::replace(&mut *class.renewal(), Renewal { at: Some(Instant::now()), is_trial: false }).is_trial {
            // What the trial found out counts alone: a model that hung for a while is not left out for minutes after.
            class.latency.forget();
        }
        class.latency.record(took);
        self.all.record(took);
    }

    pub(crate) fn p50(&self) -> Option<Duration> {
        self.all.quantile(0.50)
    }

    pub(crate) fn status(&self, kind: ModelKind) -> ModelStatus {
        let [p50, p95, p99] = [0.50, 0.95, 0.99].map(|q| self.all.quantile(q));
        ModelStatus { kind, circuit: self.circuit.state(), p50, p95, p99 }
    }

    fn forget(&self) {
        self.circuit.reset();
        self.by_length.iter().map(|class| &class.latency).chain([&self.all]).for_each(LatencyEstimate::forget);
    }
}

impl LengthClass {
    fn renewal(&self) -> MutexGuard<'_, Renewal> {
        self.renewal.lock().expect("no code panics while it holds this lock")
    }
}

/// About 32 and 128 tokens of English.
fn length_class(text_bytes: usize) -> usize {
    match text_bytes {
        0..=128 => 0,
        129..=512 => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: usize = 20;
    const LONG: usize = 2_000;

    #[tokio::test(start_paused = true)]
    async fn long_texts_do_not_speak_for_short_ones() {
        let health = ModelHealth::new(CircuitOptions::default());
        let hybrid = health.of(ModelKind::Hybrid);
        hybrid.record_latency(LONG, Duration::from_millis(300));
        hybrid.record_latency(SHORT, Duration::from_millis(2));
        let left = Duration::from_millis(100);
        assert_eq!(hybrid.p95_beyond(left, SHORT), None);
        assert!(hybrid.p95_beyond(left, LONG).is_some_and(|p95| p95 >= Duration::from_millis(300)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_in_two_seconds_finds_out_whether_a_slow_model_is_fast_again() {
        let health = ModelHealth::new(CircuitOptions::default());
        let hybrid = health.of(ModelKind::Hybrid);
        hybrid.record_latency(LONG, Duration::from_millis(300));
        let left_out = || hybrid.p95_beyond(Duration::from_millis(100), LONG).is_some();
        assert!(left_out());
        tokio::time::advance(STALE_AFTER).await;
        // Calls with texts of another length renew nothing.
        hybrid.record_latency(SHORT, Duration::from_millis(2));
        assert!(!left_out(), "the first finds out");
        assert!(left_out(), "the others do not wait with it");
        hybrid.record_latency(LONG, Duration::from_millis(2));
        assert!(!left_out(), "what it found out counts");
    }
}
