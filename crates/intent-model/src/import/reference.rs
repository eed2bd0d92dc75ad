//! The same model once more, in plain loops over f32: what an import is checked against. Shares no code with the graph
//! writer or the runtime.

use crate::import::{
    config::{Activation, Config},
    parameters::{HeadActivation, Layer, Linear, Norm, Parameters},
};

/// Returns the last hidden states of one text, `[tokens, hidden]`.
pub(crate) fn hidden_states(config: &Config, parameters: &Parameters, ids: &[u32]) -> Vec<f32> {
    let hidden = config.hidden;
    let mut states = Vec::with_capacity(ids.len() * hidden);
    for (position, &id) in ids.iter().enumerate() {
        let token = &parameters.token_embeddings[id as usize * hidden..][..hidden];
        let place = &parameters.position_embeddings[position * hidden..][..hidden];
        let mut row: Vec<f32> = token.iter().zip(place).map(|(token, place)| token + place).collect();
        if let Some(kind) = &parameters.token_type_embedding {
            row.iter_mut().zip(kind).for_each(|(sum, kind)| *sum += kind);
        }
        states.extend(normalize(config, &parameters.embedding_norm, &row));
    }
    for layer in &parameters.layers {
        states = apply_layer(config, layer, &states);
    }
    states
}

/// Returns the logits of one text; `None` for a model without a head.
pub(crate) fn logits(config: &Config, parameters: &Parameters, ids: &[u32]) -> Option<Vec<f32>> {
    let head = parameters.head.as_ref()?;
    let states = hidden_states(config, parameters, ids);
    let dense = apply_linear(&head.dense, &states[..config.hidden]);
    let activated: Vec<f32> = match head.activation {
        HeadActivation::Tanh => dense.into_iter().map(f32::tanh).collect(),
        HeadActivation::Relu => dense.into_iter().map(|value| value.max(0.0)).collect(),
    };
    Some(apply_linear(&head.classifier, &activated))
}

fn apply_layer(config: &Config, layer: &Layer, states: &[f32]) -> Vec<f32> {
    let hidden = config.hidden;
    let project = |linear: &Linear| -> Vec<Vec<f32>> {
        states.chunks_exact(hidden).map(|row| apply_linear(linear, row)).collect()
    };
    let (queries, keys, values) = (project(&layer.query), project(&layer.key), project(&layer.value));
    let mut result = Vec::with_capacity(states.len());
    for (query, input) in queries.iter().zip(states.chunks_exact(hidden)) {
        let context = attend(config, query, &keys, &values);
        let attended = add(&apply_linear(&layer.attention_output, &context), input);
        let attended = normalize(config, &layer.attention_norm, &attended);
        let raised: Vec<f32> =
            apply_linear(&layer.up, &attended).into_iter().map(|value| activate(config.activation, value)).collect();
        let lowered = add(&apply_linear(&layer.down, &raised), &attended);
        result.extend(normalize(config, &layer.output_norm, &lowered));
    }
    result
}

/// Returns what one token takes from all tokens, head by head.
fn attend(config: &Config, query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f32> {
    let size = config.head_size();
    let mut context = vec![0.0; config.hidden];
    for head in 0..config.heads {
        let part = head * size..(head + 1) * size;
        let scores: Vec<f32> =
            keys.iter().map(|key| dot(&query[part.clone()], &key[part.clone()]) / (size as f32).sqrt()).collect();
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
        let total: f32 = weights.iter().sum();
        for (weight, value) in weights.iter().zip(values) {
            for (sum, value) in context[part.clone()].iter_mut().zip(&value[part.clone()]) {
                *sum += weight / total * value;
            }
        }
    }
    context
}

fn apply_linear(linear: &Linear, input: &[f32]) -> Vec<f32> {
    linear.weight.chunks_exact(linear.inputs).zip(&linear.bias).map(|(row, bias)| dot(row, input) + bias).collect()
}

fn normalize(config: &Config, norm: &Norm, row: &[f32]) -> Vec<f32> {
    let count = row.len() as f32;
    let mean = row.iter().sum::<f32>() / count;
    let variance = row.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count;
    let deviation = (variance + config.layer_norm_epsilon).sqrt();
    let scale = norm.gamma.iter().zip(&norm.beta);
    row.iter().zip(scale).map(|(value, (gamma, beta))| (value - mean) / deviation * gamma + beta).collect()
}

fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Gelu => (f64::from(x) * 0.5 * (1.0 + erf(f64::from(x) / std::f64::consts::SQRT_2))) as f32,
        Activation::GeluTanh => {
            let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

/// The error function, to about 1e-12: its Maclaurin series near zero, the continued fraction of its complement
/// elsewhere (Abramowitz and Stegun, 7.1.6 and 7.1.14).
fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    let value = if magnitude < 2.5 {
        let (mut term, mut sum) = (magnitude, magnitude);
        for n in 1..60 {
            term *= 2.0 * magnitude * magnitude / (2.0 * f64::from(n) + 1.0);
            sum += term;
        }
        2.0 / std::f64::consts::PI.sqrt() * (-magnitude * magnitude).exp() * sum
    } else {
        let mut fraction = 0.0;
        for n in (1..60).rev() {
            fraction = f64::from(n) / 2.0 / (magnitude + fraction);
        }
        1.0 - (-magnitude * magnitude).exp() / std::f64::consts::PI.sqrt() / (magnitude + fraction)
    };
    value.copysign(x)
}

fn add(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// A dot product in sixteen running sums, which the compiler can keep in vector registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_matches_its_tables() {
        for (x, value) in [
            (0.0, 0.0),
            (0.5, 0.520_499_877_813_046_5),
            (1.0, 0.842_700_792_949_714_9),
            (2.0, 0.995_322_265_018_952_7),
            (2.6, 0.999_763_965_583_470_7),
            (-3.0, -0.999_977_909_503_001_4),
        ] {
            assert!((erf(x) - value).abs() < 1e-12, "erf({x}) = {}", erf(x));
        }
    }
}
