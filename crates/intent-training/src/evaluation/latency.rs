//! How long a model takes for one text.

use std::time::Instant;

use intent_model::{Document, Model, ModelError};
use serde::Serialize;

use super::metrics::quantile;

/// How many texts are timed; spread evenly over the rows.
const TIMED_TEXTS: usize = 500;
/// How many texts are scored first, untimed, so that caches and buffers are warm.
const WARM_UP_TEXTS: usize = 20;

/// Milliseconds for one text alone, on one thread, encoder included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencyMs {
    /// Half of the texts take no longer.
    pub p50: f64,
    /// 95 % of the texts take no longer.
    pub p95: f64,
    /// 99 % of the texts take no longer.
    pub p99: f64,
    /// How many texts were timed.
    pub texts: usize,
}

/// Times single texts.
///
/// # Errors
/// As [`Model::score`].
pub fn measure(model: &dyn Model, texts: &[&str]) -> Result<LatencyMs, ModelError> {
    let step = texts.len().div_ceil(TIMED_TEXTS).max(1);
    for text in texts.iter().step_by(step).take(WARM_UP_TEXTS) {
        model.score(&[&Document::new(*text)])?;
    }
    let mut milliseconds = Vec::with_capacity(TIMED_TEXTS);
    for text in texts.iter().step_by(step) {
        let document = Document::new(*text);
        let began = Instant::now();
        model.score(&[&document])?;
        milliseconds.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    let at = |share: f64| quantile(&milliseconds, share).unwrap_or(0.0);
    Ok(LatencyMs { p50: at(0.5), p95: at(0.95), p99: at(0.99), texts: milliseconds.len() })
}
