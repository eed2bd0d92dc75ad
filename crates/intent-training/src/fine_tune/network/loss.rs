//! What training makes small.

/// Computes the weighted cross-entropy of logits against target distributions, and its gradient.
///
/// `logits`, `targets` and `gradient` hold one row of `labels` values per text, `weights` one value per text. The
/// gradient is that of the returned sum `Σ weight · -Σ target · log softmax(logits)`.
pub(crate) fn cross_entropy(
    logits: &[f32],
    targets: &[f32],
    weights: &[f32],
    labels: usize,
    gradient: &mut Vec<f32>,
) -> f64 {
    gradient.resize(logits.len(), 0.0);
    let mut loss = 0.0;
    let rows = logits.chunks_exact(labels).zip(targets.chunks_exact(labels)).zip(gradient.chunks_exact_mut(labels));
    for (((logits, targets), gradient), &weight) in rows.zip(weights) {
        log_softmax(logits, gradient);
        for (log_probability, target) in gradient.iter_mut().zip(targets) {
            loss -= f64::from(weight * target * *log_probability);
            *log_probability = weight * (log_probability.exp() - target);
        }
    }
    loss
}

/// Adds to `gradient` that of the symmetric Kullback-Leibler divergence between two runs of each text under two dropout
/// masks (Wu et al. 2021, "R-Drop"), and returns the weighted divergence.
///
/// The first half of the rows is one run, the second half the other run of the same texts; `weights` holds one value
/// per row.
pub(crate) fn consistency(logits: &[f32], weights: &[f32], labels: usize, factor: f32, gradient: &mut [f32]) -> f64 {
    let half = logits.len() / 2;
    let (first, second) = logits.split_at(half);
    let (first_gradient, second_gradient) = gradient.split_at_mut(half);
    let mut log_p = vec![0.0; labels];
    let mut log_q = vec![0.0; labels];
    let mut loss = 0.0;
    let rows = first.chunks_exact(labels).zip(second.chunks_exact(labels));
    let gradients = first_gradient.chunks_exact_mut(labels).zip(second_gradient.chunks_exact_mut(labels));
    for (((first, second), (dfirst, dsecond)), weight) in rows.zip(gradients).zip(weights) {
        log_softmax(first, &mut log_p);
        log_softmax(second, &mut log_q);
        let divergence = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a.exp() * (a - b)).sum::<f32>();
        let (forward, backward) = (divergence(&log_p, &log_q), divergence(&log_q, &log_p));
        let scale = weight * factor;
        loss += f64::from(scale * (forward + backward));
        for label in 0..labels {
            let (p, q) = (log_p[label].exp(), log_q[label].exp());
            let log_ratio = log_p[label] - log_q[label];
            dfirst[label] += scale * (p * (log_ratio - forward) + p - q);
            dsecond[label] += scale * (q * (-log_ratio - backward) + q - p);
        }
    }
    loss
}

/// Writes `log softmax(logits)`.
pub(crate) fn log_softmax(logits: &[f32], out: &mut [f32]) {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = logits.iter().map(|logit| (logit - max).exp()).sum::<f32>().ln() + max;
    for (out, logit) in out.iter_mut().zip(logits) {
        *out = logit - log_sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 12] = [0.3, -1.2, 2.0, 0.1, 0.7, -0.4, 1.1, 0.2, -0.3, 0.9, 0.0, -2.0];

    /// Compares a gradient with central differences of the loss.
    fn check(mut loss: impl FnMut(&[f32], &mut Vec<f32>) -> f64) {
        let mut gradient = Vec::new();
        loss(&LOGITS, &mut gradient);
        for index in 0..LOGITS.len() {
            let mut at = |step: f32| {
                let mut logits = LOGITS;
                logits[index] += step;
                loss(&logits, &mut Vec::new())
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - f64::from(gradient[index])).abs() < 1e-4, "{index}: {slope} and {}", gradient[index]);
        }
    }

    #[test]
    fn the_gradient_of_the_cross_entropy_is_its_slope() {
        let targets = [0.8, 0.1, 0.1, 0.0, 1.0, 0.0, 0.2, 0.3, 0.5, 0.0, 0.0, 1.0];
        check(|logits, gradient| cross_entropy(logits, &targets, &[0.5, 1.0, 2.0, 0.1], 3, gradient));
    }

    #[test]
    fn the_gradient_of_the_consistency_is_its_slope() {
        check(|logits, gradient| {
            gradient.resize(logits.len(), 0.0);
            consistency(logits, &[0.5, 1.0, 0.5, 1.0], 3, 0.7, gradient)
        });
    }

    #[test]
    fn a_certain_right_answer_costs_nothing() {
        let loss = cross_entropy(&[100.0, 0.0], &[1.0, 0.0], &[1.0], 2, &mut Vec::new());
        assert!(loss.abs() < 1e-6, "{loss}");
    }
}
