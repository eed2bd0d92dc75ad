//! Whether confidence can be trusted, and what may be decided on it.

use serde::Serialize;

use super::metrics::{CALIBRATION_BINS, calibration_bin};

/// Rows of similar confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReliabilityBin {
    /// The lowest confidence of the bin.
    pub from: f32,
    /// The confidence at which the next bin begins.
    pub to: f32,
    /// How many rows there are.
    pub rows: usize,
    /// Their mean confidence; 0 of no rows.
    pub confidence: f64,
    /// The share of right answers; 0 of no rows.
    pub accuracy: f64,
}

/// What accepting only answers of at least some confidence does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Acceptance {
    /// The lowest confidence accepted.
    pub threshold: f32,
    /// The share of rows accepted.
    pub coverage: f64,
    /// The share of accepted rows that are wrong; 0 when none is.
    pub error: f64,
}

/// How many right and wrong answers have a confidence within a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct HistogramBin {
    /// The lowest confidence of the bin; all are equally wide.
    pub from: f32,
    /// Right answers.
    pub right: usize,
    /// Wrong answers.
    pub wrong: usize,
}

/// Sorts answers (confidence and correctness) into bins of equal width.
pub fn reliability(answers: &[(f32, bool)]) -> Vec<ReliabilityBin> {
    let of = |bin: usize| {
        let rows: Vec<&(f32, bool)> = answers.iter().filter(|answer| calibration_bin(answer.0) == bin).collect();
        let mean =
            |value: fn(&(f32, bool)) -> f64| rows.iter().map(|row| value(row)).sum::<f64>() / rows.len().max(1) as f64;
        let edge = |bin: usize| bin as f32 / CALIBRATION_BINS as f32;
        ReliabilityBin {
            from: edge(bin),
            to: edge(bin + 1),
            rows: rows.len(),
            confidence: mean(|row| f64::from(row.0)),
            accuracy: mean(|row| f64::from(u8::from(row.1))),
        }
    };
    (0..CALIBRATION_BINS).map(of).collect()
}

/// Returns what accepting answers of at least `threshold` does.
pub fn acceptance(answers: &[(f32, bool)], threshold: f32) -> Acceptance {
    let accepted = answers.iter().filter(|answer| answer.0 >= threshold);
    let (rows, wrong) = accepted.fold((0, 0), |(rows, wrong), answer| (rows + 1, wrong + usize::from(!answer.1)));
    Acceptance {
        threshold,
        coverage: f64::from(rows) / answers.len().max(1) as f64,
        error: wrong as f64 / f64::from(rows.max(1)),
    }
}

/// Returns [`acceptance`] at thresholds from 0 to 0.99.
pub fn threshold_sweep(answers: &[(f32, bool)]) -> Vec<Acceptance> {
    let thresholds = (0..=18).map(|step| step as f32 * 0.05).chain([0.925, 0.95, 0.97, 0.98, 0.99]);
    thresholds.map(|threshold| acceptance(answers, threshold)).collect()
}

/// Returns [`acceptance`] of the surest 1 %, 2 % … 100 % of the answers (El-Yaniv and Wiener 2010).
pub fn risk_coverage(answers: &[(f32, bool)]) -> Vec<Acceptance> {
    let sorted = surest_first(answers);
    let mut wrong = 0;
    let mut points = Vec::new();
    for (at, answer) in sorted.iter().enumerate() {
        wrong += usize::from(!answer.1);
        let accepted = at + 1;
        if accepted * 100 / sorted.len() > at * 100 / sorted.len() {
            let coverage = accepted as f64 / sorted.len() as f64;
            points.push(Acceptance { threshold: answer.0, coverage, error: wrong as f64 / accepted as f64 });
        }
    }
    points
}

/// Returns the area under the risk-coverage curve: the mean error over all coverages, smaller is better.
pub fn area_under_risk_coverage(answers: &[(f32, bool)]) -> f64 {
    let mut wrong = 0;
    let errors = surest_first(answers).into_iter().enumerate().map(|(at, answer)| {
        wrong += usize::from(!answer.1);
        wrong as f64 / (at + 1) as f64
    });
    errors.sum::<f64>() / answers.len().max(1) as f64
}

/// Returns right and wrong answers by confidence, in 20 bins.
pub fn histogram(answers: &[(f32, bool)]) -> Vec<HistogramBin> {
    const BINS: usize = 20;
    let empty = |bin: usize| HistogramBin { from: bin as f32 / BINS as f32, ..HistogramBin::default() };
    let mut bins: Vec<HistogramBin> = (0..BINS).map(empty).collect();
    for &(confidence, correct) in answers {
        let bin = &mut bins[((confidence * BINS as f32) as usize).min(BINS - 1)];
        *(if correct { &mut bin.right } else { &mut bin.wrong }) += 1;
    }
    bins
}

fn surest_first(answers: &[(f32, bool)]) -> Vec<(f32, bool)> {
    let mut sorted = answers.to_vec();
    // Of equally sure answers the wrong come first, so that no order of the rows makes a model look better.
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    sorted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::evaluation::metrics::expected_calibration_error;

    proptest! {
        #[test]
        fn bins_and_curves_account_for_every_row(
            answers in prop::collection::vec(((0_u8..=20).prop_map(|c| f32::from(c) / 20.0), any::<bool>()), 1..250),
        ) {
            let wrong = answers.iter().filter(|answer| !answer.1).count();
            let bins = reliability(&answers);
            prop_assert_eq!(bins.iter().map(|bin| bin.rows).sum::<usize>(), answers.len());
            let gap: f64 = bins.iter().map(|bin| bin.rows as f64 * (bin.confidence - bin.accuracy).abs()).sum();
            prop_assert!((gap / answers.len() as f64 - expected_calibration_error(&answers)).abs() < 1e-6);
            let counted = histogram(&answers);
            prop_assert_eq!(counted.iter().map(|bin| bin.wrong).sum::<usize>(), wrong);

            let curve = risk_coverage(&answers);
            let last = curve.last().expect("there are rows");
            prop_assert_eq!((last.coverage, last.error), (1.0, wrong as f64 / answers.len() as f64));
            prop_assert!(curve.len() <= 100 && curve.is_sorted_by(|a, b| a.coverage < b.coverage));
            prop_assert_eq!(threshold_sweep(&answers)[0].error, last.error);
            prop_assert!(threshold_sweep(&answers).is_sorted_by(|a, b| a.coverage >= b.coverage));
        }
    }

    #[test]
    fn sure_wrong_answers_cost_more_area() {
        let good = area_under_risk_coverage(&[(0.9, true), (0.1, false)]);
        let bad = area_under_risk_coverage(&[(0.9, false), (0.1, true)]);
        assert_eq!((good, bad), (0.25, 0.75));
    }
}
