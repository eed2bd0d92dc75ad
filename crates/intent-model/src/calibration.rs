//! From raw scores to calibrated confidence.

use serde::{Deserialize, Serialize};

use crate::Scores;

/// What turns one model's scores into probabilities and decisions; fitted at training, stored beside the model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// What turns logits into confidences.
    #[serde(flatten)]
    pub scaling: Scaling,
    /// Decides what is out of scope; `None` when the model cannot tell.
    pub out_of_scope: Option<OutOfScopeGate>,
    /// The confidence from which the router takes this model's answer, 0 to 1.
    pub accept_threshold: f32,
}

/// What turns the logits of a text into one probability per label.
///
/// The confidence of a label is proportional to `sigmoid(logit / temperature + shift)`: Platt's sigmoid, the same one
/// for all labels, normalised (Zadrozny and Elkan 2002, "Transforming Classifier Scores into Accurate Multiclass
/// Probability Estimates"). One-against-rest classifiers claim a text or do not: beyond some margin more of it says no
/// more, which the sigmoid knows and the softmax does not. Without a shift this is the softmax of the divided logits
/// (Guo et al. 2017, "On Calibration of Modern Neural Networks"), the limit of ever lower shifts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Divides the logits; above 0.
    pub temperature: f32,
    /// Added to the divided logits before the sigmoid; `None` for a softmax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<f32>,
}

impl Scaling {
    /// The softmax of the logits as they are.
    pub const IDENTITY: Self = Self { temperature: 1.0, shift: None };

    /// Returns one confidence per label, summing to 1, in the order of the logits.
    pub fn confidences(self, logits: &[f32]) -> Vec<f32> {
        let Some(shift) = self.shift else { return softmax(logits, self.temperature) };
        let log_sigmoids: Vec<f32> = logits.iter().map(|logit| log_sigmoid(logit / self.temperature + shift)).collect();
        softmax(&log_sigmoids, 1.0)
    }
}

/// A threshold on a model's out-of-scope score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutOfScopeGate {
    /// Scores above it are out of scope.
    pub threshold: f32,
    /// How far above the threshold the probability of being out of scope reaches 73 %; above 0.
    pub scale: f32,
}

/// What a calibrated model says of one text.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// One probability per label, summing to 1: how likely each intent is, given that the text is in scope.
    pub confidences: Vec<f32>,
    /// The probability, above 0.5, that the text is out of scope, when that is the answer.
    pub out_of_scope: Option<f32>,
}

impl Calibration {
    /// The calibration of a model whose softmax is taken as it is and that rejects nothing.
    pub const IDENTITY: Self = Self { scaling: Scaling::IDENTITY, out_of_scope: None, accept_threshold: 0.0 };

    /// The calibration of rules: a rule's weight is its confidence already, and a text that no rule matches is out of
    /// scope as far as rules can tell.
    pub const RULES: Self = Self {
        scaling: Scaling::IDENTITY,
        out_of_scope: Some(OutOfScopeGate { threshold: 0.5, scale: 0.25 }),
        accept_threshold: 0.85,
    };

    /// Turns scores into probabilities.
    pub fn apply(&self, scores: &Scores) -> Prediction {
        let out_of_scope = match (self.out_of_scope, scores.out_of_scope) {
            (Some(gate), Some(score)) if score > gate.threshold => Some(gate.probability(score)),
            _ => None,
        };
        Prediction { confidences: self.scaling.confidences(&scores.logits), out_of_scope }
    }
}

impl OutOfScopeGate {
    fn probability(&self, score: f32) -> f32 {
        1.0 / (1.0 + (-(score - self.threshold) / self.scale).exp())
    }
}

impl Prediction {
    /// Returns how sure the model is of its answer, 0 to 1.
    pub fn confidence(&self) -> f32 {
        self.out_of_scope.unwrap_or_else(|| self.confidences.iter().copied().fold(0.0, f32::max))
    }

    /// Returns the indices of the labels, likeliest first, ties in label order.
    pub fn ranking(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.confidences.len()).collect();
        order.sort_by(|&a, &b| self.confidences[b].total_cmp(&self.confidences[a]));
        order
    }
}

/// Returns `ln(sigmoid(x))`, without overflow.
fn log_sigmoid(x: f32) -> f32 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// Returns how foreign a text looks to a classifier, by the energy `-logsumexp(logits)` (Liu et al. 2020, "Energy-based
/// Out-of-distribution Detection"): high where no label gets much.
pub fn energy(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    -(most + logits.iter().map(|logit| (logit - most).exp()).sum::<f32>().ln())
}

/// Returns `softmax(logits / temperature)`.
pub fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut values: Vec<f32> = logits.iter().map(|logit| ((logit - max) / temperature).exp()).collect();
    let sum: f32 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confidences_sum_to_one_and_keep_the_order_of_the_logits() {
        for shift in [None, Some(-2.0), Some(3.0)] {
            let calibration = Calibration { scaling: Scaling { temperature: 0.5, shift }, ..Calibration::IDENTITY };
            let prediction = calibration.apply(&Scores::from_logits(vec![1.0, 3.0, 2.0]));
            assert!((prediction.confidences.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            assert_eq!(prediction.ranking(), [1, 2, 0]);
        }
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        assert_eq!(softmax(&[1e30, -1e30], 1.0), [1.0, 0.0]);
        assert_eq!(Scaling { temperature: 1.0, shift: Some(0.0) }.confidences(&[1e30, -1e30]), [1.0, 0.0]);
    }

    #[test]
    fn with_a_shift_labels_that_are_all_claimed_share_the_confidence() {
        let even = Scaling { temperature: 0.1, shift: Some(0.0) }.confidences(&[2.0, 1.5, -2.0]);
        assert!((even[0] - even[1]).abs() < 1e-3 && even[2] < 1e-3, "{even:?}");
        let low = Scaling { temperature: 0.1, shift: Some(-60.0) }.confidences(&[2.0, 1.5, -2.0]);
        let expected = Scaling { temperature: 0.1, shift: None }.confidences(&[2.0, 1.5, -2.0]);
        assert!(low.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4), "{low:?} and {expected:?}");
    }

    #[test]
    fn a_calibration_that_was_written_before_there_were_shifts_is_read() {
        let json = r#"{"temperature": 0.5, "out_of_scope": null, "accept_threshold": 0.9}"#;
        let read: Calibration = serde_json::from_str(json).expect("readable");
        assert_eq!(read.scaling, Scaling { temperature: 0.5, shift: None });
        assert_eq!(serde_json::to_string(&read).expect("writable"), json.replace(' ', ""));
    }

    #[test]
    fn a_score_above_the_gate_is_out_of_scope_with_more_than_even_odds() {
        let calibration =
            Calibration { out_of_scope: Some(OutOfScopeGate { threshold: 0.6, scale: 0.1 }), ..Calibration::IDENTITY };
        let foreign = |score| {
            calibration.apply(&Scores { out_of_scope: Some(score), ..Scores::from_logits(vec![0.0, 0.0]) }).out_of_scope
        };
        assert_eq!(foreign(0.6), None);
        assert!(foreign(0.61).is_some_and(|probability| probability > 0.5));
    }
}
