//! The basic figures, as pure functions of numbers.

use serde::Serialize;

/// A share with its 95 % confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end, 0 to 1.
    pub low: f64,
    /// The upper end, 0 to 1.
    pub high: f64,
}

/// How many standard deviations of a normal distribution hold 95 % of it, to either side.
pub const Z_95: f64 = 1.959_964;

/// Returns the 95 % interval of a share of which `hits` in `rows` were seen (Wilson 1927); of no rows, 0 to 1.
pub fn wilson_interval(hits: usize, rows: usize) -> Interval {
    const Z: f64 = Z_95;
    if rows == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (share, rows) = (hits as f64 / rows as f64, rows as f64);
    let denominator = 1.0 + Z * Z / rows;
    let centre = (share + Z * Z / (2.0 * rows)) / denominator;
    let half = Z * (share * (1.0 - share) / rows + Z * Z / (4.0 * rows * rows)).sqrt() / denominator;
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
}

/// Returns the index of the largest value, the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at)
}

/// Tells whether `label` is among the `k` largest of `values`; of equals, the first come first.
pub fn is_in_top(values: &[f32], label: usize, k: usize) -> bool {
    let own = values[label];
    let before = |&(at, &other): &(usize, &f32)| other > own || (other == own && at < label);
    values.iter().enumerate().filter(before).count() < k
}

/// Returns the share of rows whose label has the highest value.
pub fn accuracy(rows: &[Vec<f32>], labels: &[u32]) -> f64 {
    let right = rows.iter().zip(labels).filter(|(row, label)| argmax(row) == **label as usize).count();
    right as f64 / labels.len().max(1) as f64
}

/// How many bins of equal width the expected calibration error has.
pub const CALIBRATION_BINS: usize = 15;

/// Returns the bin of a confidence.
pub fn calibration_bin(confidence: f32) -> usize {
    ((confidence * CALIBRATION_BINS as f32) as usize).min(CALIBRATION_BINS - 1)
}

/// Returns the expected calibration error: the mean distance of confidence and accuracy over bins of equal width,
/// weighted by their rows (Guo et al. 2017). `answers` holds confidence and correctness of each row.
pub fn expected_calibration_error(answers: &[(f32, bool)]) -> f64 {
    let mut sums = [(0.0_f64, 0.0_f64); CALIBRATION_BINS];
    for &(confidence, correct) in answers {
        let (confidences, hits) = &mut sums[calibration_bin(confidence)];
        *confidences += f64::from(confidence);
        *hits += f64::from(u8::from(correct));
    }
    sums.iter().map(|(confidences, hits)| (confidences - hits).abs()).sum::<f64>() / answers.len().max(1) as f64
}

/// Returns the chance that an out-of-scope text gets a higher score than one in scope, ties counting half: the area
/// under the ROC curve. `None` when either is missing.
pub fn auroc(in_scope: &[f32], foreign: &[f32]) -> Option<f64> {
    if in_scope.is_empty() || foreign.is_empty() {
        return None;
    }
    let mut sorted = in_scope.to_vec();
    sorted.sort_by(f32::total_cmp);
    let wins = |score: &f32| {
        let below = sorted.partition_point(|other| other < score);
        let not_above = sorted.partition_point(|other| other <= score);
        (below + not_above) as f64 / 2.0
    };
    Some(foreign.iter().map(wins).sum::<f64>() / (in_scope.len() * foreign.len()) as f64)
}

/// Returns the value below or at which the share `share` of the values lies; `None` of no values.
pub fn quantile<T: Copy + PartialOrd>(values: &[T], share: f64) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wilson_interval_is_that_of_the_textbook() {
        let interval = wilson_interval(8, 10);
        assert!((interval.low - 0.4902).abs() < 1e-4 && (interval.high - 0.9433).abs() < 1e-4, "{interval:?}");
        assert_eq!(wilson_interval(0, 0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn ties_go_to_the_first_label() {
        assert_eq!(argmax(&[0.2, 0.4, 0.4]), 1);
        assert!(is_in_top(&[0.4, 0.4, 0.2], 0, 1) && !is_in_top(&[0.4, 0.4, 0.2], 1, 1));
        assert!(is_in_top(&[0.4, 0.4, 0.2], 1, 2));
    }

    #[test]
    fn calibration_error_is_the_distance_of_confidence_and_accuracy() {
        let answers = [(0.9, true), (0.9, false), (0.6, true), (0.6, true)];
        assert!((expected_calibration_error(&answers) - (0.5 * 0.4 + 0.5 * 0.4)).abs() < 1e-6);
    }

    #[test]
    fn auroc_counts_ties_half() {
        assert_eq!(auroc(&[0.0, 1.0], &[1.0, 2.0]), Some(0.875));
        assert_eq!(auroc(&[], &[1.0]), None);
    }

    proptest! {
        #[test]
        fn auroc_of_swapped_sides_is_the_complement(
            a in prop::collection::vec(0_u8..9, 1..30), b in prop::collection::vec(0_u8..9, 1..30),
        ) {
            let scores = |values: &[u8]| -> Vec<f32> { values.iter().map(|&value| f32::from(value)).collect() };
            let one = auroc(&scores(&a), &scores(&b)).expect("both sides");
            let other = auroc(&scores(&b), &scores(&a)).expect("both sides");
            prop_assert!((one + other - 1.0).abs() < 1e-12);
        }

        #[test]
        fn an_interval_holds_the_share(hits in 0_usize..50, more in 0_usize..50) {
            let interval = wilson_interval(hits, hits + more);
            let share = hits as f64 / (hits + more).max(1) as f64;
            prop_assert!(interval.low <= share + 1e-9 && share <= interval.high + 1e-9);
        }

        #[test]
        fn a_quantile_leaves_its_share_behind(values in prop::collection::vec(0_u32..100, 1..50), share in 0.0_f64..1.0) {
            let found = quantile(&values, share).expect("there are values");
            let reached = values.iter().filter(|&&value| value <= found).count();
            prop_assert!(reached as f64 >= share * values.len() as f64);
        }
    }
}
