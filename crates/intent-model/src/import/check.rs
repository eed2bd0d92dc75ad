//! What an import must show before its files are kept.

use std::path::Path;

use crate::{
    ModelError,
    import::{config::Config, parameters::Parameters, reference},
    transformer::{Precision, Row, Task, Transformer, cosine},
};

/// One hundred sentences of different length, topic, register and script; none is from a data set.
const SENTENCES: &str = include_str!("check_sentences.txt");
/// Of these, each third goes through the plain loops, which are slow.
const REFERENCE_STRIDE: usize = 3;

/// Largest absolute difference between the fp32 graph and the reference.
const LARGEST_DIFFERENCE: f32 = 1e-4;
/// Largest difference of a text's fp32 result between batches, for values up to 1; for larger ones, such as the logits of
/// a classifier that is sure, this share of the largest: floats have digits, not decimal places.
const LARGEST_BATCH_DIFFERENCE: f32 = 1e-5;
/// Smallest mean cosine between int8 and fp32 embeddings.
const SMALLEST_MEAN_COSINE: f32 = 0.993;
/// Smallest cosine of a text's int8 result between batches.
const SMALLEST_BATCH_COSINE: f32 = 0.9999;

/// Figures of the fp32 graph.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Fp32Check {
    /// Largest absolute difference of a logit, or of a pooled hidden state, to an independent fp32 forward pass.
    pub largest_difference: f32,
    /// Largest difference of a text's result alone and among longer texts, as a share of its largest value where that
    /// is above 1.
    pub largest_batch_difference: f32,
}

/// Figures of the int8 graph.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Int8Check {
    /// Mean cosine of the angle between int8 and fp32 embeddings.
    pub mean_cosine: f32,
    /// The smallest such cosine.
    pub smallest_cosine: f32,
    /// Smallest cosine between a text's result alone and among longer texts.
    pub smallest_batch_cosine: f32,
    /// For classifiers: the share of texts for which int8 and fp32 name the same label.
    pub label_agreement: Option<f32>,
}

/// Compares the fp32 graph in `directory` with the reference.
///
/// # Errors
/// [`ModelError::InvalidFile`] when it does not compute what it should.
pub(super) fn fp32(directory: &Path, config: &Config, parameters: &Parameters) -> Result<Fp32Check, ModelError> {
    let model = Transformer::load(directory, Precision::Fp32, config.task())?;
    let sentences: Vec<&str> = SENTENCES.lines().collect();
    let rows = model.run(&sentences)?;
    let mut largest_difference = 0.0f32;
    for (sentence, row) in sentences.iter().zip(&rows).step_by(REFERENCE_STRIDE) {
        let ids = model.token_ids(sentence)?;
        let expected = reference::logits(config, parameters, &ids).unwrap_or_else(|| {
            let states = reference::hidden_states(config, parameters, &ids);
            model.specification().pooling.pool(&states, config.hidden)
        });
        largest_difference = largest_difference.max(distance(&row.values, &expected));
    }
    if largest_difference.is_nan() || largest_difference >= LARGEST_DIFFERENCE {
        return Err(model.invalid(format!(
            "its output differs by {largest_difference:.1e} from an independent forward pass, expected less than {LARGEST_DIFFERENCE:.0e}"
        )));
    }
    let largest_batch_difference =
        alone_and_together(&model, &sentences)?.iter().map(|(a, b)| scaled_distance(a, b)).fold(0.0, f32::max);
    if largest_batch_difference > LARGEST_BATCH_DIFFERENCE {
        return Err(model.invalid(format!(
            "a text's output differs by {largest_batch_difference:.1e} between batches, expected at most {LARGEST_BATCH_DIFFERENCE:.0e}"
        )));
    }
    Ok(Fp32Check { largest_difference, largest_batch_difference })
}

/// Compares the int8 graph in `directory` with the fp32 one beside it. `encoder` is a directory with both graphs of
/// the encoder alone: the same one for encoders, another for classifiers, whose own output is not an embedding.
///
/// # Errors
/// [`ModelError::InvalidFile`] when it strays too far.
pub(super) fn int8(directory: &Path, task: Task, encoder: &Path) -> Result<Int8Check, ModelError> {
    let sentences: Vec<&str> = SENTENCES.lines().collect();
    let exact = Transformer::load(encoder, Precision::Fp32, Task::Embedding)?.run(&sentences)?;
    let rounded = Transformer::load(encoder, Precision::Int8, Task::Embedding)?.run(&sentences)?;
    let cosines: Vec<f32> = exact.iter().zip(&rounded).map(|(a, b)| cosine(&a.values, &b.values)).collect();
    let mean_cosine = cosines.iter().sum::<f32>() / cosines.len() as f32;
    let smallest_cosine = cosines.iter().copied().fold(1.0, f32::min);
    let model = Transformer::load(directory, Precision::Int8, task)?;
    if mean_cosine.is_nan() || mean_cosine < SMALLEST_MEAN_COSINE {
        return Err(model.invalid(format!(
            "the mean cosine of its embeddings to fp32 is {mean_cosine:.4}, expected at least {SMALLEST_MEAN_COSINE}: import this model with fp32 only"
        )));
    }
    let smallest_batch_cosine =
        alone_and_together(&model, &sentences)?.iter().map(|(a, b)| cosine(a, b)).fold(1.0, f32::min);
    if smallest_batch_cosine < SMALLEST_BATCH_COSINE {
        return Err(model.invalid(format!(
            "the cosine between a text's outputs in different batches is {smallest_batch_cosine:.5}, expected at least {SMALLEST_BATCH_COSINE}"
        )));
    }
    let label_agreement = match task {
        Task::Embedding => None,
        Task::Classification => {
            let exact = Transformer::load(directory, Precision::Fp32, task)?.run(&sentences)?;
            let same = exact.iter().zip(model.run(&sentences)?).filter(|(a, b)| best(a) == best(b)).count();
            Some(same as f32 / sentences.len() as f32)
        }
    };
    Ok(Int8Check { mean_cosine, smallest_cosine, smallest_batch_cosine, label_agreement })
}

/// What one text got in two runs.
type Pair = (Vec<f32>, Vec<f32>);

/// Runs every sentence alone and in a batch with texts of quite other lengths, and pairs the results.
fn alone_and_together(model: &Transformer, sentences: &[&str]) -> Result<Vec<Pair>, ModelError> {
    const BATCH: usize = 10;
    let mut pairs = Vec::with_capacity(sentences.len());
    for batch in sentences.chunks(BATCH) {
        for (sentence, together) in batch.iter().zip(model.run_together(batch)?) {
            let alone = model.run(&[sentence])?.remove(0);
            pairs.push((alone.values, together.values));
        }
    }
    Ok(pairs)
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// The largest difference, as a share of the largest value where that is above 1.
fn scaled_distance(a: &[f32], b: &[f32]) -> f32 {
    distance(a, b) / a.iter().map(|value| value.abs()).fold(1.0, f32::max)
}

fn best(row: &Row) -> Option<usize> {
    (0..row.values.len()).max_by(|&a, &b| row.values[a].total_cmp(&row.values[b]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_a_share_of_what_is_large_and_absolute_for_what_is_small() {
        assert_eq!(scaled_distance(&[0.5, -0.25], &[0.5, 0.0]), 0.25);
        assert_eq!(scaled_distance(&[-8.0, 1.0], &[-8.0, 2.0]), 0.125);
    }
}
