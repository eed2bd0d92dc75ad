//! Labelled texts as the network sees them.

use crate::dataset::Labelled;

use super::{
    FineTuneError, Options,
    network::{Batch, mix},
    pretrained::Pretrained,
};

/// One text as rows of the word table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Example {
    pub(crate) tokens: Vec<u32>,
    pub(crate) label: usize,
}

/// Training and validation examples over one table of the tokens that occur in them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Examples {
    pub(crate) train: Vec<Example>,
    pub(crate) validation: Vec<Example>,
    /// The token of each row of the word table, ascending. Tokens that no example has get no gradient, so they need no
    /// place among the parameters: a vocabulary of 30,522 shrinks to a few thousand.
    pub(crate) vocabulary: Vec<u32>,
}

impl Examples {
    /// Turns texts into tokens.
    pub(crate) fn encode(
        pretrained: &Pretrained,
        train: &[&Labelled],
        validation: &[&Labelled],
        options: &Options,
    ) -> Result<Self, FineTuneError> {
        let texts: Vec<&str> = train.iter().chain(validation).map(|row| row.text.as_str()).collect();
        let mut tokens = pretrained.encode(&texts, options.max_tokens)?;
        let mut vocabulary: Vec<u32> = tokens.iter().flatten().copied().collect();
        vocabulary.sort_unstable();
        vocabulary.dedup();
        for token in tokens.iter_mut().flatten() {
            let row = vocabulary.binary_search(token).expect("the vocabulary was collected from these tokens");
            *token = u32::try_from(row).expect("there are fewer rows than tokens");
        }
        let mut examples = tokens
            .into_iter()
            .zip(train.iter().chain(validation))
            .map(|(tokens, row)| Example { tokens, label: row.label as usize });
        Ok(Self { train: examples.by_ref().take(train.len()).collect(), validation: examples.collect(), vocabulary })
    }
}

impl Batch {
    /// Lays texts one after the other, in buffers that are kept.
    pub(crate) fn fill<'a>(&mut self, texts: impl Iterator<Item = &'a [u32]>) {
        self.tokens.clear();
        self.starts.clear();
        self.starts.push(0);
        for text in texts {
            self.tokens.extend_from_slice(text);
            self.starts.push(self.tokens.len());
        }
    }
}

/// Returns the numbers below `count` in an order that depends on the seed and the epoch alone.
pub(crate) fn shuffled(count: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let seed = mix(seed, epoch as u64);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_cached_key(|&index| (mix(seed, index as u64), index));
    order
}

/// Returns the weight of an example of each label, 1 on average over the examples: the label's number of examples to
/// the power of minus `balance`.
pub(crate) fn class_weights(examples: &[Example], labels: usize, balance: f32) -> Vec<f32> {
    let mut counts = vec![0_usize; labels];
    for example in examples {
        counts[example.label] += 1;
    }
    let raw: Vec<f32> = counts.iter().map(|&count| (count.max(1) as f32).powf(-balance)).collect();
    let total: f32 = examples.iter().map(|example| raw[example.label]).sum();
    raw.iter().map(|weight| weight * examples.len() as f32 / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(label: usize) -> Example {
        Example { tokens: vec![0], label }
    }

    #[test]
    fn full_balance_lets_labels_count_alike() {
        let examples: Vec<Example> = [0, 0, 0, 1].map(example).to_vec();
        let weights = class_weights(&examples, 2, 1.0);
        assert!((weights[0] * 3.0 - weights[1]).abs() < 1e-5, "{weights:?}");
        assert!((weights[0] * 3.0 + weights[1] - 4.0).abs() < 1e-5, "{weights:?}");
        assert_eq!(class_weights(&examples, 2, 0.0), [1.0, 1.0]);
    }

    #[test]
    fn every_epoch_has_its_own_order_of_all_examples() {
        let (first, second) = (shuffled(100, 1, 0), shuffled(100, 1, 1));
        assert_ne!(first, second);
        assert_eq!(first, shuffled(100, 1, 0));
        let mut sorted = second;
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100));
    }
}
