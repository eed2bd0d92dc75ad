//! How well foreign texts are told apart.

use intent_model::OutOfScopeGate;
use serde::Serialize;

use super::metrics::{Interval, auroc, quantile, wilson_interval};

/// What a model does with out-of-scope texts; these are the positives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutOfScopeMetrics {
    /// Out-of-scope texts.
    pub rows: usize,
    /// The chance that one of them has a higher score than a text in scope.
    pub auroc: f64,
    /// The share of them that the gate finds.
    pub recall: f64,
    /// Its 95 % interval.
    pub recall_interval: Interval,
    /// The share of in-scope texts that the gate takes for foreign.
    pub false_positive_rate: f64,
    /// Of the texts that the gate takes for foreign, the share that is; 0 when there are none.
    pub precision: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// The share of in-scope texts that a gate would take for foreign if it were set to find 95 % of the foreign.
    pub false_positive_rate_at_95_recall: f64,
}

/// Describes a model by its out-of-scope scores; `None` without any on one side.
pub fn out_of_scope(in_scope: &[f32], foreign: &[f32], gate: Option<OutOfScopeGate>) -> Option<OutOfScopeMetrics> {
    let auroc = auroc(in_scope, foreign)?;
    let threshold = gate.map_or(f32::INFINITY, |gate| gate.threshold);
    let above = |scores: &[f32]| scores.iter().filter(|&&score| score > threshold).count();
    let (found, mistaken) = (above(foreign), above(in_scope));
    let loose = quantile(foreign, 0.05)?;
    let passed = in_scope.iter().filter(|&&score| score >= loose).count();
    Some(OutOfScopeMetrics {
        rows: foreign.len(),
        auroc,
        recall: found as f64 / foreign.len() as f64,
        recall_interval: wilson_interval(found, foreign.len()),
        false_positive_rate: mistaken as f64 / in_scope.len() as f64,
        precision: found as f64 / (found + mistaken).max(1) as f64,
        f1: 2.0 * found as f64 / (found + mistaken + foreign.len()) as f64,
        false_positive_rate_at_95_recall: passed as f64 / in_scope.len() as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_decides_who_is_found() {
        let gate = OutOfScopeGate { threshold: 0.5, scale: 1.0 };
        let metrics = out_of_scope(&[0.1, 0.2, 0.6, 0.3], &[0.4, 0.7, 0.9, 0.8], Some(gate)).expect("both sides");
        assert_eq!((metrics.recall, metrics.false_positive_rate, metrics.precision), (0.75, 0.25, 0.75));
        assert_eq!((metrics.auroc, metrics.false_positive_rate_at_95_recall), (15.0 / 16.0, 0.25));
        let never = out_of_scope(&[0.1], &[0.4], None).expect("both sides");
        assert_eq!((never.recall, never.precision), (0.0, 0.0));
    }
}
