//! Whether one model is better than another, or only luckier on these rows.

use serde::Serialize;

use super::{EvaluationSet, ModelPredictions, metrics};

/// Two models on the same rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The model that is right more often; of equals, the one evaluated first.
    pub better: String,
    /// The other one.
    pub worse: String,
    /// Rows that both answer right.
    pub both_right: usize,
    /// Rows that only the better one answers right.
    pub better_only: usize,
    /// Rows that only the worse one answers right.
    pub worse_only: usize,
    /// Rows that both answer wrong.
    pub both_wrong: usize,
    /// By how much the accuracy of the better one is higher, 0 to 1.
    pub difference: f64,
    /// The 95 % interval of the difference (Agresti and Min 2005); below 0 means that the worse one may be better.
    pub difference_interval: DifferenceInterval,
    /// How likely a difference at least as large is if both are equally good: the exact McNemar test, two-sided.
    pub p_value: f64,
}

/// The 95 % interval of a difference of two shares.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DifferenceInterval {
    /// The lower end, -1 to 1.
    pub low: f64,
    /// The upper end, -1 to 1.
    pub high: f64,
}

impl Comparison {
    /// The probability below which a difference is said to be more than luck.
    pub const SIGNIFICANT: f64 = 0.05;

    /// Tells whether the difference is more than luck.
    pub fn is_significant(&self) -> bool {
        self.p_value < Self::SIGNIFICANT
    }
}

/// Compares every model with every other one, row by row, whatever the out-of-scope gates say.
pub fn compare_all(set: &EvaluationSet, models: &[ModelPredictions]) -> Vec<Comparison> {
    let right: Vec<(&str, Vec<bool>)> =
        models.iter().map(|model| (model.name.as_str(), right_rows(set, model))).collect();
    let pairs =
        right.iter().enumerate().flat_map(|(at, first)| right[at + 1..].iter().map(move |other| (first, other)));
    pairs.map(|(first, other)| compare(first, other)).collect()
}

fn right_rows(set: &EvaluationSet, model: &ModelPredictions) -> Vec<bool> {
    let rows = model.in_scope.iter().zip(&set.rows);
    rows.map(|(scored, row)| metrics::argmax(&scored.prediction.confidences) == row.label as usize).collect()
}

fn compare(first: &(&str, Vec<bool>), second: &(&str, Vec<bool>)) -> Comparison {
    let count = |wanted: (bool, bool)| {
        first.1.iter().zip(&second.1).filter(|(first, second)| (**first, **second) == wanted).count()
    };
    let (first_only, second_only) = (count((true, false)), count((false, true)));
    let ((better, better_only), (worse, worse_only)) = if first_only >= second_only {
        ((first.0, first_only), (second.0, second_only))
    } else {
        ((second.0, second_only), (first.0, first_only))
    };
    let rows = first.1.len();
    Comparison {
        better: better.to_owned(),
        worse: worse.to_owned(),
        both_right: count((true, true)),
        better_only,
        worse_only,
        both_wrong: count((false, false)),
        difference: (better_only - worse_only) as f64 / rows.max(1) as f64,
        difference_interval: difference_interval(better_only, worse_only, rows),
        p_value: exact_mcnemar(better_only, worse_only),
    }
}

/// Wald's interval after half a row was added to each of the four cells, which keeps its promise on few rows, too.
fn difference_interval(better_only: usize, worse_only: usize, rows: usize) -> DifferenceInterval {
    let (better, worse, rows) = (better_only as f64 + 0.5, worse_only as f64 + 0.5, rows as f64 + 2.0);
    let difference = (better - worse) / rows;
    let half = metrics::Z_95 * (better + worse - (better - worse).powi(2) / rows).sqrt() / rows;
    DifferenceInterval { low: (difference - half).max(-1.0), high: (difference + half).min(1.0) }
}

/// The chance that of `one + other` tosses of a fair coin at least `one.max(other)` fall on one side, whichever.
fn exact_mcnemar(one: usize, other: usize) -> f64 {
    let (tosses, fewer) = (one + other, one.min(other));
    // ln C(n, k) grows term by term, so that no binomial coefficient overflows.
    let mut term = -(tosses as f64) * std::f64::consts::LN_2;
    let mut tail = term.exp();
    for hits in 1..=fewer {
        term += ((tosses - hits + 1) as f64 / hits as f64).ln();
        tail += term.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(right: &str) -> Vec<bool> {
        right.chars().map(|row| row == '+').collect()
    }

    #[test]
    fn the_better_model_comes_first_with_the_rows_on_which_they_differ() {
        let comparison = compare(&("old", rows("+-+---+-")), &("new", rows("+++++-+-")));
        assert_eq!((comparison.better.as_str(), comparison.worse.as_str()), ("new", "old"));
        let cells = (comparison.both_right, comparison.better_only, comparison.worse_only, comparison.both_wrong);
        assert_eq!(cells, (3, 3, 0, 2));
        assert_eq!(comparison.difference, 0.375);
        assert!((comparison.p_value - 0.25).abs() < 1e-12, "{}", comparison.p_value);
        assert!(!comparison.is_significant());
    }

    #[test]
    fn the_test_is_that_of_the_textbook() {
        // Agresti, Categorical Data Analysis: of 10 discordant pairs, 1 against 9.
        assert!((exact_mcnemar(9, 1) - 22.0 / 1024.0).abs() < 1e-12);
        assert_eq!((exact_mcnemar(0, 0), exact_mcnemar(3, 3)), (1.0, 1.0));
        assert!(exact_mcnemar(4_000, 1_000) < 1e-300, "no overflow");
    }

    proptest! {
        #[test]
        fn an_interval_holds_its_difference_and_the_test_is_symmetric(one in 0_usize..80, other in 0_usize..80, more in 1_usize..300) {
            let interval = difference_interval(one, other, one + other + more);
            // Half a row in each cell pulls the centre towards 0, by less than the interval is wide.
            let difference = (one as f64 - other as f64) / (one + other + more) as f64;
            prop_assert!(interval.low <= difference && difference <= interval.high, "{difference} {interval:?}");
            prop_assert_eq!(exact_mcnemar(one, other), exact_mcnemar(other, one));
            prop_assert!((0.0..=1.0).contains(&exact_mcnemar(one, other)));
        }
    }
}
