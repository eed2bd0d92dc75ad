//! Layer normalisation (Ba et al. 2016).

use std::ops::Range;

use crate::fine_tune::architecture::LAYER_NORM_EPSILON;

/// Scales each row to mean 0 and variance 1, then by a learned weight and bias.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Range<usize>,
}

/// What the backward pass needs of the forward pass.
#[derive(Debug, Default)]
pub(crate) struct NormState {
    /// The rows before weight and bias.
    normalised: Vec<f32>,
    /// One over the standard deviation, per row.
    inverse_deviation: Vec<f32>,
}

impl LayerNorm {
    /// Normalises the rows of `values` in place.
    pub(crate) fn forward(&self, parameters: &[f32], values: &mut [f32], state: &mut NormState) {
        let (weight, bias) = (&parameters[self.weight.clone()], &parameters[self.bias.clone()]);
        let dim = weight.len();
        state.normalised.resize(values.len(), 0.0);
        state.inverse_deviation.clear();
        for (row, normalised) in values.chunks_exact_mut(dim).zip(state.normalised.chunks_exact_mut(dim)) {
            let mean = sum(row.iter().copied()) / dim as f32;
            let variance = sum(row.iter().map(|value| (value - mean) * (value - mean))) / dim as f32;
            let inverse = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
            state.inverse_deviation.push(inverse);
            for (((value, normalised), weight), bias) in row.iter_mut().zip(normalised).zip(weight).zip(bias) {
                *normalised = (*value - mean) * inverse;
                *value = *normalised * weight + bias;
            }
        }
    }

    /// Turns the gradient of the output, in place, into that of the input, and writes that of weight and bias.
    pub(crate) fn backward(&self, parameters: &[f32], dy: &mut [f32], state: &NormState, gradient: &mut [f32]) {
        let weight = &parameters[self.weight.clone()];
        let dim = weight.len();
        gradient[self.weight.clone()].fill(0.0);
        gradient[self.bias.clone()].fill(0.0);
        let rows = dy.chunks_exact_mut(dim).zip(state.normalised.chunks_exact(dim)).zip(&state.inverse_deviation);
        for ((row, normalised), inverse) in rows {
            for (sum, value) in gradient[self.bias.clone()].iter_mut().zip(&*row) {
                *sum += value;
            }
            for ((sum, value), normalised) in gradient[self.weight.clone()].iter_mut().zip(&*row).zip(normalised) {
                *sum += value * normalised;
            }
            for (value, weight) in row.iter_mut().zip(weight) {
                *value *= weight;
            }
            let mean = sum(row.iter().copied()) / dim as f32;
            let along = sum(row.iter().zip(normalised).map(|(value, normalised)| value * normalised)) / dim as f32;
            for (value, normalised) in row.iter_mut().zip(normalised) {
                *value = inverse * (*value - mean - normalised * along);
            }
        }
    }
}

/// Sums in eight lanes, which the compiler turns into vector additions.
fn sum(values: impl ExactSizeIterator<Item = f32>) -> f32 {
    let mut lanes = [0.0_f32; 8];
    for (index, value) in values.enumerate() {
        lanes[index % 8] += value;
    }
    lanes.iter().sum()
}
