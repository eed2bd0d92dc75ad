//! How to train.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FineTuneError;

/// The hyper-parameters of a run; two runs of the same options and data give the same parameters, bit for bit, on any
/// number of threads of the same kind of processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Times that every example is seen.
    pub epochs: usize,
    /// Examples per step.
    pub batch_size: usize,
    /// Highest learning rate of the head; reached after the warm-up, then falling to 0 in a straight line.
    pub learning_rate: f32,
    /// What the learning rate is multiplied with per layer away from the output, 0 to 1 (Howard and Ruder 2018,
    /// "discriminative fine-tuning").
    pub layer_decay: f32,
    /// Share of all steps in which the learning rate rises from 0.
    pub warm_up: f32,
    /// Decoupled weight decay (Loshchilov and Hutter 2019); biases, layer norms and embeddings are exempt.
    pub weight_decay: f32,
    /// The norm to which a longer gradient is shortened.
    pub clip_norm: f32,
    /// Share of the target that is spread over all labels (Szegedy et al. 2016).
    pub label_smoothing: f32,
    /// Share of values dropped in the encoder while training.
    pub dropout: f32,
    /// Share of values dropped before the last linear map while training.
    pub head_dropout: f32,
    /// Weight of the divergence between two runs of each example under two dropout masks (R-Drop); 0 for a single run,
    /// which takes half the time.
    pub consistency: f32,
    /// How much rare labels count: an example's weight is its label's share to the power of minus this. 0 counts
    /// examples alike, 1 counts labels alike.
    pub class_balance: f32,
    /// Epochs without a better validation accuracy after which training ends.
    pub patience: usize,
    /// Whether to train a second time on all rows, those that the epoch was chosen on included, for as many epochs as were
    /// best: twice the time for a model that has learnt from every row.
    pub refit: bool,
    /// Longest text in tokens; the rest of a longer one is not read while training.
    pub max_tokens: usize,
    /// Parts into which each batch is split, to be computed side by side and summed in fixed order.
    pub shards: usize,
    /// Where all randomness comes from.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            epochs: 12,
            batch_size: 32,
            learning_rate: 2e-4,
            layer_decay: 0.9,
            warm_up: 0.1,
            weight_decay: 0.01,
            clip_norm: 1.0,
            label_smoothing: 0.1,
            dropout: 0.1,
            head_dropout: 0.2,
            consistency: 0.0,
            class_balance: 0.5,
            patience: 4,
            refit: false,
            max_tokens: 64,
            shards: 2,
            seed: 13,
        }
    }
}

impl Options {
    /// Sets the option `name` to a value in decimal digits.
    ///
    /// # Errors
    /// [`FineTuneError::UnknownOption`], and [`FineTuneError::Option`] when the value is no number of its kind.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), FineTuneError> {
        let mut all = serde_json::to_value(&*self).expect("plain numbers always serialise");
        let known = all.as_object_mut().expect("a struct is an object");
        let Some(place) = known.get_mut(name) else {
            let known = known.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
            return Err(FineTuneError::UnknownOption { name: name.to_owned(), known });
        };
        let expected = match &*place {
            Value::Bool(_) => "true or false",
            number if number.is_f64() => "a number",
            _ => "a whole number, 0 or more",
        };
        let not_a_number = || FineTuneError::Option { name: name.to_owned(), value: value.to_owned(), expected };
        *place = serde_json::from_str(value).map_err(|_| not_a_number())?;
        *self = serde_json::from_value(all).map_err(|_| not_a_number())?;
        Ok(())
    }

    /// Checks that every value makes sense.
    pub(crate) fn check(&self) -> Result<(), FineTuneError> {
        let at_least_one = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("patience", self.patience),
            ("shards", self.shards),
        ];
        for (name, value) in at_least_one {
            expect(name, value, value >= 1, "at least 1")?;
        }
        expect("max_tokens", self.max_tokens, self.max_tokens >= 3, "at least 3: one token and the two special ones")?;
        let shares = [
            ("label_smoothing", self.label_smoothing),
            ("dropout", self.dropout),
            ("head_dropout", self.head_dropout),
            ("warm_up", self.warm_up),
        ];
        for (name, value) in shares {
            expect(name, value, (0.0..1.0).contains(&value), "0 or more and less than 1")?;
        }
        expect("layer_decay", self.layer_decay, self.layer_decay > 0.0 && self.layer_decay <= 1.0, "above 0, up to 1")?;
        for (name, value) in [("learning_rate", self.learning_rate), ("clip_norm", self.clip_norm)] {
            expect(name, value, value > 0.0 && value.is_finite(), "a number above 0")?;
        }
        let not_negative = [
            ("weight_decay", self.weight_decay),
            ("consistency", self.consistency),
            ("class_balance", self.class_balance),
        ];
        for (name, value) in not_negative {
            expect(name, value, value >= 0.0 && value.is_finite(), "0 or more")?;
        }
        Ok(())
    }
}

fn expect(name: &str, value: impl ToString, holds: bool, expected: &'static str) -> Result<(), FineTuneError> {
    if holds {
        Ok(())
    } else {
        Err(FineTuneError::Option { name: name.to_owned(), value: value.to_string(), expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        Options::default().check().expect("defaults are valid");
    }

    #[test]
    fn options_are_set_by_name() {
        let mut options = Options::default();
        options.set("epochs", "3").expect("a whole number");
        options.set("learning_rate", "1e-3").expect("a number");
        options.set("dropout", "0").expect("whole numbers are numbers");
        assert_eq!(options, Options { epochs: 3, learning_rate: 1e-3, dropout: 0.0, ..Options::default() });
        for (name, value, message) in [
            ("epochs", "2.5", "option `epochs` is 2.5, expected a whole number, 0 or more"),
            ("epochs", "-1", "option `epochs` is -1, expected a whole number, 0 or more"),
            ("dropout", "\"1\"", "option `dropout` is \"1\", expected a number"),
            ("refit", "1", "option `refit` is 1, expected true or false"),
        ] {
            assert_eq!(options.set(name, value).expect_err("not such a number").to_string(), message);
        }
        let unknown = options.set("epoch", "3").expect_err("unknown").to_string();
        assert!(unknown.starts_with("there is no option `epoch`, known are `batch_size`, "), "{unknown}");
    }

    #[test]
    fn a_senseless_value_is_named() {
        let message = |options: Options| options.check().expect_err("invalid").to_string();
        assert_eq!(message(Options { epochs: 0, ..Options::default() }), "option `epochs` is 0, expected at least 1");
        assert_eq!(
            message(Options { dropout: 1.0, ..Options::default() }),
            "option `dropout` is 1, expected 0 or more and less than 1"
        );
        assert!(message(Options { learning_rate: f32::NAN, ..Options::default() }).contains("`learning_rate` is NaN"));
    }
}
