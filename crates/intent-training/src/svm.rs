//! A linear support vector machine for every label against the rest.
//!
//! Solves the L2-regularised squared-hinge problem by dual coordinate descent (Hsieh et al. 2008, "A Dual Coordinate
//! Descent Method for Large-scale Linear SVM", the algorithm of liblinear). Labels are independent of each other, so
//! they are solved in lanes of `LANES` side by side: the features of a text are read once for the whole lane, and one
//! feature's weights of a lane are one cache line. Lanes run in parallel; the result does not depend on how many
//! threads there are.

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::sparse::FeatureRows;

/// How many labels are solved side by side: 16 `f32` fill one cache line.
const LANES: usize = 16;

/// How a [`fit`] goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SvmOptions {
    /// The cost of a violated margin; higher fits the training rows closer.
    pub cost: f32,
    /// The most passes over the rows.
    pub epochs: usize,
    /// The largest violation of the optimality conditions at which the solver stops.
    pub tolerance: f32,
    /// Decides the order in which rows are visited.
    pub seed: u64,
}

impl Default for SvmOptions {
    fn default() -> Self {
        Self { cost: 1.0, epochs: 60, tolerance: 0.01, seed: 0 }
    }
}

/// The weights of one linear classifier over all labels.
#[derive(Clone, Debug)]
pub struct LinearWeights {
    /// One row of `labels` weights per sparse column.
    pub sparse: Vec<f32>,
    /// One row of `labels` weights per dense value.
    pub dense: Vec<f32>,
    /// One per label.
    pub bias: Vec<f32>,
}

impl LinearWeights {
    /// Returns the decision value of every label for one row of features.
    pub fn decide(&self, rows: &FeatureRows, row: usize) -> Vec<f32> {
        let labels = self.bias.len();
        let mut decisions = self.bias.clone();
        let mut add = |weights: &[f32], value: f32| {
            for (decision, weight) in decisions.iter_mut().zip(weights) {
                *decision += value * weight;
            }
        };
        let (indices, values) = rows.sparse(row);
        for (&index, &value) in indices.iter().zip(values) {
            add(&self.sparse[index as usize * labels..][..labels], value);
        }
        for (index, &value) in rows.dense(row).iter().enumerate() {
            add(&self.dense[index * labels..][..labels], value);
        }
        decisions
    }

    /// Returns the decision values of every row, in order.
    pub fn decide_all(&self, rows: &FeatureRows) -> Vec<Vec<f32>> {
        (0..rows.len()).into_par_iter().map(|row| self.decide(rows, row)).collect()
    }
}

/// Fits one classifier per label: `targets[row]` is the label of `rows[row]`, below `labels`.
pub fn fit(rows: &FeatureRows, targets: &[u32], labels: usize, options: SvmOptions) -> LinearWeights {
    let columns = rows.columns() + rows.dimension();
    let squares: Vec<f32> = (0..rows.len())
        .map(|row| {
            let (_, values) = rows.sparse(row);
            values.iter().chain(rows.dense(row)).map(|value| value * value).sum::<f32>() + 1.0
        })
        .collect();
    let solved: Vec<Lane> = (0..labels.div_ceil(LANES))
        .into_par_iter()
        .map(|lane| Lane::solve(rows, targets, &squares, (lane * LANES) as u32, options))
        .collect();

    let mut all = vec![0.0; (columns + 1) * labels];
    all.par_chunks_mut(labels).enumerate().for_each(|(column, row)| {
        for (chunk, lane) in row.chunks_mut(LANES).zip(&solved) {
            chunk.copy_from_slice(&lane.weights[column][..chunk.len()]);
        }
    });
    let bias = all.split_off(columns * labels);
    let dense = all.split_off(rows.columns() * labels);
    LinearWeights { sparse: all, dense, bias }
}

/// The weights of up to [`LANES`] labels: sparse columns, dense columns, bias.
struct Lane {
    weights: Vec<[f32; LANES]>,
}

impl Lane {
    fn solve(rows: &FeatureRows, targets: &[u32], squares: &[f32], first: u32, options: SvmOptions) -> Self {
        let columns = rows.columns() + rows.dimension();
        let mut lane = Self { weights: vec![[0.0; LANES]; columns + 1] };
        let mut alphas = vec![[0.0_f32; LANES]; rows.len()];
        let diagonal = 0.5 / options.cost;
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        let mut active: Vec<u32> = (0..rows.len() as u32).collect();
        // A row is left out while no label of the lane would move it: liblinear's shrinking.
        let mut shrink_above = f32::INFINITY;
        let mut epoch = 0;
        while epoch < options.epochs {
            epoch += 1;
            active.shuffle(&mut random);
            let mut worst = 0.0_f32;
            let mut kept = 0;
            for at in 0..active.len() {
                let row = active[at] as usize;
                let decisions = lane.decide(rows, row);
                let target = targets[row].wrapping_sub(first) as usize;
                let alpha = &mut alphas[row];
                let step = squares[row] + diagonal;
                let mut change = [0.0; LANES];
                let mut row_worst = 0.0_f32;
                let mut idle = true;
                for label in 0..LANES {
                    let sign = if label == target { 1.0 } else { -1.0 };
                    let gradient = sign * decisions[label] - 1.0 + diagonal * alpha[label];
                    let moved = (alpha[label] - gradient / step).max(0.0);
                    let projected = if alpha[label] == 0.0 { gradient.min(0.0) } else { gradient };
                    row_worst = row_worst.max(projected.abs());
                    idle &= alpha[label] == 0.0 && gradient > shrink_above;
                    change[label] = sign * (moved - alpha[label]);
                    alpha[label] = moved;
                }
                worst = worst.max(row_worst);
                if row_worst > 1e-6 {
                    lane.add(rows, row, &change);
                }
                if !idle {
                    active[kept] = row as u32;
                    kept += 1;
                }
            }
            active.truncate(kept);
            if worst > options.tolerance {
                shrink_above = worst;
            } else if active.len() == rows.len() {
                break;
            } else {
                active = (0..rows.len() as u32).collect();
                shrink_above = f32::INFINITY;
            }
        }
        lane
    }

    fn decide(&self, rows: &FeatureRows, row: usize) -> [f32; LANES] {
        let mut decisions = self.weights[self.weights.len() - 1];
        let mut add = |weights: &[f32; LANES], value: f32| {
            for (decision, weight) in decisions.iter_mut().zip(weights) {
                *decision += value * weight;
            }
        };
        let (indices, values) = rows.sparse(row);
        for (&index, &value) in indices.iter().zip(values) {
            add(&self.weights[index as usize], value);
        }
        for (weights, &value) in self.weights[rows.columns()..].iter().zip(rows.dense(row)) {
            add(weights, value);
        }
        decisions
    }

    fn add(&mut self, rows: &FeatureRows, row: usize, change: &[f32; LANES]) {
        let add = |weights: &mut [f32; LANES], value: f32| {
            for (weight, change) in weights.iter_mut().zip(change) {
                *weight += value * change;
            }
        };
        let (indices, values) = rows.sparse(row);
        for (&index, &value) in indices.iter().zip(values) {
            add(&mut self.weights[index as usize], value);
        }
        for (weights, &value) in self.weights[rows.columns()..].iter_mut().zip(rows.dense(row)) {
            add(weights, value);
        }
        if let Some(bias) = self.weights.last_mut() {
            add(bias, 1.0);
        }
    }
}
