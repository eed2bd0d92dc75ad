//! What a model server must be able to say, whatever its dialect.

use std::fmt;

use intent_model::{Labels, Scores, calibration::energy};
use reqwest::{StatusCode, Url};

/// The dialect of a model server: bytes there, bytes back, no I/O.
pub(super) trait Protocol: fmt::Debug + Send + Sync {
    /// Where texts go by `POST`, as `application/json`.
    fn inference_url(&self) -> &Url;

    /// Asks for the scores of one text.
    fn question(&self, text: &str) -> Vec<u8>;

    /// Reads the scores of one text.
    ///
    /// # Errors
    /// What is wrong with the answer, for people.
    fn read_scores(&self, body: &[u8]) -> Result<LabelledScores, String>;

    /// Where the server tells by `GET` whether the model is ready.
    fn readiness_url(&self) -> &Url;

    /// Reads whether the model is ready.
    ///
    /// # Errors
    /// Why it is not, for people.
    fn read_readiness(&self, status: StatusCode, body: &[u8]) -> Result<(), String>;

    /// Tells what an answer other than 200 means.
    fn read_refusal(&self, status: StatusCode, body: &[u8]) -> Refusal;
}

/// Why a server did not answer a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The token is missing, wrong or too old.
    Unauthorised(String),
    /// It has too much to do.
    Overloaded(String),
    /// Anything else.
    Failed(String),
}

/// The scores of one text as a server gives them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LabelledScores {
    /// Label and score, in any order.
    pub(super) scores: Vec<(String, f32)>,
    /// What the scores are.
    pub(super) scale: Scale,
    /// Whether the end of the text was not read.
    pub(super) truncated: bool,
}

/// What scores are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// What the last layer gives.
    Logits,
    /// Their softmax.
    Probabilities,
}

/// The least probability that is told from none, so that its logarithm is finite.
const LEAST_PROBABILITY: f32 = 1e-12;

impl LabelledScores {
    /// Puts the scores in the order of `labels`. The logarithm of a probability stands for the logit: both have the same
    /// softmax, at every temperature. Only logits tell how foreign a text is.
    ///
    /// # Errors
    /// When a label is no intent, an intent has no score or two, or a score is out of range: nothing is guessed.
    pub(super) fn in_order_of(self, labels: &Labels) -> Result<Scores, String> {
        let mut logits = vec![None; labels.len()];
        for (label, score) in self.scores {
            let Some(place) = labels.index_of(&label) else {
                return Err(format!("the answer has the label {label:?}, which is no intent of the pack"));
            };
            let is_possible = match self.scale {
                Scale::Logits => score.is_finite(),
                Scale::Probabilities => (0.0..=1.0 + 1e-3).contains(&score),
            };
            if !is_possible {
                return Err(format!("the answer gives `{label}` the score {score}"));
            }
            let logit = match self.scale {
                Scale::Logits => score,
                Scale::Probabilities => score.max(LEAST_PROBABILITY).ln(),
            };
            if logits[place].replace(logit).is_some() {
                return Err(format!("the answer has the label `{label}` twice"));
            }
        }
        if let Some(missing) = logits.iter().position(Option::is_none) {
            return Err(format!("the answer has no score for the intent `{}`", labels.name(missing)));
        }
        let logits: Vec<f32> = logits.into_iter().flatten().collect();
        let out_of_scope = (self.scale == Scale::Logits).then(|| energy(&logits));
        Ok(Scores { out_of_scope, truncated: self.truncated, ..Scores::from_logits(logits) })
    }
}

/// Takes what a server says of an error into a message: short, one line, nothing that moves a cursor.
pub(super) fn quote(message: &str) -> String {
    const LONGEST: usize = 200;
    let plain = message.chars().map(|character| if character.is_control() { ' ' } else { character });
    plain.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        Labels::new(["refund", "greeting"])
    }

    fn scores(scale: Scale, scores: &[(&str, f32)]) -> LabelledScores {
        let scores = scores.iter().map(|(label, score)| ((*label).to_owned(), *score)).collect();
        LabelledScores { scores, scale, truncated: false }
    }

    #[test]
    fn scores_are_put_in_the_order_of_the_intents() {
        let given = scores(Scale::Logits, &[("greeting", -1.0), ("refund", 2.0)]);
        let mapped = given.in_order_of(&labels()).expect("the labels are the intents");
        assert_eq!(mapped.logits, [2.0, -1.0]);
        assert!(mapped.out_of_scope.is_some());
    }

    #[test]
    fn probabilities_come_out_as_they_went_in() {
        let given = scores(Scale::Probabilities, &[("greeting", 0.2), ("refund", 0.8)]);
        let mapped = given.in_order_of(&labels()).expect("the labels are the intents");
        let confidences = intent_model::Calibration::IDENTITY.apply(&mapped).confidences;
        assert!((confidences[0] - 0.8).abs() < 1e-6, "{confidences:?}");
        assert_eq!(mapped.out_of_scope, None);
        let certain = scores(Scale::Probabilities, &[("greeting", 0.0), ("refund", 1.0)]);
        assert!(certain.in_order_of(&labels()).expect("0 is possible").logits.iter().all(|logit| logit.is_finite()));
    }

    #[test]
    fn what_does_not_fit_the_intents_is_refused_and_nothing_is_guessed() {
        let cases = [
            (scores(Scale::Logits, &[("refund", 1.0)]), "no score for the intent `greeting`"),
            (
                scores(Scale::Logits, &[("refund", 1.0), ("greeting", 0.0), ("poem", 0.0)]),
                "\"poem\", which is no intent",
            ),
            (scores(Scale::Logits, &[("refund", 1.0), ("refund", 0.0)]), "`refund` twice"),
            (scores(Scale::Logits, &[("Refund", 1.0), ("greeting", 0.0)]), "\"Refund\", which is no intent"),
            (scores(Scale::Logits, &[("refund", f32::NAN), ("greeting", 0.0)]), "`refund` the score NaN"),
            (scores(Scale::Probabilities, &[("refund", 1.5), ("greeting", 0.0)]), "`refund` the score 1.5"),
            (scores(Scale::Probabilities, &[("refund", -0.1), ("greeting", 0.0)]), "`refund` the score -0.1"),
            (scores(Scale::Logits, &[]), "no score for the intent `refund`"),
        ];
        for (given, reason) in cases {
            let message = given.in_order_of(&labels()).expect_err(reason);
            assert!(message.contains(reason), "{message}");
        }
    }
}
