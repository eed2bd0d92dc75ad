//! Multi-head self-attention (Vaswani et al. 2017) over texts that lie one after the other, without padding.
//!
//! Every text attends to its own tokens alone, so no mask is needed and no work is spent on padding. The products of
//! one head of one text are tiny (some 14 x 32 values), so plain loops beat a general matrix product here.

use rten_simd::SimdUnaryOp;
use rten_vecmath::Exp;

use super::Dropout;

/// The shape of the attention of one layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    pub(crate) dim: usize,
}

/// The tokens of one head of one text.
#[derive(Clone, Copy)]
struct Head {
    /// First token of the text.
    first: usize,
    /// Tokens of the text.
    length: usize,
    /// Where the head starts within a token's vector.
    column: usize,
    /// Where its probabilities start.
    block: usize,
}

impl Attention {
    /// Computes the attended values.
    ///
    /// `projections` holds query, key and value of each token side by side; text `i` is the tokens `starts[i]` to
    /// `starts[i + 1]`. `probabilities` keeps what the backward pass needs: one square per text and head.
    pub(crate) fn forward(
        &self,
        projections: &[f32],
        starts: &[usize],
        dropout: Dropout,
        probabilities: &mut Vec<f32>,
        context: &mut Vec<f32>,
    ) {
        probabilities.resize(self.heads * starts.windows(2).map(|w| (w[1] - w[0]).pow(2)).sum::<usize>(), 0.0);
        context.resize(projections.len() / 3, 0.0);
        context.fill(0.0);
        let scale = 1.0 / (self.width() as f32).sqrt();
        for head in self.heads(starts) {
            let block = &mut probabilities[head.block..][..head.length * head.length];
            for (i, row) in block.chunks_exact_mut(head.length).enumerate() {
                let query = self.part(projections, head, i, 0);
                let mut max = f32::NEG_INFINITY;
                for (j, score) in row.iter_mut().enumerate() {
                    *score = dot(query, self.part(projections, head, j, 1)) * scale;
                    max = max.max(*score);
                }
                row.iter_mut().for_each(|score| *score -= max);
            }
            Exp {}.map_mut(block);
            for (i, row) in block.chunks_exact_mut(head.length).enumerate() {
                let inverse = 1.0 / row.iter().sum::<f32>();
                let out = &mut context[(head.first + i) * self.dim + head.column..][..self.width()];
                for (j, probability) in row.iter_mut().enumerate() {
                    *probability *= inverse;
                    let kept = *probability * dropout.factor(head.block + i * head.length + j);
                    add_scaled(out, kept, self.part(projections, head, j, 2));
                }
            }
        }
    }

    /// Computes the gradient of the projections from that of the context.
    pub(crate) fn backward(
        &self,
        projections: &[f32],
        starts: &[usize],
        dropout: Dropout,
        probabilities: &[f32],
        dcontext: &[f32],
        dprojections: &mut Vec<f32>,
    ) {
        dprojections.resize(projections.len(), 0.0);
        dprojections.fill(0.0);
        let scale = 1.0 / (self.width() as f32).sqrt();
        let mut dscores = Vec::new();
        for head in self.heads(starts) {
            dscores.resize(head.length, 0.0);
            for i in 0..head.length {
                let row = &probabilities[head.block + i * head.length..][..head.length];
                let dout = &dcontext[(head.first + i) * self.dim + head.column..][..self.width()];
                let mut along = 0.0;
                for (j, (dscore, probability)) in dscores.iter_mut().zip(row).enumerate() {
                    let factor = dropout.factor(head.block + i * head.length + j);
                    add_scaled(self.part_mut(dprojections, head, j, 2), factor * probability, dout);
                    *dscore = factor * dot(dout, self.part(projections, head, j, 2));
                    along += *dscore * probability;
                }
                for (j, (dscore, probability)) in dscores.iter().zip(row).enumerate() {
                    let dscore = probability * (dscore - along) * scale;
                    add_scaled(self.part_mut(dprojections, head, i, 0), dscore, self.part(projections, head, j, 1));
                    add_scaled(self.part_mut(dprojections, head, j, 1), dscore, self.part(projections, head, i, 0));
                }
            }
        }
    }

    fn width(&self) -> usize {
        self.dim / self.heads
    }

    fn heads<'a>(&'a self, starts: &'a [usize]) -> impl Iterator<Item = Head> + 'a {
        let mut block = 0;
        starts.windows(2).flat_map(move |window| {
            let (first, length) = (window[0], window[1] - window[0]);
            let base = block;
            block += self.heads * length * length;
            (0..self.heads).map(move |head| Head {
                first,
                length,
                column: head * self.width(),
                block: base + head * length * length,
            })
        })
    }

    /// Returns query (0), key (1) or value (2) of a token of a text.
    fn part<'a>(&self, projections: &'a [f32], head: Head, token: usize, part: usize) -> &'a [f32] {
        &projections[((head.first + token) * 3 + part) * self.dim + head.column..][..self.width()]
    }

    fn part_mut<'a>(&self, projections: &'a mut [f32], head: Head, token: usize, part: usize) -> &'a mut [f32] {
        &mut projections[((head.first + token) * 3 + part) * self.dim + head.column..][..self.width()]
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let (a_blocks, a_rest) = a.as_chunks::<8>();
    let (b_blocks, b_rest) = b.as_chunks::<8>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

fn add_scaled(sum: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}
