//! Streaming estimates of how long things take.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// Buckets grow by a twentieth each, from one microsecond to more than ten minutes.
const BUCKETS: usize = 416;
const GROWTH: f64 = 1.05;
/// After so many observations all counts are halved, so that the estimate follows a change of speed.
const HALVE_AFTER: u16 = 1_024;

/// Quantiles of recent durations, within 5 %, in constant memory.
#[derive(Debug, Default)]
pub struct LatencyEstimate(Mutex<Histogram>);

#[derive(Debug)]
struct Histogram {
    counts: [u16; BUCKETS],
    total: u16,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], total: 0 }
    }
}

impl LatencyEstimate {
    /// Adds one observation.
    pub fn record(&self, duration: Duration) {
        let mut histogram = self.0.lock().expect("no code panics while it holds this lock");
        histogram.counts[bucket(duration)] += 1;
        histogram.total += 1;
        if histogram.total >= HALVE_AFTER {
            histogram.counts.iter_mut().for_each(|count| *count /= 2);
            histogram.total = histogram.counts.iter().sum();
        }
    }

    /// Forgets all observations.
    pub fn forget(&self) {
        *self.0.lock().expect("no code panics while it holds this lock") = Histogram::default();
    }

    /// Returns the upper edge of the bucket that holds quantile `q` (0 to 1); `None` before the first observation.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let histogram = self.0.lock().expect("no code panics while it holds this lock");
        let rank = (q * f64::from(histogram.total)).ceil().max(1.0) as u16;
        let mut seen = 0;
        histogram
            .counts
            .iter()
            .position(|count| {
                seen += count;
                seen >= rank
            })
            .map(upper_edge)
    }
}

fn bucket(duration: Duration) -> usize {
    let micros = duration.as_secs_f64() * 1e6;
    if micros <= 1.0 { 0 } else { (micros.ln() / GROWTH.ln()).ceil() as usize }.min(BUCKETS - 1)
}

fn upper_edge(bucket: usize) -> Duration {
    Duration::from_secs_f64(GROWTH.powi(bucket as i32) / 1e6)
}

/// How many texts are answered per second while there are any to answer.
#[derive(Debug, Default)]
pub struct Throughput {
    busy_since: Option<Instant>,
    busy: Duration,
    texts: usize,
    per_second: Option<f64>,
}

impl Throughput {
    const WINDOW: Duration = Duration::from_secs(1);

    /// Says that there is work from now on; time without any says nothing of the speed.
    pub fn resume(&mut self) {
        self.busy_since.get_or_insert_with(Instant::now);
    }

    /// Counts texts that left now; `is_idle` when they were the last.
    pub fn record(&mut self, texts: usize, is_idle: bool) {
        let now = Instant::now();
        self.texts += texts;
        self.busy += self.busy_since.map_or(Duration::ZERO, |since| now - since);
        self.busy_since = (!is_idle).then_some(now);
        if self.busy >= Self::WINDOW {
            self.per_second = Some(self.texts as f64 / self.busy.as_secs_f64());
            (self.busy, self.texts) = (Duration::ZERO, 0);
        }
    }

    /// Estimates how long `texts` texts take; `None` while too little was measured.
    pub fn time_for(&self, texts: usize) -> Option<Duration> {
        let so_far = || (self.texts > 0 && !self.busy.is_zero()).then(|| self.texts as f64 / self.busy.as_secs_f64());
        let per_second = self.per_second.or_else(so_far)?;
        Some(Duration::try_from_secs_f64(texts as f64 / per_second).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_known_before_the_first_observation() {
        assert_eq!(LatencyEstimate::default().quantile(0.95), None);
    }

    #[test]
    fn the_estimate_follows_a_model_that_became_slow() {
        let estimate = LatencyEstimate::default();
        (0..2_000).for_each(|_| estimate.record(Duration::from_millis(2)));
        (0..2_000).for_each(|_| estimate.record(Duration::from_millis(80)));
        assert!(estimate.quantile(0.5).expect("there are observations") >= Duration::from_millis(80));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_for_waiting_texts_comes_from_the_measured_rate() {
        let mut throughput = Throughput::default();
        assert_eq!(throughput.time_for(300), None);
        throughput.resume();
        tokio::time::advance(Duration::from_secs(2)).await;
        throughput.record(200, true);
        assert_eq!(throughput.time_for(300), Some(Duration::from_secs(3)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_night_does_not_count_as_slow_work() {
        let mut throughput = Throughput::default();
        for _ in 0..2 {
            throughput.resume();
            tokio::time::advance(Duration::from_millis(500)).await;
            throughput.record(50, true);
            tokio::time::advance(Duration::from_secs(36_000)).await;
        }
        assert_eq!(throughput.time_for(100), Some(Duration::from_secs(1)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_a_twentieth_above_the_true_one(
            mut micros in prop::collection::vec(1_u64..10_000_000, 1..500), q in 0.01..1.0_f64,
        ) {
            let estimate = LatencyEstimate::default();
            micros.iter().for_each(|&value| estimate.record(Duration::from_micros(value)));
            micros.sort_unstable();
            let rank = ((q * micros.len() as f64).ceil() as usize).max(1) - 1;
            let estimated = estimate.quantile(q).expect("there are observations").as_secs_f64() * 1e6;
            let truth = micros[rank] as f64;
            prop_assert!(estimated >= truth * 0.999 && estimated <= truth * 1.051, "{estimated} for {truth}");
        }
    }
}
