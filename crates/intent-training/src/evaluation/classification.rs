//! Right and wrong answers: by intent, and which intents are taken for each other.

use std::collections::BTreeMap;

use intent_model::Labels;
use serde::Serialize;

use super::metrics::{Interval, wilson_interval};

/// What is true of one intent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntentMetrics {
    /// Rows that have this intent.
    pub rows: usize,
    /// Of the answers that name this intent, the share that is right; 0 when there are none.
    pub precision: f64,
    /// Of the rows that have this intent, the share that is found.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// The 95 % interval of the precision.
    pub precision_interval: Interval,
    /// The 95 % interval of the recall.
    pub recall_interval: Interval,
    /// The 95 % interval of the F1, from that of the share of right answers among all rows that have or get the intent.
    pub f1_interval: Interval,
    /// What rows of this intent are taken for, most frequent first.
    pub confused_with: Vec<Confusion>,
}

/// How often one intent is taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// The intent answered.
    pub intent: String,
    /// How often.
    pub rows: usize,
}

/// Counts of actual (row) and answered (column) labels.
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    labels: Labels,
    counts: Vec<usize>,
}

impl ConfusionMatrix {
    /// Counts pairs of actual and answered label.
    pub fn count(labels: &Labels, pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut matrix = Self { labels: labels.clone(), counts: vec![0; labels.len() * labels.len()] };
        for (actual, answered) in pairs {
            matrix.counts[actual * labels.len() + answered] += 1;
        }
        matrix
    }

    /// Returns how many rows of label `actual` were answered with `answered`.
    pub fn at(&self, actual: usize, answered: usize) -> usize {
        self.counts[actual * self.labels.len() + answered]
    }

    /// Returns the intents in the order of rows and columns.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Returns how many rows have a label.
    pub fn rows_of(&self, actual: usize) -> usize {
        (0..self.labels.len()).map(|answered| self.at(actual, answered)).sum()
    }

    /// Describes every intent that rows have or get.
    pub fn per_intent(&self) -> BTreeMap<String, IntentMetrics> {
        let of = |label: usize| (self.labels.name(label).to_owned(), self.of_intent(label));
        (0..self.labels.len()).map(of).collect()
    }

    fn of_intent(&self, label: usize) -> IntentMetrics {
        let labels = 0..self.labels.len();
        let right = self.at(label, label);
        let rows = self.rows_of(label);
        let answered: usize = labels.clone().map(|actual| self.at(actual, label)).sum();
        let mut confused_with: Vec<Confusion> = labels
            .filter(|&other| other != label && self.at(label, other) > 0)
            .map(|other| Confusion { intent: self.labels.name(other).to_owned(), rows: self.at(label, other) })
            .collect();
        confused_with.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.intent.cmp(&b.intent)));
        // F1 = 2 J / (1 + J) of the Jaccard index J = right / (rows with or answered with the intent), a plain share.
        let overlap = wilson_interval(right, rows + answered - right);
        let f1_of = |jaccard: f64| 2.0 * jaccard / (1.0 + jaccard);
        IntentMetrics {
            rows,
            precision: share(right, answered),
            recall: share(right, rows),
            f1: share(2 * right, rows + answered),
            precision_interval: wilson_interval(right, answered),
            recall_interval: wilson_interval(right, rows),
            f1_interval: Interval { low: f1_of(overlap.low), high: f1_of(overlap.high) },
            confused_with,
        }
    }
}

/// Returns the mean F1 over the intents that have rows, each counting the same.
pub fn macro_f1(per_intent: &BTreeMap<String, IntentMetrics>) -> f64 {
    let present: Vec<f64> = per_intent.values().filter(|intent| intent.rows > 0).map(|intent| intent.f1).collect();
    present.iter().sum::<f64>() / present.len().max(1) as f64
}

/// Returns the mean F1 over the intents, each counting as often as it has rows.
pub fn weighted_f1(per_intent: &BTreeMap<String, IntentMetrics>) -> f64 {
    let rows: usize = per_intent.values().map(|intent| intent.rows).sum();
    per_intent.values().map(|intent| intent.f1 * intent.rows as f64).sum::<f64>() / rows.max(1) as f64
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intents_are_described_by_precision_recall_and_what_they_are_taken_for() {
        let labels = Labels::new(["a", "b", "c"]);
        let pairs = [(0, 0), (0, 0), (0, 1), (0, 2), (0, 2), (1, 1), (1, 0)];
        let per_intent = ConfusionMatrix::count(&labels, pairs).per_intent();
        let a = &per_intent["a"];
        assert_eq!((a.rows, a.recall, a.precision), (5, 0.4, 2.0 / 3.0));
        assert!((a.f1 - 0.5).abs() < 1e-12 && a.f1_interval.low < 0.5 && a.f1_interval.high > 0.5, "{a:?}");
        let confused: Vec<(&str, usize)> =
            a.confused_with.iter().map(|with| (with.intent.as_str(), with.rows)).collect();
        assert_eq!(confused, [("c", 2), ("b", 1)]);
        assert!((macro_f1(&per_intent) - 0.5).abs() < 1e-12, "c has no rows and does not count");
        assert!((weighted_f1(&per_intent) - 0.5).abs() < 1e-12);
    }
}
