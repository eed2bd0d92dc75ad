//! Rows of sparse features, with an optional dense block beside them.

use intent_model::ngram::{Features, Ngrams};
use rayon::prelude::*;

/// A matrix of features: one row per text, compressed sparse rows joined with a dense block.
#[derive(Clone, Debug, Default)]
pub struct FeatureRows {
    /// Where each row begins in `indices` and `values`; one more than there are rows.
    starts: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
    /// Row-major, `dimension` values per row.
    dense: Vec<f32>,
    dimension: usize,
    columns: usize,
}

impl FeatureRows {
    /// Computes the n-gram features of every text, in parallel.
    pub fn of_texts(ngrams: &Ngrams, texts: &[impl AsRef<str> + Sync]) -> Self {
        let rows: Vec<(Vec<u32>, Vec<f32>)> = texts
            .par_iter()
            .map_init(Features::default, |features, text| {
                ngrams.features(text.as_ref(), features);
                (features.indices.clone(), features.values.clone())
            })
            .collect();
        let mut all = Self { starts: vec![0], columns: ngrams.len(), ..Self::default() };
        for (indices, values) in rows {
            all.indices.extend(indices);
            all.values.extend(values);
            all.starts.push(all.indices.len());
        }
        all
    }

    /// Joins a dense block, `dimension` values per row.
    ///
    /// # Panics
    /// When `dense` does not hold `dimension` values for each row.
    pub fn with_dense(self, dense: Vec<f32>, dimension: usize) -> Self {
        assert_eq!(dense.len(), self.len() * dimension, "the dense block has one row per text");
        Self { dense, dimension, ..self }
    }

    /// Returns the rows at `positions`, in that order.
    pub fn select(&self, positions: &[usize]) -> Self {
        let mut selected =
            Self { starts: vec![0], columns: self.columns, dimension: self.dimension, ..Self::default() };
        for &position in positions {
            let (indices, values) = self.sparse(position);
            selected.indices.extend_from_slice(indices);
            selected.values.extend_from_slice(values);
            selected.starts.push(selected.indices.len());
            selected.dense.extend_from_slice(self.dense(position));
        }
        selected
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Tells whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many sparse columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns how many dense values each row has.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the indices and values of one row.
    pub fn sparse(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.starts[row]..self.starts[row + 1];
        (&self.indices[range.clone()], &self.values[range])
    }

    /// Returns the dense values of one row.
    pub fn dense(&self, row: usize) -> &[f32] {
        &self.dense[row * self.dimension..][..self.dimension]
    }
}
