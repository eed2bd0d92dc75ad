//! Symmetric int8 weights: one scale per output of a linear layer, one per row of an embedding table.

use crate::import::parameters::Linear;

/// Steps between zero and the largest magnitude that shares a scale.
pub(super) const LEVELS: f32 = 127.0;

/// 8-bit numbers and what one step of them is worth.
#[derive(Debug)]
pub(super) struct Quantized {
    /// -127 to 127, in the layout of the floats they come from.
    pub(super) values: Vec<i8>,
    /// One per column or per row.
    pub(super) scales: Vec<f32>,
}

impl Quantized {
    /// Sums what the numbers of every column stand for.
    pub(super) fn column_sums(&self) -> impl Iterator<Item = f32> {
        let width = self.scales.len();
        let mut sums = vec![0i64; width];
        for row in self.values.chunks_exact(width) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += i64::from(*value));
        }
        sums.into_iter().zip(&self.scales).map(|(sum, scale)| sum as f32 * scale)
    }
}

/// Quantises every row of `width` values by its own largest magnitude.
pub(super) fn quantize_rows(values: &[f32], width: usize) -> Quantized {
    let magnitude = |row: &[f32]| row.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    let scales: Vec<f32> = values.chunks_exact(width).map(|row| scale_for(magnitude(row))).collect();
    let rows = values.chunks_exact(width).zip(&scales);
    let values = rows.flat_map(|(row, scale)| row.iter().map(move |value| (value / scale).round() as i8)).collect();
    Quantized { values, scales }
}

/// Returns what one step is worth; numbers that are all zero stay zero under any scale.
fn scale_for(magnitude: f32) -> f32 {
    if magnitude > 0.0 { magnitude / LEVELS } else { 1.0 }
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
    pub(super) fn quantize_columns(&self) -> Quantized {
        let mut magnitudes = vec![0.0f32; self.outputs];
        for row in self.values.chunks_exact(self.outputs) {
            magnitudes.iter_mut().zip(row).for_each(|(most, value)| *most = most.max(value.abs()));
        }
        let scales: Vec<f32> = magnitudes.into_iter().map(scale_for).collect();
        let rows = self.values.chunks_exact(self.outputs);
        let values =
            rows.flat_map(|row| row.iter().zip(&scales).map(|(value, scale)| (value / scale).round() as i8)).collect();
        Quantized { values, scales }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matrix(inputs: usize, outputs: usize, weight: Vec<f32>) -> Matrix {
        Matrix::transposed(&Linear { weight, bias: vec![0.0; outputs], inputs, outputs })
    }

    #[test]
    fn transposing_turns_rows_into_columns() {
        assert_eq!(matrix(3, 2, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).values, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn zeros_stay_zeros() {
        let quantized = quantize_rows(&[0.0, 0.0, 1.0, -2.0], 2);
        assert_eq!(quantized.values, [0, 0, 64, -127]);
        assert!(quantized.scales.iter().all(|scale| scale.is_finite() && *scale > 0.0));
    }

    proptest! {
        #[test]
        fn no_value_moves_by_more_than_half_a_step(weight in prop::collection::vec(-1e3f32..1e3, 12)) {
            let matrix = matrix(4, 3, weight);
            let quantized = matrix.quantize_columns();
            for (index, (value, step)) in matrix.values.iter().zip(&quantized.values).enumerate() {
                let scale = quantized.scales[index % 3];
                prop_assert!((value - f32::from(*step) * scale).abs() <= scale * 0.5001);
            }
        }
    }
}
