//! The weights of a model, found by their names and checked for their shapes.

use crate::{
    ModelError,
    import::{
        config::{Config, Family, Task},
        tensors::{Tensor, Tensors},
    },
};

/// All weights of a model.
#[derive(Debug)]
pub struct Parameters {
    /// `[vocabulary, hidden]`.
    pub token_embeddings: Vec<f32>,
    /// `[positions, hidden]`.
    pub position_embeddings: Vec<f32>,
    /// The row of token type 0, `[hidden]`, where the model has token types. Single texts have no other type.
    pub token_type_embedding: Option<Vec<f32>>,
    /// After the sum of the embeddings.
    pub embedding_norm: Norm,
    /// From the input to the output.
    pub layers: Vec<Layer>,
    /// What turns hidden states into logits, for classifiers.
    pub head: Option<Head>,
}

/// One transformer layer, post-norm: attention, norm, feed-forward, norm.
#[derive(Debug)]
pub struct Layer {
    /// What a token looks for.
    pub query: Linear,
    /// What it is found by.
    pub key: Linear,
    /// What it hands on.
    pub value: Linear,
    /// Mixes the heads.
    pub attention_output: Linear,
    /// After the attention.
    pub attention_norm: Norm,
    /// Into the feed-forward part.
    pub up: Linear,
    /// Out of it.
    pub down: Linear,
    /// After the feed-forward part.
    pub output_norm: Norm,
}

/// What stands between the first token's hidden state and the logits.
#[derive(Debug)]
pub struct Head {
    /// BERT's pooler or DistilBERT's pre-classifier.
    pub dense: Linear,
    /// What follows it.
    pub activation: HeadActivation,
    /// One row per label.
    pub classifier: Linear,
}

/// BERT's pooler ends in tanh, DistilBERT's pre-classifier in ReLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadActivation {
    /// Of BERT.
    Tanh,
    /// Of DistilBERT.
    Relu,
}

/// `y = W x + b`.
#[derive(Debug)]
pub struct Linear {
    /// `[outputs, inputs]`, as PyTorch stores it.
    pub weight: Vec<f32>,
    /// `[outputs]`.
    pub bias: Vec<f32>,
    /// How many values it takes.
    pub inputs: usize,
    /// How many it gives.
    pub outputs: usize,
}

/// Layer normalisation, `[hidden]` each.
#[derive(Debug)]
pub struct Norm {
    /// What the normalised values are multiplied with.
    pub gamma: Vec<f32>,
    /// What is added then.
    pub beta: Vec<f32>,
}

impl Parameters {
    /// Finds every weight that `config` calls for.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] when a tensor is missing or of another shape than `config` says.
    pub(crate) fn take(config: &Config, tensors: &mut Tensors) -> Result<Self, ModelError> {
        let mut reader = Reader::new(config, tensors);
        let hidden = config.hidden;
        let token_embeddings = reader.encoder("embeddings.word_embeddings.weight", &[config.vocabulary, hidden])?;
        let position_embeddings =
            reader.encoder("embeddings.position_embeddings.weight", &[config.positions, hidden])?;
        let token_type_embedding = match config.family {
            Family::Bert => Some(reader.first_row("embeddings.token_type_embeddings.weight", hidden)?),
            Family::DistilBert => None,
        };
        let embedding_norm = reader.norm("embeddings.LayerNorm", hidden)?;
        let layers = (0..config.layers).map(|index| reader.layer(index)).collect::<Result<_, _>>()?;
        let head = match &config.task {
            Task::Encode => None,
            Task::Classify { labels } => Some(reader.head(labels.len())?),
        };
        Ok(Self { token_embeddings, position_embeddings, token_type_embedding, embedding_norm, layers, head })
    }

    /// Returns how many numbers the model has learnt.
    pub(crate) fn count(&self) -> usize {
        let linear = |linear: &Linear| linear.weight.len() + linear.bias.len();
        let norm = |norm: &Norm| norm.gamma.len() + norm.beta.len();
        let layer = |layer: &Layer| {
            [&layer.query, &layer.key, &layer.value, &layer.attention_output, &layer.up, &layer.down]
                .into_iter()
                .map(linear)
                .sum::<usize>()
                + norm(&layer.attention_norm)
                + norm(&layer.output_norm)
        };
        self.token_embeddings.len()
            + self.position_embeddings.len()
            + self.token_type_embedding.as_ref().map_or(0, Vec::len)
            + norm(&self.embedding_norm)
            + self.layers.iter().map(layer).sum::<usize>()
            + self.head.as_ref().map_or(0, |head| linear(&head.dense) + linear(&head.classifier))
    }
}

/// Takes tensors by the names of one family.
struct Reader<'a> {
    config: &'a Config,
    tensors: &'a mut Tensors,
    prefix: &'static str,
}

impl<'a> Reader<'a> {
    fn new(config: &'a Config, tensors: &'a mut Tensors) -> Self {
        // Bare encoders are saved without the prefix, encoders under a head with it.
        let prefixed = format!("{}embeddings.word_embeddings.weight", config.family.prefix());
        let prefix = if tensors.contains(&prefixed) { config.family.prefix() } else { "" };
        Self { config, tensors, prefix }
    }

    fn layer(&mut self, index: usize) -> Result<Layer, ModelError> {
        let Config { hidden, intermediate, .. } = *self.config;
        let names = match self.config.family {
            Family::Bert => &BERT_LAYER,
            Family::DistilBert => &DISTILBERT_LAYER,
        };
        let name = |part: &str| format!("{}.{index}.{part}", names.layers);
        Ok(Layer {
            query: self.linear(&name(names.query), hidden, hidden)?,
            key: self.linear(&name(names.key), hidden, hidden)?,
            value: self.linear(&name(names.value), hidden, hidden)?,
            attention_output: self.linear(&name(names.attention_output), hidden, hidden)?,
            attention_norm: self.norm(&name(names.attention_norm), hidden)?,
            up: self.linear(&name(names.up), hidden, intermediate)?,
            down: self.linear(&name(names.down), intermediate, hidden)?,
            output_norm: self.norm(&name(names.output_norm), hidden)?,
        })
    }

    fn head(&mut self, labels: usize) -> Result<Head, ModelError> {
        let hidden = self.config.hidden;
        let (dense, activation) = match self.config.family {
            Family::Bert => (format!("{}pooler.dense", self.prefix), HeadActivation::Tanh),
            Family::DistilBert => ("pre_classifier".to_owned(), HeadActivation::Relu),
        };
        let dense = self.linear_at(&dense, hidden, Some(hidden))?;
        let classifier = self.linear_at("classifier", hidden, (labels > 0).then_some(labels))?;
        Ok(Head { dense, activation, classifier })
    }

    fn linear(&mut self, name: &str, inputs: usize, outputs: usize) -> Result<Linear, ModelError> {
        self.linear_at(&format!("{}{name}", self.prefix), inputs, Some(outputs))
    }

    /// Takes a linear layer by its whole name; without `outputs` the weight decides how many there are.
    fn linear_at(&mut self, name: &str, inputs: usize, outputs: Option<usize>) -> Result<Linear, ModelError> {
        let weight_name = format!("{name}.weight");
        let weight = self.tensors.take(&weight_name)?;
        let outputs = outputs.unwrap_or_else(|| weight.shape.first().copied().unwrap_or(0));
        self.check_shape(&weight_name, &weight, &[outputs, inputs])?;
        let bias = self.shaped(&format!("{name}.bias"), &[outputs])?;
        Ok(Linear { weight: weight.values, bias, inputs, outputs })
    }

    fn norm(&mut self, name: &str, size: usize) -> Result<Norm, ModelError> {
        let full = format!("{}{name}", self.prefix);
        // Checkpoints converted from TensorFlow keep its names.
        let (gamma, beta) =
            if self.tensors.contains(&format!("{full}.gamma")) { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(Norm {
            gamma: self.shaped(&format!("{full}.{gamma}"), &[size])?,
            beta: self.shaped(&format!("{full}.{beta}"), &[size])?,
        })
    }

    fn encoder(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.shaped(&format!("{}{name}", self.prefix), shape)
    }

    fn first_row(&mut self, name: &str, width: usize) -> Result<Vec<f32>, ModelError> {
        let full = format!("{}{name}", self.prefix);
        let mut tensor = self.tensors.take(&full)?;
        let rows = tensor.shape.first().copied().unwrap_or(0).max(1);
        self.check_shape(&full, &tensor, &[rows, width])?;
        tensor.values.truncate(width);
        Ok(tensor.values)
    }

    fn shaped(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let tensor = self.tensors.take(name)?;
        self.check_shape(name, &tensor, shape)?;
        Ok(tensor.values)
    }

    fn check_shape(&self, name: &str, tensor: &Tensor, expected: &[usize]) -> Result<(), ModelError> {
        if tensor.shape == expected {
            return Ok(());
        }
        let found = &tensor.shape;
        Err(self.tensors.invalid(format!(
            "the tensor `{name}` has the shape {found:?}, expected {expected:?} according to `config.json`"
        )))
    }
}

/// The names of a layer's parts, after `<layers>.<index>.`.
struct LayerNames {
    layers: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attention_output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    down: &'static str,
    output_norm: &'static str,
}

const BERT_LAYER: LayerNames = LayerNames {
    layers: "encoder.layer",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    output_norm: "output.LayerNorm",
};

const DISTILBERT_LAYER: LayerNames = LayerNames {
    layers: "transformer.layer",
    query: "attention.q_lin",
    key: "attention.k_lin",
    value: "attention.v_lin",
    attention_output: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
};
