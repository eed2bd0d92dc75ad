//! AdamW (Loshchilov and Hutter 2019) on flat vectors, with a linear warm-up and a linear way down.

use std::ops::Range;

use rayon::prelude::*;

use super::{Options, parameters::Layout};

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Large enough that starting a task costs nothing, small enough that threads share the work evenly.
const PIECE: usize = 1 << 16;

/// What changes from step to step, all of it saved in a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Moments {
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
}

/// A part of the flat vector whose values are treated alike.
#[derive(Clone, Debug)]
struct Piece {
    range: Range<usize>,
    rate_factor: f32,
    weight_decay: f32,
}

/// The update rule of one run.
#[derive(Debug)]
pub(crate) struct Optimizer {
    pieces: Vec<Piece>,
    learning_rate: f32,
    clip_norm: f32,
    warm_up_steps: usize,
    total_steps: usize,
}

impl Optimizer {
    /// Prepares a run of `total_steps` steps.
    pub(crate) fn new(layout: &Layout, options: &Options, total_steps: usize) -> Self {
        let pieces = layout
            .tensors
            .iter()
            .flat_map(|tensor| {
                let end = tensor.range.end;
                tensor.range.clone().step_by(PIECE).map(move |start| Piece {
                    range: start..end.min(start + PIECE),
                    rate_factor: options.layer_decay.powi(tensor.depth as i32),
                    weight_decay: if tensor.decays { options.weight_decay } else { 0.0 },
                })
            })
            .collect();
        Self {
            pieces,
            learning_rate: options.learning_rate,
            clip_norm: options.clip_norm,
            warm_up_steps: (options.warm_up * total_steps as f32).ceil() as usize,
            total_steps,
        }
    }

    /// Returns the learning rate of the head in a step, from 0.
    pub(crate) fn learning_rate(&self, step: usize) -> f32 {
        let factor = if step < self.warm_up_steps {
            (step + 1) as f32 / self.warm_up_steps as f32
        } else {
            (self.total_steps - step) as f32 / (self.total_steps - self.warm_up_steps).max(1) as f32
        };
        self.learning_rate * factor
    }

    /// Sums the gradients of the shards into the first, shortens the sum to the clip norm, and updates the parameters.
    /// Returns the norm before shortening.
    ///
    /// Runs on the threads of the current rayon pool; the result does not depend on how many there are.
    pub(crate) fn step(
        &self,
        step: usize,
        parameters: &mut [f32],
        moments: &mut Moments,
        gradients: &mut [&mut [f32]],
    ) -> f32 {
        let [total, others @ ..] = gradients else { return 0.0 };
        let norm = self.sum(total, others);
        let clip = if norm > self.clip_norm { self.clip_norm / norm } else { 1.0 };
        let learning_rate = self.learning_rate(step);
        let elapsed = i32::try_from(step).unwrap_or(i32::MAX - 1) + 1;
        let correction_1 = 1.0 - BETA_1.powi(elapsed);
        let correction_2 = 1.0 - BETA_2.powi(elapsed);
        let ranges = self.pieces.iter().map(|piece| &piece.range);
        let parts: Vec<_> = split_mut(parameters, ranges.clone())
            .zip(split_mut(&mut moments.first, ranges.clone()))
            .zip(split_mut(&mut moments.second, ranges))
            .zip(&self.pieces)
            .collect();
        let total: &[f32] = total;
        parts.into_par_iter().for_each(|(((parameters, first), second), piece)| {
            let rate = learning_rate * piece.rate_factor;
            let kept = 1.0 - rate * piece.weight_decay;
            let values = parameters.iter_mut().zip(first).zip(second).zip(&total[piece.range.clone()]);
            for (((parameter, first), second), gradient) in values {
                let gradient = gradient * clip;
                *first = BETA_1 * *first + (1.0 - BETA_1) * gradient;
                *second = BETA_2 * *second + (1.0 - BETA_2) * gradient * gradient;
                let update = (*first / correction_1) / ((*second / correction_2).sqrt() + EPSILON);
                *parameter = *parameter * kept - rate * update;
            }
        });
        norm
    }

    /// Adds `others` to `total` and returns the norm of the sum.
    fn sum(&self, total: &mut [f32], others: &[&mut [f32]]) -> f32 {
        let parts: Vec<_> = split_mut(total, self.pieces.iter().map(|piece| &piece.range)).zip(&self.pieces).collect();
        let squares: Vec<f64> = parts
            .into_par_iter()
            .map(|(total, piece)| {
                for other in others {
                    for (sum, value) in total.iter_mut().zip(&other[piece.range.clone()]) {
                        *sum += value;
                    }
                }
                let mut lanes = [0.0_f32; 8];
                let (blocks, rest) = total.as_chunks::<8>();
                for block in blocks {
                    for (lane, value) in lanes.iter_mut().zip(block) {
                        *lane += value * value;
                    }
                }
                f64::from(lanes.iter().sum::<f32>() + rest.iter().map(|value| value * value).sum::<f32>())
            })
            .collect();
        // In fixed order, so that the norm does not depend on which thread was first.
        squares.iter().sum::<f64>().sqrt() as f32
    }
}

/// Cuts a vector into adjacent parts.
fn split_mut<'a>(
    mut rest: &'a mut [f32],
    ranges: impl Iterator<Item = &'a Range<usize>>,
) -> impl Iterator<Item = &'a mut [f32]> {
    ranges.map(move |range| {
        let (part, tail) = std::mem::take(&mut rest).split_at_mut(range.len());
        rest = tail;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::{super::Architecture, *};

    fn layout() -> Layout {
        Layout::new(
            &Architecture { vocabulary: 9, positions: 5, dim: 4, hidden_dim: 8, heads: 2, layers: 1, labels: 2 },
            9,
        )
    }

    fn options() -> Options {
        Options { learning_rate: 0.1, warm_up: 0.0, layer_decay: 0.5, clip_norm: 1e9, ..Options::default() }
    }

    #[test]
    fn the_learning_rate_rises_and_falls_in_straight_lines() {
        let optimizer = Optimizer::new(&layout(), &Options { warm_up: 0.2, ..options() }, 10);
        let rates: Vec<f32> = (0..10).map(|step| (optimizer.learning_rate(step) * 1000.0).round() / 1000.0).collect();
        assert_eq!(rates, [0.05, 0.1, 0.1, 0.088, 0.075, 0.063, 0.05, 0.038, 0.025, 0.013]);
    }

    #[test]
    fn the_first_step_moves_each_parameter_by_its_layer_s_rate_and_decays_weights_alone() {
        let layout = layout();
        let optimizer = Optimizer::new(&layout, &Options { weight_decay: 0.5, ..options() }, 1);
        let mut parameters = vec![1.0; layout.len()];
        let mut moments = Moments { first: vec![0.0; layout.len()], second: vec![0.0; layout.len()] };
        let mut gradient = vec![3.0; layout.len()];
        optimizer.step(0, &mut parameters, &mut moments, &mut [&mut gradient]);
        let near = |value: f32, expected: f32| assert!((value - expected).abs() < 1e-5, "{value} is not {expected}");
        near(parameters[layout.classifier.weight.start], 1.0 - 0.1 * 0.5 - 0.1);
        near(parameters[layout.classifier.bias.start], 1.0 - 0.1);
        near(parameters[layout.layers[0].expand.weight.start], 1.0 - 0.05 * 0.5 - 0.05);
        near(parameters[layout.words.start], 1.0 - 0.025);
    }

    #[test]
    fn a_long_gradient_is_shortened_to_the_clip_norm() {
        let layout = layout();
        let optimizer = Optimizer::new(&layout, &Options { clip_norm: 1.0, ..options() }, 1);
        let mut parameters = vec![0.0; layout.len()];
        let mut moments = Moments { first: vec![0.0; layout.len()], second: vec![0.0; layout.len()] };
        let (mut one, mut other) = (vec![2.0; layout.len()], vec![1.0; layout.len()]);
        let norm = optimizer.step(0, &mut parameters, &mut moments, &mut [&mut one, &mut other]);
        let expected = 3.0 * (layout.len() as f32).sqrt();
        assert!((norm - expected).abs() < 1e-3, "{norm} is not {expected}");
        assert!((moments.first[0] - 0.1 * 3.0 / expected).abs() < 1e-6, "{}", moments.first[0]);
    }
}
