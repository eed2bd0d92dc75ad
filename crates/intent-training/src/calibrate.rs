//! Fits what turns scores into confidence and decisions, on predictions for rows the model was not trained on.

use intent_model::{OutOfScopeGate, calibration::Scaling};
use rayon::prelude::*;

use crate::evaluation::metrics::{argmax, quantile};

/// Returns the scaling at which the logits explain the labels best (least negative log-likelihood): a temperature, and
/// a shift where that explains them better by more than chance would. No rows give the identity.
pub fn fit_scaling(logits: &[Vec<f32>], labels: &[u32]) -> Scaling {
    /// Half the 99.9 % quantile of chi-squared with one degree of freedom: by the likelihood-ratio test, what a
    /// needless parameter hardly ever gains, in nats over all rows.
    const WORTH_A_PARAMETER: f64 = 5.41;
    const SHIFTS: (f32, f32) = (-6.0, 4.0);
    if logits.is_empty() {
        return Scaling::IDENTITY;
    }
    let loss = |scaling: Scaling| negative_log_likelihood(logits, labels, scaling);
    let softmax = fit_temperature(logits, labels);
    let centre = softmax.temperature.ln();
    let with = |shift: f32| {
        let scaling = |log_temperature: f32| Scaling { temperature: log_temperature.exp(), shift: Some(shift) };
        // What saturates must be steeper before it does.
        scaling(minimum(centre - 2.5, centre + 0.5, 0.01, |at| loss(scaling(at))))
    };
    let shifted = with(minimum(SHIFTS.0, SHIFTS.1, 0.1, |shift| loss(with(shift))));
    let gain = (loss(softmax) - loss(shifted)) * logits.len() as f64;
    if gain > WORTH_A_PARAMETER { shifted } else { softmax }
}

/// Returns the best scaling without a shift.
pub fn fit_temperature(logits: &[Vec<f32>], labels: &[u32]) -> Scaling {
    const FARTHEST: f32 = 3.0 * std::f32::consts::LN_10;
    let softmax = |log_temperature: f32| Scaling { temperature: log_temperature.exp(), shift: None };
    softmax(minimum(-FARTHEST, FARTHEST, 1e-4, |at| negative_log_likelihood(logits, labels, softmax(at))))
}

/// Finds where a function with one minimum between `low` and `high` has it, to within `tolerance`, by golden-section
/// search.
fn minimum(mut low: f32, mut high: f32, tolerance: f32, value: impl Fn(f32) -> f64) -> f32 {
    const GOLDEN: f32 = 0.618_034;
    let (mut left, mut right) = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let (mut value_left, mut value_right) = (value(left), value(right));
    while high - low > tolerance {
        if value_left < value_right {
            (high, right, value_right) = (right, left, value_left);
            left = high - GOLDEN * (high - low);
            value_left = value(left);
        } else {
            (low, left, value_left) = (left, right, value_right);
            right = low + GOLDEN * (high - low);
            value_right = value(right);
        }
    }
    f32::midpoint(low, high)
}

/// Returns the mean negative log-likelihood of the labels, in nats.
pub fn negative_log_likelihood(logits: &[Vec<f32>], labels: &[u32], scaling: Scaling) -> f64 {
    let one = |(logits, &label): (&Vec<f32>, &u32)| {
        let confidence = scaling.confidences(logits)[label as usize];
        -f64::from(confidence.max(f32::MIN_POSITIVE)).ln()
    };
    // Summed in order, so that the result does not depend on the number of threads.
    let losses: Vec<f64> = logits.par_iter().zip(labels).map(one).collect();
    losses.iter().sum::<f64>() / logits.len() as f64
}

/// Returns the mean squared distance of the confidences from the truth, summed over labels, 0 to 2 (Brier 1950).
pub fn brier(logits: &[Vec<f32>], labels: &[u32], scaling: Scaling) -> f64 {
    let one = |(logits, &label): (&Vec<f32>, &u32)| squared_distance(&scaling.confidences(logits), label as usize);
    logits.iter().zip(labels).map(one).sum::<f64>() / logits.len().max(1) as f64
}

/// Returns the squared distance of confidences from certainty of `label`.
pub(crate) fn squared_distance(confidences: &[f32], label: usize) -> f64 {
    let truth = |at: usize| if at == label { 1.0 } else { 0.0 };
    confidences.iter().enumerate().map(|(at, &confidence)| (f64::from(confidence) - truth(at)).powi(2)).sum()
}

/// Returns the confidence of each row's likeliest label and whether it is right.
pub fn answers(logits: &[Vec<f32>], labels: &[u32], scaling: Scaling) -> Vec<(f32, bool)> {
    let one = |(logits, &label): (&Vec<f32>, &u32)| {
        let confidences = scaling.confidences(logits);
        let best = argmax(&confidences);
        (confidences[best], best == label as usize)
    };
    logits.iter().zip(labels).map(one).collect()
}

/// A threshold on confidence, and what it does on the rows it was solved on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AcceptThreshold {
    /// Answers with at least this confidence are accepted; above 1 when no threshold keeps the target.
    pub threshold: f32,
    /// The share of rows accepted.
    pub coverage: f64,
    /// The share of accepted rows that are wrong.
    pub error: f64,
}

/// Solves for the lowest threshold at which no more than `target_error` of the accepted answers are wrong.
///
/// `answers` holds confidence and correctness of each row.
pub fn solve_accept_threshold(answers: &[(f32, bool)], target_error: f64) -> AcceptThreshold {
    let mut sorted = answers.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut best = AcceptThreshold { threshold: NEVER, coverage: 0.0, error: 0.0 };
    let mut wrong = 0;
    for (at, &(confidence, correct)) in sorted.iter().enumerate() {
        wrong += usize::from(!correct);
        let accepted = at + 1;
        let tied = sorted.get(accepted).is_some_and(|next| next.0 == confidence);
        let error = wrong as f64 / accepted as f64;
        if !tied && error <= target_error {
            best = AcceptThreshold { threshold: confidence, coverage: accepted as f64 / sorted.len() as f64, error };
        }
    }
    best
}

/// Solves for the lowest threshold at which taking the answers above it, instead of asking a better model, loses no more
/// than the share `max_loss` of all rows.
///
/// `answers` holds confidence and correctness of each row, `better` whether the better model is right on it.
pub fn solve_cascade_threshold(answers: &[(f32, bool)], better: &[bool], max_loss: f64) -> f32 {
    let mut sorted: Vec<(f32, i64)> = answers
        .iter()
        .zip(better)
        .map(|(&(confidence, is_right), &is_better_right)| {
            (confidence, i64::from(is_better_right) - i64::from(is_right))
        })
        .collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut threshold, mut lost) = (NEVER, 0);
    for (at, &(confidence, loss)) in sorted.iter().enumerate() {
        lost += loss;
        let tied = sorted.get(at + 1).is_some_and(|next| next.0 == confidence);
        if !tied && lost as f64 <= max_loss * sorted.len() as f64 {
            threshold = confidence;
        }
    }
    threshold
}

/// A threshold that no confidence reaches.
const NEVER: f32 = 1.01;

/// Sets the out-of-scope gate so that it keeps the share `retention` of the in-scope rows.
///
/// `in_scope` and `foreign` hold out-of-scope scores; `foreign` may be empty. The scale, which only says how sure the
/// answer `out_of_scope` is, is half the distance from the threshold to the median of the foreign scores, or, without
/// any, to the median of those in scope. `None` when there are no scores.
pub fn fit_gate(in_scope: &[f32], foreign: &[f32], retention: f64) -> Option<OutOfScopeGate> {
    let threshold = quantile(in_scope, retention)?;
    let typical = quantile(foreign, 0.5).filter(|&median| median > threshold).or_else(|| quantile(in_scope, 0.5))?;
    let scale = ((typical - threshold).abs() / 2.0).max(1e-3);
    Some(OutOfScopeGate { threshold, scale })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_temperature_that_made_the_labels_is_found_again() {
        // At temperature 2, logits (2 ln 3, 0) mean 3 to 1.
        let logits = vec![vec![2.0 * 3.0_f32.ln(), 0.0]; 4];
        let scaling = fit_scaling(&logits, &[0, 0, 0, 1]);
        assert!((scaling.temperature - 2.0).abs() < 0.01 && scaling.shift.is_none(), "{scaling:?}");
        assert_eq!(fit_scaling(&[], &[]), Scaling::IDENTITY);
    }

    #[test]
    fn the_confidences_that_made_the_labels_are_found_again() {
        // Of every kind of row, each label as often as the scaling says.
        let truth = Scaling { temperature: 0.2, shift: Some(0.5) };
        let kinds = [[1.2, 0.9, -1.0], [0.4, 0.1, -0.9], [1.5, -0.2, -1.1], [-0.3, -0.6, -0.8], [-0.9, -1.0, -1.1]];
        let (mut logits, mut labels) = (Vec::new(), Vec::new());
        for kind in kinds {
            for (label, confidence) in (0..).zip(truth.confidences(&kind)) {
                let rows = (confidence * 400.0).round() as usize;
                logits.extend(std::iter::repeat_n(kind.to_vec(), rows));
                labels.extend(std::iter::repeat_n(label, rows));
            }
        }
        let found = fit_scaling(&logits, &labels);
        assert!(found.shift.is_some(), "{found:?}");
        for kind in kinds {
            for (found, truth) in found.confidences(&kind).into_iter().zip(truth.confidences(&kind)) {
                assert!((found - truth).abs() < 0.02, "{found} is not {truth}");
            }
        }
    }

    #[test]
    fn the_threshold_accepts_as_much_as_the_target_error_allows() {
        let answers = [(0.9, true), (0.8, true), (0.7, false), (0.6, true), (0.5, true), (0.4, false)];
        let solved = solve_accept_threshold(&answers, 0.2);
        assert_eq!(solved, AcceptThreshold { threshold: 0.5, coverage: 5.0 / 6.0, error: 0.2 });
        assert_eq!(solve_accept_threshold(&[(0.9, false)], 0.02).coverage, 0.0);
    }

    #[test]
    fn doubt_and_error_cost_by_the_square() {
        // Even odds miss each of two labels by a half; a sure and wrong answer misses both by one.
        assert!((brier(&[vec![0.0, 0.0]], &[1], Scaling::IDENTITY) - 0.5).abs() < 1e-6);
        assert!((brier(&[vec![0.0, 0.0], vec![99.0, 0.0]], &[1, 1], Scaling::IDENTITY) - 1.25).abs() < 1e-6);
    }

    #[test]
    fn a_cascade_accepts_where_the_better_model_would_gain_nothing() {
        let answers = [(0.9, true), (0.8, false), (0.7, true), (0.6, false), (0.5, false)];
        let better = [true, false, true, true, true];
        assert_eq!(solve_cascade_threshold(&answers, &better, 0.0), 0.7, "both are wrong at 0.8: nothing is lost");
        assert_eq!(solve_cascade_threshold(&answers, &better, 0.2), 0.6);
        assert_eq!(solve_cascade_threshold(&[(0.9, false)], &[true], 0.5), NEVER);
    }

    proptest! {
        #[test]
        fn a_cascade_loses_no_more_than_it_may(
            rows in prop::collection::vec(((0_u8..20).prop_map(|c| f32::from(c) / 20.0), any::<bool>(), any::<bool>()), 0..60),
            max_loss in 0.0_f64..0.5,
        ) {
            let answers: Vec<(f32, bool)> = rows.iter().map(|row| (row.0, row.1)).collect();
            let better: Vec<bool> = rows.iter().map(|row| row.2).collect();
            let threshold = solve_cascade_threshold(&answers, &better, max_loss);
            let right = |own: bool, better: bool, confidence: f32| if confidence >= threshold { own } else { better };
            let cascade = rows.iter().filter(|row| right(row.1, row.2, row.0)).count() as f64;
            let alone = better.iter().filter(|&&is_right| is_right).count() as f64;
            prop_assert!(alone - cascade <= max_loss * rows.len() as f64 + 1e-9);
        }

        #[test]
        fn what_a_solved_threshold_accepts_keeps_the_target(
            answers in prop::collection::vec(((0_u8..20).prop_map(|c| f32::from(c) / 20.0), any::<bool>()), 0..60),
            target in 0.0_f64..1.0,
        ) {
            let solved = solve_accept_threshold(&answers, target);
            let accepted: Vec<bool> =
                answers.iter().filter(|answer| answer.0 >= solved.threshold).map(|answer| answer.1).collect();
            let wrong = accepted.iter().filter(|&&correct| !correct).count();
            prop_assert!(wrong as f64 <= target * accepted.len() as f64 + 1e-9);
            prop_assert!((accepted.len() as f64 - solved.coverage * answers.len() as f64).abs() < 1e-6);
        }

        #[test]
        fn a_gate_keeps_the_share_it_was_asked_to_keep(scores in prop::collection::vec(-5.0_f32..5.0, 1..100), retention in 0.5_f64..1.0) {
            let gate = fit_gate(&scores, &[], retention).expect("there are scores");
            let kept = scores.iter().filter(|&&score| score <= gate.threshold).count();
            prop_assert!(kept as f64 >= retention * scores.len() as f64 - 1e-9);
            prop_assert!(gate.scale > 0.0);
        }
    }
}
