//! `y = x Wᵀ + b`.

use std::ops::Range;

use super::product::{Matrix, Multiplier, Output};

/// A linear map; its weight is `[outputs, inputs]`, row-major, as in a Hugging Face file.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Range<usize>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

impl Linear {
    /// Writes one row of `outputs` to `y` for each row of `inputs` in `x`.
    pub(crate) fn forward(&self, multiplier: &Multiplier, parameters: &[f32], x: &[f32], y: &mut Vec<f32>) {
        y.resize(x.len() / self.inputs * self.outputs, 0.0);
        multiplier.multiply(
            Matrix::rows_of(self.inputs, x),
            Matrix::rows_of(self.inputs, &parameters[self.weight.clone()]).transposed(),
            Output::ReplaceWithBias(y, &parameters[self.bias.clone()]),
        );
    }

    /// Writes the gradient of weight and bias into their places of `gradient`.
    pub(crate) fn backward_parameters(&self, multiplier: &Multiplier, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
        multiplier.multiply(
            Matrix::rows_of(self.outputs, dy).transposed(),
            Matrix::rows_of(self.inputs, x),
            Output::Replace(&mut gradient[self.weight.clone()]),
        );
        sum_of_rows(dy, &mut gradient[self.bias.clone()]);
    }

    /// Computes the gradient of the input, replacing what `dx` holds.
    pub(crate) fn backward_input(&self, multiplier: &Multiplier, parameters: &[f32], dy: &[f32], dx: &mut Vec<f32>) {
        dx.resize(dy.len() / self.outputs * self.inputs, 0.0);
        self.input_gradient(multiplier, parameters, dy, Output::Replace(dx));
    }

    /// Adds the gradient of the input to `dx`.
    pub(crate) fn add_backward_input(&self, multiplier: &Multiplier, parameters: &[f32], dy: &[f32], dx: &mut [f32]) {
        self.input_gradient(multiplier, parameters, dy, Output::Add(dx));
    }

    fn input_gradient(&self, multiplier: &Multiplier, parameters: &[f32], dy: &[f32], output: Output<'_>) {
        let weight = Matrix::rows_of(self.inputs, &parameters[self.weight.clone()]);
        multiplier.multiply(Matrix::rows_of(self.outputs, dy), weight, output);
    }
}

fn sum_of_rows(rows: &[f32], sums: &mut [f32]) {
    sums.fill(0.0);
    for row in rows.chunks_exact(sums.len()) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}
