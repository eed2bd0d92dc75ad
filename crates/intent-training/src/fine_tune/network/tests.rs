use super::{loss::cross_entropy, *};

const SMALL: Architecture =
    Architecture { vocabulary: 11, positions: 8, dim: 12, hidden_dim: 20, heads: 3, layers: 2, labels: 4 };

fn network() -> (Network, Vec<f32>) {
    let network = Network::new(SMALL, SMALL.vocabulary);
    // Values of the size that trained layers have, so that no part of the network is dead.
    let parameters = (0..network.layout.len() as u64)
        .map(|index| (mix(3, index) >> 40) as f32 / (1_u64 << 24) as f32 - 0.5)
        .collect();
    (network, parameters)
}

fn batch() -> Batch {
    Batch { tokens: vec![1, 5, 7, 2, 1, 9, 2, 1, 3, 3, 10, 0, 2], starts: vec![0, 4, 7, 13] }
}

fn targets() -> Vec<f32> {
    vec![0.0, 1.0, 0.0, 0.0, 0.7, 0.1, 0.1, 0.1, 0.0, 0.0, 0.0, 1.0]
}

fn loss(network: &Network, parameters: &[f32], masks: Masks, work: &mut Workspace) -> f64 {
    network.forward(parameters, &batch(), masks, work);
    cross_entropy(&work.logits, &targets(), &[0.5, 0.2, 0.3], SMALL.labels, &mut work.logits_gradient)
}

/// Compares the gradient of every tensor with central differences along random directions within it.
fn check_gradient(masks: Masks) {
    let (network, parameters) = network();
    let mut work = Workspace::default();
    let mut gradient = vec![f32::NAN; parameters.len()];
    loss(&network, &parameters, masks, &mut work);
    network.backward(&parameters, &batch(), masks, &mut work, &mut gradient);
    assert!(gradient.iter().all(|value| value.is_finite()), "every parameter got a gradient");

    for tensor in &network.layout.tensors {
        let direction: Vec<f32> =
            tensor.range.clone().map(|index| if mix(9, index as u64) & 1 == 0 { 1.0 } else { -1.0 }).collect();
        let mut at = |step: f32| {
            let mut moved = parameters.clone();
            moved[tensor.range.clone()].iter_mut().zip(&direction).for_each(|(value, sign)| *value += step * sign);
            loss(&network, &moved, masks, &mut work)
        };
        let step = 2e-3 / (tensor.range.len() as f32).sqrt();
        let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
        let expected: f64 = gradient[tensor.range.clone()].iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let tolerance = 2e-3 + 0.02 * slope.abs().max(expected.abs());
        assert!((slope - expected).abs() < tolerance, "{}: slope {slope}, gradient {expected}", tensor.name);
    }
}

#[test]
fn the_gradient_of_every_tensor_is_the_slope_of_the_loss() {
    check_gradient(Masks::OFF);
}

#[test]
fn the_gradient_under_dropout_is_the_slope_under_the_same_masks() {
    check_gradient(Masks { rates: DropoutRates { encoder: 0.3, head: 0.3 }, seed: 5 });
}

#[test]
fn logits_do_not_depend_on_batch_mates() {
    let (network, parameters) = network();
    let mut work = Workspace::default();
    let batch = batch();
    network.forward(&parameters, &batch, Masks::OFF, &mut work);
    let together = work.logits.clone();
    for (text, expected) in batch.starts.windows(2).zip(together.chunks_exact(SMALL.labels)) {
        let alone = Batch { tokens: batch.tokens[text[0]..text[1]].to_vec(), starts: vec![0, text[1] - text[0]] };
        network.forward(&parameters, &alone, Masks::OFF, &mut work);
        for (a, b) in work.logits.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }
}
