//! Where each tensor lies in the one flat vector of parameters.
//!
//! Parameters, gradients and the optimiser's moments are flat vectors of one length, so that summing, clipping,
//! updating and saving them needs no knowledge of the network.

use std::ops::Range;

use super::{
    Architecture,
    network::{LayerNorm, Linear},
};

/// One named tensor.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// Name in a Hugging Face DistilBERT file.
    pub(crate) name: String,
    /// Row-major shape.
    pub(crate) shape: Vec<usize>,
    /// Its place in the flat vector.
    pub(crate) range: Range<usize>,
    /// Whether weight decay applies: not to biases, layer norms and embeddings.
    pub(crate) decays: bool,
    /// Distance from the output: 0 for the head, 1 for the last layer, `layers + 1` for the embeddings.
    pub(crate) depth: usize,
}

/// One transformer layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerLayout {
    /// Query, key and value as one linear map; the three tensors of the file lie side by side.
    pub(crate) query_key_value: Linear,
    pub(crate) attention_output: Linear,
    pub(crate) attention_norm: LayerNorm,
    pub(crate) expand: Linear,
    pub(crate) contract: Linear,
    pub(crate) output_norm: LayerNorm,
}

/// Places of all tensors.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) words: Range<usize>,
    pub(crate) positions: Range<usize>,
    pub(crate) embedding_norm: LayerNorm,
    pub(crate) layers: Vec<LayerLayout>,
    pub(crate) pre_classifier: Linear,
    pub(crate) classifier: Linear,
}

/// Name of the word embeddings, the one tensor that holds fewer rows than the file's.
pub(crate) const WORD_EMBEDDINGS: &str = "distilbert.embeddings.word_embeddings.weight";

impl Layout {
    /// Lays out a network whose word table has `words` rows: those of the tokens that the data uses.
    pub(crate) fn new(architecture: &Architecture, words: usize) -> Self {
        let &Architecture { positions, dim, hidden_dim, layers, labels, .. } = architecture;
        let mut builder = Builder { tensors: Vec::new(), depth: layers + 1, end: 0 };
        let words = builder.embedding(WORD_EMBEDDINGS, words, dim);
        let positions = builder.embedding("distilbert.embeddings.position_embeddings.weight", positions, dim);
        let embedding_norm = builder.norm("distilbert.embeddings.LayerNorm", dim);
        let layers = (0..layers)
            .map(|index| {
                builder.depth = layers - index;
                let prefix = format!("distilbert.transformer.layer.{index}");
                LayerLayout {
                    query_key_value: builder.linear(
                        &["q_lin", "k_lin", "v_lin"].map(|part| format!("{prefix}.attention.{part}")),
                        dim,
                        dim,
                    ),
                    attention_output: builder.linear(&[format!("{prefix}.attention.out_lin")], dim, dim),
                    attention_norm: builder.norm(&format!("{prefix}.sa_layer_norm"), dim),
                    expand: builder.linear(&[format!("{prefix}.ffn.lin1")], dim, hidden_dim),
                    contract: builder.linear(&[format!("{prefix}.ffn.lin2")], hidden_dim, dim),
                    output_norm: builder.norm(&format!("{prefix}.output_layer_norm"), dim),
                }
            })
            .collect();
        builder.depth = 0;
        let pre_classifier = builder.linear(&["pre_classifier".to_owned()], dim, dim);
        let classifier = builder.linear(&["classifier".to_owned()], dim, labels);
        Self { tensors: builder.tensors, words, positions, embedding_norm, layers, pre_classifier, classifier }
    }

    /// Returns how many parameters there are.
    pub(crate) fn len(&self) -> usize {
        self.classifier.bias.end
    }
}

struct Builder {
    tensors: Vec<Tensor>,
    depth: usize,
    end: usize,
}

impl Builder {
    fn tensor(&mut self, name: String, shape: &[usize], decays: bool) -> Range<usize> {
        let range = self.end..self.end + shape.iter().product::<usize>();
        self.end = range.end;
        self.tensors.push(Tensor { name, shape: shape.to_vec(), range: range.clone(), decays, depth: self.depth });
        range
    }

    fn embedding(&mut self, name: &str, rows: usize, dim: usize) -> Range<usize> {
        self.tensor(name.to_owned(), &[rows, dim], false)
    }

    fn norm(&mut self, name: &str, dim: usize) -> LayerNorm {
        LayerNorm {
            weight: self.tensor(format!("{name}.weight"), &[dim], false),
            bias: self.tensor(format!("{name}.bias"), &[dim], false),
        }
    }

    /// Lays out the linear maps `names` of one input as one map: their outputs follow each other.
    fn linear(&mut self, names: &[String], inputs: usize, outputs: usize) -> Linear {
        let start = self.end;
        for name in names {
            self.tensor(format!("{name}.weight"), &[outputs, inputs], true);
        }
        let middle = self.end;
        for name in names {
            self.tensor(format!("{name}.bias"), &[outputs], false);
        }
        Linear { weight: start..middle, bias: middle..self.end, inputs, outputs: outputs * names.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_lie_side_by_side_without_gap_or_overlap() {
        let layout = Layout::new(
            &Architecture { vocabulary: 9, positions: 5, dim: 4, hidden_dim: 8, heads: 2, layers: 2, labels: 3 },
            7,
        );
        let mut end = 0;
        for tensor in &layout.tensors {
            assert_eq!(tensor.range.start, end, "{}", tensor.name);
            assert_eq!(tensor.range.len(), tensor.shape.iter().product::<usize>(), "{}", tensor.name);
            end = tensor.range.end;
        }
        assert_eq!(layout.len(), end);
        assert_eq!(layout.layers[0].query_key_value.weight.len(), 3 * 4 * 4);
        assert_eq!(layout.tensors.iter().map(|tensor| tensor.depth).max(), Some(3));
    }
}
