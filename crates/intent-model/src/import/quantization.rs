//! Symmetric int8 weights with one scale per output.

use crate::import::parameters::Linear;

/// The weights of one or more linear layers side by side, transposed for `x W`.
#[derive(Debug)]
pub(super) struct QuantizedMatrix {
    /// `[inputs, outputs]`, -127 to 127.
    pub(super) values: Vec<i8>,
    /// `[outputs]`: what one step of a column is worth.
    pub(super) scales: Vec<f32>,
}

/// A float matrix, transposed for `x W`.
#[derive(Debug)]
pub(super) struct Matrix {
    /// `[inputs, outputs]`.
    pub(super) values: Vec<f32>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Matrix {
    /// Transposes a layer.
    pub(super) fn transposed(linear: &Linear) -> Self {
        let (inputs, outputs) = (linear.inputs, linear.outputs);
        let mut values = vec![0.0; inputs * outputs];
        for (column, row) in linear.weight.chunks_exact(inputs).enumerate() {
            for (input, &value) in row.iter().enumerate() {
                values[input * outputs + column] = value;
            }
        }
        Self { values, inputs, outputs }
    }

    /// Quantises every column by its own largest magnitude.
    pub(super) fn quantize(&self) -> QuantizedMatrix {
        let mut scales = vec![0.0f32; self.outputs];
        for row in self.values.chunks_exact(self.outputs) {
            for (scale, value) in scales.iter_mut().zip(row) {
                *scale = scale.max(value.abs());
            }
        }
        for scale in &mut scales {
            // A column of zeros keeps its zeros under any scale.
            *scale = if *scale > 0.0 { *scale / 127.0 } else { 1.0 };
        }
        let values = self
            .values
            .chunks_exact(self.outputs)
            .flat_map(|row| row.iter().zip(&scales).map(|(value, scale)| (value / scale).round() as i8))
            .collect();
        QuantizedMatrix { values, scales }
    }
}
