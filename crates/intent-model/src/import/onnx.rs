//! The ONNX graph of a BERT or DistilBERT model, in the form that rten runs fastest.

use crate::{
    import::{
        config::{Activation, Config},
        graph::{
            Attribute::{Float, Int, Type},
            DataType, Graph, Value,
        },
        parameters::{Head, HeadActivation, Layer, Linear, Norm, Parameters},
        quantization::{LEVELS, Matrix, quantize_rows},
    },
    transformer::Precision,
};

/// The 8-bit number that stands for 0 in activations, which rten and ONNX Runtime want unsigned.
const ZERO: u8 = 128;

/// Encodes the model as an `.onnx` file with the inputs `input_ids` and `attention_mask` and the output
/// `last_hidden_state` `[batch, sequence, hidden]` or `logits` `[batch, labels]`.
pub(super) fn encode(config: &Config, parameters: &Parameters, precision: Precision) -> Vec<u8> {
    let mut writer = Writer { config, precision, graph: Graph::default() };
    writer.model(parameters);
    writer.graph.encode()
}

/// Which numbers a row of activations can hold.
#[derive(Clone, Copy, Debug)]
enum Range {
    /// As far below zero as above.
    Symmetric,
    /// Nothing below this, so that all 8 bits serve what is above.
    From(f32),
}

/// Rows of activations as 8-bit numbers.
struct Steps {
    values: Value,
    /// What the largest number of a row stands for, `[batch, sequence, 1]`.
    span: Value,
    /// The largest number.
    levels: f32,
    /// The number that stands for 0.
    zero: u8,
}

/// Returns a bound below everything that an activation function gives.
fn smallest_value(activation: Activation) -> f32 {
    match activation {
        // Their minimum is -0.16997 and -0.17004, near -0.75.
        Activation::Gelu | Activation::GeluTanh => -0.1701,
        Activation::Relu => 0.0,
    }
}

struct Writer<'a> {
    config: &'a Config,
    precision: Precision,
    graph: Graph,
}

impl Writer<'_> {
    fn model(&mut self, parameters: &Parameters) {
        let input_ids = self.graph.token_input("input_ids");
        let attention_mask = self.graph.token_input("attention_mask");
        let mask = self.graph.op("Cast", [&attention_mask], &[("to", Type(DataType::Int32))]);
        let mut hidden = self.embeddings(parameters, &input_ids);
        let Some(head) = &parameters.head else {
            for layer in &parameters.layers {
                hidden = self.layer(layer, &hidden, &mask);
            }
            return self.graph.output("last_hidden_state", &hidden, &["batch", "sequence", "hidden"]);
        };
        let (last, lower) = parameters.layers.split_last().expect("a configuration has at least one layer");
        for layer in lower {
            hidden = self.layer(layer, &hidden, &mask);
        }
        // The head reads nothing but the first token, so the last layer need not go on with the others.
        let context = self.attention(last, &hidden, &mask);
        let (context, hidden) = (self.first_token(&context), self.first_token(&hidden));
        let hidden = self.after_attention(last, &context, &hidden);
        let logits = self.head(head, &hidden);
        self.graph.output("logits", &logits, &["batch", "labels"]);
    }

    fn head(&mut self, head: &Head, first_token: &Value) -> Value {
        let dense = self.float_linear(&head.dense, first_token);
        let activated = match head.activation {
            HeadActivation::Tanh => self.graph.op("Tanh", [&dense], &[]),
            HeadActivation::Relu => self.graph.op("Relu", [&dense], &[]),
        };
        self.float_linear(&head.classifier, &activated)
    }

    /// Takes `[batch, hidden]`, the first token of every text.
    fn first_token(&mut self, hidden: &Value) -> Value {
        let (start, end, axis) = (self.graph.ints(&[0]), self.graph.ints(&[1]), self.graph.ints(&[1]));
        let first = self.graph.op("Slice", [hidden, &start, &end, &axis], &[]);
        self.graph.op("Squeeze", [&first, &axis], &[])
    }

    fn embeddings(&mut self, parameters: &Parameters, input_ids: &Value) -> Value {
        let Config { hidden, positions, .. } = *self.config;
        let tokens = self.token_embeddings(&parameters.token_embeddings, input_ids);
        // Every token of a single text has type 0, so its embedding belongs to the position as much as to the type.
        let mut table = parameters.position_embeddings.clone();
        if let Some(row) = &parameters.token_type_embedding {
            table.chunks_exact_mut(hidden).for_each(|at| at.iter_mut().zip(row).for_each(|(a, b)| *a += b));
        }
        let table = self.graph.floats(&[positions, hidden], &table);
        let length = self.graph.op("Shape", [input_ids], &[("start", Int(1)), ("end", Int(2))]);
        let (start, axis) = (self.graph.ints(&[0]), self.graph.ints(&[0]));
        let places = self.graph.op("Slice", [&table, &start, &length, &axis], &[]);
        self.skip_norm(&parameters.embedding_norm, &tokens, &places, &Value::absent())
    }

    fn token_embeddings(&mut self, table: &[f32], input_ids: &Value) -> Value {
        let Config { hidden, vocabulary, .. } = *self.config;
        if self.precision == Precision::Fp32 {
            let table = self.graph.floats(&[vocabulary, hidden], table);
            return self.graph.op("Gather", [&table, input_ids], &[]);
        }
        // The table is half of a small model; as bytes it takes a quarter of the memory.
        let quantized = quantize_rows(table, hidden);
        let table = self.graph.int8s(&[vocabulary, hidden], &quantized.values);
        let scales = self.graph.floats(&[vocabulary, 1], &quantized.scales);
        let rows = self.graph.op("Gather", [&table, input_ids], &[]);
        let rows = self.graph.op("Cast", [&rows], &[("to", Type(DataType::Float))]);
        let scales = self.graph.op("Gather", [&scales, input_ids], &[]);
        self.graph.op("Mul", [&rows, &scales], &[])
    }

    fn layer(&mut self, layer: &Layer, input: &Value, mask: &Value) -> Value {
        let context = self.attention(layer, input, mask);
        self.after_attention(layer, &context, input)
    }

    /// The part of a layer that treats every token by itself.
    fn after_attention(&mut self, layer: &Layer, context: &Value, input: &Value) -> Value {
        let (projected, bias) = self.linear(&layer.attention_output, context, Range::Symmetric);
        let attended = self.skip_norm(&layer.attention_norm, &projected, input, &bias);
        let raised = self.feed_forward_up(&layer.up, &attended);
        let (lowered, bias) = self.linear(&layer.down, &raised, Range::From(smallest_value(self.config.activation)));
        self.skip_norm(&layer.output_norm, &lowered, &attended, &bias)
    }

    /// Self-attention over one matrix product for queries, keys and values together.
    fn attention(&mut self, layer: &Layer, input: &Value, mask: &Value) -> Value {
        let joined = interleave(self.config, [&layer.query, &layer.key, &layer.value]);
        let (product, bias) = self.linear(&joined, input, Range::Symmetric);
        let product = self.graph.op("Add", [&product, &bias], &[]);
        let shape = self.graph.ints(&[0, 0, self.config.heads as i64, 3, self.config.head_size() as i64]);
        let packed = self.graph.op("Reshape", [&product, &shape], &[]);
        let absent = Value::absent();
        self.graph.contrib(
            "MultiHeadAttention",
            [&packed, &absent, &absent, &absent, mask],
            &[("num_heads", Int(self.config.heads as i64)), ("mask_filter_value", Float(f32::MIN))],
        )
    }

    fn feed_forward_up(&mut self, linear: &Linear, input: &Value) -> Value {
        let (product, bias) = self.linear(linear, input, Range::Symmetric);
        if self.config.activation == Activation::Gelu && self.precision == Precision::Int8 {
            return self.graph.contrib("BiasGelu", [&product, &bias], &[]);
        }
        let sum = self.graph.op("Add", [&product, &bias], &[]);
        match self.config.activation {
            Activation::Gelu => self.graph.contrib("Gelu", [&sum], &[]),
            Activation::GeluTanh => self.graph.contrib("FastGelu", [&sum], &[]),
            Activation::Relu => self.graph.op("Relu", [&sum], &[]),
        }
    }

    /// Multiplies by the weights; the bias is handed back to be added where that is cheapest.
    fn linear(&mut self, linear: &Linear, input: &Value, range: Range) -> (Value, Value) {
        let matrix = Matrix::transposed(linear);
        match self.precision {
            Precision::Fp32 => {
                let weight = self.graph.floats(&[matrix.inputs, matrix.outputs], &matrix.values);
                let product = self.graph.op("MatMul", [input, &weight], &[]);
                (product, self.graph.floats(&[linear.outputs], &linear.bias))
            }
            Precision::Int8 => self.int8_linear(&matrix, &linear.bias, input, range),
        }
    }

    fn int8_linear(&mut self, matrix: &Matrix, bias: &[f32], input: &Value, range: Range) -> (Value, Value) {
        let quantized = matrix.quantize_columns();
        let steps = self.quantize_rows(input, range);
        let weight = self.graph.int8s(&[matrix.inputs, matrix.outputs], &quantized.values);
        let (zero, weight_zero) = (self.graph.uint8(steps.zero), self.graph.int8s(&[], &[0]));
        let product = self.graph.op("MatMulInteger", [&steps.values, &weight, &zero, &weight_zero], &[]);
        let product = self.graph.op("Cast", [&product], &[("to", Type(DataType::Float))]);
        let column_scales: Vec<f32> = quantized.scales.iter().map(|scale| scale / steps.levels).collect();
        let column_scales = self.graph.floats(&[matrix.outputs], &column_scales);
        let product = self.graph.op("Mul", [&product, &column_scales], &[]);
        let product = self.graph.op("Mul", [&product, &steps.span], &[]);
        let bias: Vec<f32> = match range {
            Range::Symmetric => bias.to_vec(),
            // What the numbers start from, times the weights, is the same for every text.
            Range::From(start) => {
                bias.iter().zip(quantized.column_sums()).map(|(bias, sum)| bias + start * sum).collect()
            }
        };
        (product, self.graph.floats(&[bias.len()], &bias))
    }

    /// Turns activations into 8-bit numbers with one scale per token: a text's result then depends on nothing but the
    /// text. In a row of zeros this divides by zero, but what comes out of that row is multiplied by zero again.
    ///
    /// Multiplying, adding and casting does what `QuantizeLinear` does, but rten does it several times faster.
    fn quantize_rows(&mut self, input: &Value, range: Range) -> Steps {
        let axes = self.graph.ints(&[-1]);
        let (levels, span, zero) = match range {
            Range::Symmetric => {
                let magnitude = self.graph.op("Abs", [input], &[]);
                (LEVELS, self.graph.op("ReduceMax", [&magnitude, &axes], &[]), ZERO)
            }
            Range::From(start) => {
                let most = self.graph.op("ReduceMax", [input, &axes], &[]);
                let start = self.graph.floats(&[], &[start]);
                (f32::from(u8::MAX), self.graph.op("Sub", [&most, &start], &[]), 0)
            }
        };
        let all_levels = self.graph.floats(&[], &[levels]);
        let step = self.graph.op("Div", [&all_levels, &span], &[]);
        let middle = match range {
            // Half a step more, as casting rounds down.
            Range::Symmetric => self.graph.floats(&[], &[f32::from(ZERO) + 0.5]),
            Range::From(start) => {
                let (distance, half) = (self.graph.floats(&[], &[-start]), self.graph.floats(&[], &[0.5]));
                let first = self.graph.op("Mul", [&step, &distance], &[]);
                self.graph.op("Add", [&first, &half], &[])
            }
        };
        let scaled = self.graph.op("Mul", [input, &step], &[]);
        let shifted = self.graph.op("Add", [&scaled, &middle], &[]);
        let values = self.graph.op("Cast", [&shifted], &[("to", Type(DataType::Uint8))]);
        Steps { values, span, levels, zero }
    }

    fn float_linear(&mut self, linear: &Linear, input: &Value) -> Value {
        let matrix = Matrix::transposed(linear);
        let weight = self.graph.floats(&[matrix.inputs, matrix.outputs], &matrix.values);
        let bias = self.graph.floats(&[linear.outputs], &linear.bias);
        let product = self.graph.op("MatMul", [input, &weight], &[]);
        self.graph.op("Add", [&product, &bias], &[])
    }

    /// `norm(input + skip + bias)`.
    fn skip_norm(&mut self, norm: &Norm, input: &Value, skip: &Value, bias: &Value) -> Value {
        let gamma = self.graph.floats(&[norm.gamma.len()], &norm.gamma);
        let beta = self.graph.floats(&[norm.beta.len()], &norm.beta);
        let epsilon = [("epsilon", Float(self.config.layer_norm_epsilon))];
        self.graph.contrib("SkipLayerNormalization", [input, skip, &gamma, &beta, bias], &epsilon)
    }
}

/// Joins queries, keys and values into one layer whose outputs are ordered head by head: the query, key and value of
/// the first head, then of the second, as the packed form of `MultiHeadAttention` wants them.
fn interleave(config: &Config, parts: [&Linear; 3]) -> Linear {
    let (inputs, head_size) = (config.hidden, config.head_size());
    let mut weight = Vec::with_capacity(3 * inputs * inputs);
    let mut bias = Vec::with_capacity(3 * inputs);
    for head in 0..config.heads {
        let outputs = head * head_size..(head + 1) * head_size;
        for part in parts {
            weight.extend_from_slice(&part.weight[outputs.start * inputs..outputs.end * inputs]);
            bias.extend_from_slice(&part.bias[outputs.clone()]);
        }
    }
    Linear { weight, bias, inputs, outputs: 3 * inputs }
}
