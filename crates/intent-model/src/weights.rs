//! Weights of a linear classifier, eight bits each.

use crate::{
    ModelError,
    binary::{Reader, Writer},
};

/// A row of weights per feature, one weight per label, as signed bytes with one scale per row.
///
/// Rounding moves a weight by at most 1/254 of the largest in its row, which no decision of a real model has been seen
/// to depend on, and a row of 64 labels is a single cache line.
#[derive(Clone, Debug)]
pub(crate) struct QuantizedRows {
    labels: usize,
    scales: Vec<f32>,
    values: Vec<i8>,
}

impl QuantizedRows {
    /// Rounds row-major weights, `labels` per row.
    pub(crate) fn quantize(weights: &[f32], labels: usize) -> Self {
        let mut rows = Self { labels, scales: Vec::new(), values: Vec::with_capacity(weights.len()) };
        for row in weights.chunks_exact(labels) {
            let scale = row.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs())) / 127.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            rows.scales.push(scale);
            rows.values.extend(row.iter().map(|weight| (weight * inverse).round() as i8));
        }
        rows
    }

    /// Adds `value` times the row's weights to `sums`.
    pub(crate) fn add(&self, row: usize, value: f32, sums: &mut [f32]) {
        let factor = value * self.scales[row];
        for (sum, &weight) in sums.iter_mut().zip(&self.values[row * self.labels..][..self.labels]) {
            *sum += factor * f32::from(weight);
        }
    }

    /// Writes the rows; their count and labels are the reader's to know.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.numbers(&self.scales);
        writer.numbers(&self.values);
    }

    /// Reads `rows` rows of `labels` weights.
    pub(crate) fn read(reader: &mut Reader<'_>, rows: usize, labels: usize) -> Result<Self, ModelError> {
        let scales = reader.reals(rows, "the scales of the weights")?;
        let values = reader.numbers(rows.saturating_mul(labels), "the weights")?;
        Ok(Self { labels, scales, values })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rounded_weight_is_within_half_a_step(weights in prop::collection::vec(-100.0_f32..100.0, 12)) {
            let rows = QuantizedRows::quantize(&weights, 4);
            for (row, exact) in weights.chunks(4).enumerate() {
                let mut sums = [0.0; 4];
                rows.add(row, 1.0, &mut sums);
                let step = exact.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs())) / 127.0;
                for (sum, weight) in sums.iter().zip(exact) {
                    prop_assert!((sum - weight).abs() <= 0.51 * step, "{sum} for {weight}, a step is {step}");
                }
            }
        }
    }

    #[test]
    fn a_row_of_zeros_stays_zero() {
        let mut sums = [1.0; 2];
        QuantizedRows::quantize(&[0.0, 0.0], 2).add(0, 3.0, &mut sums);
        assert_eq!(sums, [1.0, 1.0]);
    }
}
