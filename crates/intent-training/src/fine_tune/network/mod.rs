//! `DistilBertForSequenceClassification`, forward and backward.
//!
//! The tokens of all texts of a batch lie one after the other without padding; only the attention looks at where a
//! text starts. A text's logits therefore never depend on its batch mates beyond rounding.

mod attention;
mod dropout;
mod gelu;
mod layer_norm;
mod linear;
pub(crate) mod loss;
mod product;

use self::{attention::Attention, layer_norm::NormState, product::Multiplier};
pub(crate) use self::{
    dropout::{Dropout, mix},
    layer_norm::LayerNorm,
    linear::Linear,
};
use super::{
    Architecture,
    parameters::{LayerLayout, Layout},
};

/// Texts as tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    /// Rows of the word table, all texts one after the other.
    pub(crate) tokens: Vec<u32>,
    /// Where each text starts in `tokens`, and at last where the last one ends.
    pub(crate) starts: Vec<usize>,
}

/// Shares of values dropped while training.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutRates {
    /// Of embeddings, attention probabilities and feed-forward outputs.
    pub(crate) encoder: f32,
    /// Of the input of the last linear map.
    pub(crate) head: f32,
}

/// The masks of one pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Masks {
    pub(crate) rates: DropoutRates,
    pub(crate) seed: u64,
}

impl Masks {
    /// Drops nothing.
    pub(crate) const OFF: Self = Self { rates: DropoutRates { encoder: 0.0, head: 0.0 }, seed: 0 };

    fn embeddings(&self) -> Dropout {
        Dropout::new(self.rates.encoder, mix(self.seed, 0))
    }

    fn head(&self) -> Dropout {
        Dropout::new(self.rates.head, mix(self.seed, 1))
    }

    fn attention(&self, layer: usize) -> Dropout {
        Dropout::new(self.rates.encoder, mix(self.seed, 2 + 2 * layer as u64))
    }

    fn feed_forward(&self, layer: usize) -> Dropout {
        Dropout::new(self.rates.encoder, mix(self.seed, 3 + 2 * layer as u64))
    }
}

/// Buffers of one worker, kept from batch to batch.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    embedding_norm: NormState,
    layers: Vec<LayerState>,
    /// One row per text, after the pre-classifier and its dropout.
    head: Vec<f32>,
    /// One row of label scores per text.
    pub(crate) logits: Vec<f32>,
    /// Their gradient, filled by the loss before the backward pass.
    pub(crate) logits_gradient: Vec<f32>,
    scratch: Scratch,
}

/// What the backward pass of a layer needs of its forward pass. Rows are tokens; in the last layer, from
/// `attended` on, they are texts.
#[derive(Debug, Default)]
struct LayerState {
    input: Vec<f32>,
    projections: Vec<f32>,
    probabilities: Vec<f32>,
    context: Vec<f32>,
    attended: Vec<f32>,
    attention_norm: NormState,
    gelu_derivative: Vec<f32>,
    activated: Vec<f32>,
    output_norm: NormState,
}

#[derive(Debug, Default)]
struct Scratch {
    hidden: Vec<f32>,
    gradient: Vec<f32>,
    branch: Vec<f32>,
    wide: Vec<f32>,
    projections: Vec<f32>,
}

/// The network's shape; parameters are passed in, so that training and its best checkpoint share one network.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) architecture: Architecture,
    pub(crate) layout: Layout,
    attention: Attention,
    multiplier: Multiplier,
}

impl Network {
    /// Lays out a network whose word table has `words` rows.
    pub(crate) fn new(architecture: Architecture, words: usize) -> Self {
        Self {
            architecture,
            layout: Layout::new(&architecture, words),
            attention: Attention { heads: architecture.heads, dim: architecture.dim },
            multiplier: Multiplier::new(),
        }
    }

    /// Computes one row of logits per text into the workspace.
    pub(crate) fn forward(&self, parameters: &[f32], batch: &Batch, masks: Masks, work: &mut Workspace) {
        work.layers.resize_with(self.architecture.layers, LayerState::default);
        let mut hidden = std::mem::take(&mut work.scratch.hidden);
        self.embed(parameters, batch, &mut hidden);
        self.layout.embedding_norm.forward(parameters, &mut hidden, &mut work.embedding_norm);
        masks.embeddings().apply(&mut hidden);
        for (index, (layer, state)) in self.layout.layers.iter().zip(&mut work.layers).enumerate() {
            self.layer_forward(parameters, index, layer, batch, masks, &mut hidden, state);
        }
        // The last layer has kept the first token of each text alone, which is what the head reads.
        std::mem::swap(&mut work.scratch.branch, &mut hidden);
        self.layout.pre_classifier.forward(&self.multiplier, parameters, &work.scratch.branch, &mut work.head);
        work.head.iter_mut().for_each(|value| *value = value.max(0.0));
        masks.head().apply(&mut work.head);
        self.layout.classifier.forward(&self.multiplier, parameters, &work.head, &mut work.logits);
        work.scratch.hidden = hidden;
    }

    /// Computes the gradient of all parameters from that of the logits. Call it right after [`Network::forward`] with
    /// the same arguments.
    pub(crate) fn backward(
        &self,
        parameters: &[f32],
        batch: &Batch,
        masks: Masks,
        work: &mut Workspace,
        gradient: &mut [f32],
    ) {
        let Scratch { hidden: first_tokens_gradient, gradient: dy, branch: first_tokens, .. } = &mut work.scratch;
        self.layout.classifier.backward_parameters(&self.multiplier, &work.head, &work.logits_gradient, gradient);
        self.layout.classifier.backward_input(&self.multiplier, parameters, &work.logits_gradient, dy);
        masks.head().apply(dy);
        for (value, head) in dy.iter_mut().zip(&work.head) {
            // Where the ReLU or the mask gave 0, nothing flows back.
            *value = if *head > 0.0 { *value } else { 0.0 };
        }
        self.layout.pre_classifier.backward_parameters(&self.multiplier, first_tokens, dy, gradient);
        self.layout.pre_classifier.backward_input(&self.multiplier, parameters, dy, first_tokens_gradient);
        std::mem::swap(dy, first_tokens_gradient);
        for (index, (layer, state)) in self.layout.layers.iter().zip(&work.layers).enumerate().rev() {
            self.layer_backward(parameters, index, layer, batch, masks, state, &mut work.scratch, gradient);
        }
        let dy = &mut work.scratch.gradient;
        masks.embeddings().apply(dy);
        self.layout.embedding_norm.backward(parameters, dy, &work.embedding_norm, gradient);
        self.embed_backward(batch, dy, gradient);
    }

    fn embed(&self, parameters: &[f32], batch: &Batch, out: &mut Vec<f32>) {
        let dim = self.architecture.dim;
        let (words, positions) = (&parameters[self.layout.words.clone()], &parameters[self.layout.positions.clone()]);
        out.resize(batch.tokens.len() * dim, 0.0);
        for window in batch.starts.windows(2) {
            for (position, token) in (window[0]..window[1]).enumerate() {
                let word = &words[batch.tokens[token] as usize * dim..][..dim];
                let place = &positions[position * dim..][..dim];
                for ((out, word), place) in out[token * dim..][..dim].iter_mut().zip(word).zip(place) {
                    *out = word + place;
                }
            }
        }
    }

    fn embed_backward(&self, batch: &Batch, dy: &[f32], gradient: &mut [f32]) {
        let dim = self.architecture.dim;
        gradient[self.layout.words.clone()].fill(0.0);
        gradient[self.layout.positions.clone()].fill(0.0);
        for window in batch.starts.windows(2) {
            for (position, token) in (window[0]..window[1]).enumerate() {
                let dy = &dy[token * dim..][..dim];
                let word = self.layout.words.start + batch.tokens[token] as usize * dim;
                let place = self.layout.positions.start + position * dim;
                for row in [word, place] {
                    gradient[row..row + dim].iter_mut().zip(dy).for_each(|(sum, value)| *sum += value);
                }
            }
        }
    }

    fn is_last(&self, layer: usize) -> bool {
        layer + 1 == self.architecture.layers
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one pass, borrowed part by part")]
    fn layer_forward(
        &self,
        parameters: &[f32],
        index: usize,
        layer: &LayerLayout,
        batch: &Batch,
        masks: Masks,
        hidden: &mut Vec<f32>,
        state: &mut LayerState,
    ) {
        let multiplier = &self.multiplier;
        std::mem::swap(&mut state.input, hidden);
        layer.query_key_value.forward(multiplier, parameters, &state.input, &mut state.projections);
        let mask = masks.attention(index);
        let (probabilities, context) = (&mut state.probabilities, &mut state.context);
        self.attention.forward(&state.projections, &batch.starts, mask, probabilities, context);
        if self.is_last(index) {
            self.keep_first_tokens(&batch.starts, &mut state.context);
        }
        layer.attention_output.forward(multiplier, parameters, &state.context, &mut state.attended);
        if self.is_last(index) {
            let dim = self.architecture.dim;
            for (row, start) in state.attended.chunks_exact_mut(dim).zip(&batch.starts) {
                add(row, &state.input[start * dim..][..dim]);
            }
        } else {
            add(&mut state.attended, &state.input);
        }
        layer.attention_norm.forward(parameters, &mut state.attended, &mut state.attention_norm);

        layer.expand.forward(multiplier, parameters, &state.attended, &mut state.gelu_derivative);
        gelu::forward(&mut state.gelu_derivative, &mut state.activated);
        layer.contract.forward(multiplier, parameters, &state.activated, hidden);
        masks.feed_forward(index).apply(hidden);
        add(hidden, &state.attended);
        layer.output_norm.forward(parameters, hidden, &mut state.output_norm);
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one pass, borrowed part by part")]
    fn layer_backward(
        &self,
        parameters: &[f32],
        index: usize,
        layer: &LayerLayout,
        batch: &Batch,
        masks: Masks,
        state: &LayerState,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) {
        let multiplier = &self.multiplier;
        let Scratch { gradient: dy, branch, wide, projections, hidden } = scratch;
        layer.output_norm.backward(parameters, dy, &state.output_norm, gradient);
        branch.clone_from(dy);
        masks.feed_forward(index).apply(branch);
        layer.contract.backward_parameters(multiplier, &state.activated, branch, gradient);
        layer.contract.backward_input(multiplier, parameters, branch, wide);
        gelu::backward(wide, &state.gelu_derivative);
        layer.expand.backward_parameters(multiplier, &state.attended, wide, gradient);
        layer.expand.add_backward_input(multiplier, parameters, wide, dy);

        layer.attention_norm.backward(parameters, dy, &state.attention_norm, gradient);
        layer.attention_output.backward_parameters(multiplier, &state.context, dy, gradient);
        layer.attention_output.backward_input(multiplier, parameters, dy, branch);
        if self.is_last(index) {
            self.spread_first_tokens(&batch.starts, branch, hidden);
            self.spread_first_tokens(&batch.starts, dy, hidden);
        }
        let mask = masks.attention(index);
        self.attention.backward(&state.projections, &batch.starts, mask, &state.probabilities, branch, projections);
        layer.query_key_value.backward_parameters(multiplier, &state.input, projections, gradient);
        layer.query_key_value.add_backward_input(multiplier, parameters, projections, dy);
    }

    /// Reduces rows of tokens to the rows of the first token of each text, the only ones that the head reads.
    fn keep_first_tokens(&self, starts: &[usize], rows: &mut Vec<f32>) {
        let dim = self.architecture.dim;
        let texts = starts.len() - 1;
        for (text, start) in starts[..texts].iter().enumerate() {
            rows.copy_within(start * dim..(start + 1) * dim, text * dim);
        }
        rows.truncate(texts * dim);
    }

    /// Undoes [`Network::keep_first_tokens`] for gradients: those of all other tokens are 0.
    fn spread_first_tokens(&self, starts: &[usize], rows: &mut Vec<f32>, spare: &mut Vec<f32>) {
        let dim = self.architecture.dim;
        spare.clear();
        spare.resize(starts[starts.len() - 1] * dim, 0.0);
        for (row, start) in rows.chunks_exact(dim).zip(starts) {
            spare[start * dim..][..dim].copy_from_slice(row);
        }
        std::mem::swap(rows, spare);
    }
}

fn add(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests;
