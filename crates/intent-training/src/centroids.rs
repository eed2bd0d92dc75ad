//! The mean direction of each label's texts.

use crate::{sparse::FeatureRows, svm::LinearWeights};

/// One unit vector per label in the space of the dense features; zeros for a label without rows.
#[derive(Debug)]
pub(crate) struct Centroids {
    directions: Vec<Vec<f32>>,
    /// The length of a row of dense features, the same for all.
    length: f32,
}

impl Centroids {
    /// Averages the dense features of each label's rows; `targets[row]` is the label of `rows[row]`, below `labels`.
    pub(crate) fn of(rows: &FeatureRows, targets: &[u32], labels: usize) -> Self {
        let mut directions = vec![vec![0.0; rows.dimension()]; labels];
        let mut length = 0.0_f32;
        for (row, &label) in targets.iter().enumerate() {
            let features = rows.dense(row);
            length = length.max(norm(features));
            directions[label as usize].iter_mut().zip(features).for_each(|(sum, value)| *sum += value);
        }
        for direction in &mut directions {
            let norm = norm(direction);
            if norm > 0.0 {
                direction.iter_mut().for_each(|value| *value /= norm);
            }
        }
        Self { directions, length: length.max(f32::MIN_POSITIVE) }
    }

    /// Returns the cosine of dense features and each label's direction.
    pub(crate) fn likeness(&self, features: &[f32]) -> Vec<f32> {
        let dot = |direction: &Vec<f32>| direction.iter().zip(features).map(|(a, b)| a * b).sum::<f32>();
        self.directions.iter().map(|direction| dot(direction) / self.length).collect()
    }

    /// Changes weights so that they decide as before plus `weight` times the likeness.
    pub(crate) fn add_to(&self, weights: &mut LinearWeights, weight: f32) {
        let labels = self.directions.len();
        for (at, row) in weights.dense.chunks_exact_mut(labels).enumerate() {
            for (value, direction) in row.iter_mut().zip(&self.directions) {
                *value += weight * direction[at] / self.length;
            }
        }
    }
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use intent_model::ngram::{NgramOptions, Ngrams};

    use super::*;

    #[test]
    fn weights_with_centroids_decide_as_before_plus_the_likeness() {
        let texts = ["a", "b", "c"];
        let ngrams = Ngrams::fit(texts, NgramOptions::default());
        let dense = vec![2.0, 0.0, 0.0, 2.0, 1.2, 1.6];
        let rows = FeatureRows::of_texts(&ngrams, &texts).with_dense(dense, 2);
        let centroids = Centroids::of(&rows, &[0, 1, 1], 3);
        let likeness = centroids.likeness(rows.dense(0));
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} is not {b}");
        near(likeness[0], 1.0);
        near(likeness[1], 1.2 / (1.2_f32 * 1.2 + 3.6 * 3.6).sqrt());
        near(likeness[2], 0.0);

        let mut weights = LinearWeights {
            sparse: vec![0.5; rows.columns() * 3],
            dense: vec![0.1, 0.2, 0.3, -0.1, -0.2, -0.3],
            bias: vec![1.0, 2.0, 3.0],
        };
        let before = weights.decide(&rows, 2);
        centroids.add_to(&mut weights, 1.5);
        for ((after, before), likeness) in
            weights.decide(&rows, 2).iter().zip(before).zip(centroids.likeness(rows.dense(2)))
        {
            near(*after, before + 1.5 * likeness);
        }
    }
}
