//! Streaming estimates of how long things take.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

/// Buckets grow by a quarter each, from one microsecond to more than ten minutes.
const BUCKETS: usize = 92;
const GROWTH: f64 = 1.25;
/// After so many observations all counts are halved, so that the estimate follows a change of speed.
const HALVE_AFTER: u64 = 1_024;

/// Quantiles of recent durations, within 25 %, in constant memory.
#[derive(Debug, Default)]
pub struct LatencyEstimate(Mutex<Histogram>);

#[derive(Debug)]
struct Histogram {
    counts: [u64; BUCKETS],
    total: u64,
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
        let rank = (q * histogram.total as f64).ceil().max(1.0) as u64;
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

/// How many texts leave the engine per second, lately.
#[derive(Debug, Default)]
pub struct Throughput(Mutex<Rate>);

#[derive(Debug, Default)]
struct Rate {
    window: Option<Instant>,
    texts: usize,
    per_second: Option<f64>,
}

impl Throughput {
    const WINDOW: Duration = Duration::from_secs(1);

    /// Counts texts that were answered now.
    pub fn record(&self, texts: usize) {
        let now = Instant::now();
        let mut rate = self.0.lock().expect("no code panics while it holds this lock");
        let began = *rate.window.get_or_insert(now);
        rate.texts += texts;
        let elapsed = now - began;
        if elapsed >= Self::WINDOW {
            rate.per_second = Some(rate.texts as f64 / elapsed.as_secs_f64());
            rate.window = Some(now);
            rate.texts = 0;
        }
    }

    /// Estimates how long `texts` texts take; zero while nothing was measured yet.
    pub fn time_for(&self, texts: usize) -> Duration {
        let rate = self.0.lock().expect("no code panics while it holds this lock");
        match rate.per_second {
            Some(per_second) if per_second > 0.0 => {
                Duration::try_from_secs_f64(texts as f64 / per_second).unwrap_or(Duration::MAX)
            }
            _ => Duration::ZERO,
        }
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
        let throughput = Throughput::default();
        throughput.record(0);
        tokio::time::advance(Duration::from_secs(2)).await;
        throughput.record(200);
        assert_eq!(throughput.time_for(300), Duration::from_secs(3));
    }

    proptest! {
        #[test]
        fn a_quantile_is_at_most_a_quarter_above_the_true_one(
            mut micros in prop::collection::vec(1_u64..10_000_000, 1..500), q in 0.01..1.0_f64,
        ) {
            let estimate = LatencyEstimate::default();
            micros.iter().for_each(|&value| estimate.record(Duration::from_micros(value)));
            micros.sort_unstable();
            let rank = ((q * micros.len() as f64).ceil() as usize).max(1) - 1;
            let estimated = estimate.quantile(q).expect("there are observations").as_secs_f64() * 1e6;
            let truth = micros[rank] as f64;
            prop_assert!(estimated >= truth * 0.999 && estimated <= truth * 1.251, "{estimated} for {truth}");
        }
    }
}
