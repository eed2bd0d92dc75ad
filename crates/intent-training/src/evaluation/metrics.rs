//! The figures themselves, as pure functions of predictions.

/// Returns the index of the largest value, the first of equals.
pub fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(at, _)| at)
}

/// Returns the share of rows whose label is among the `k` with the highest logits.
pub fn top_k_accuracy(logits: &[Vec<f32>], labels: &[u32], k: usize) -> f64 {
    let hit = |(logits, &label): (&Vec<f32>, &u32)| {
        let own = logits[label as usize];
        logits.iter().enumerate().filter(|&(at, &other)| other > own || (other == own && at < label as usize)).count()
            < k
    };
    logits.iter().zip(labels).filter(|&row| hit(row)).count() as f64 / labels.len().max(1) as f64
}

/// Returns the confidence of each row's likeliest label and whether it is right.
pub fn answers(logits: &[Vec<f32>], labels: &[u32], temperature: f32) -> Vec<(f32, bool)> {
    let one = |(logits, &label): (&Vec<f32>, &u32)| {
        let confidences = intent_model::calibration::softmax(logits, temperature);
        let best = argmax(&confidences);
        (confidences[best], best == label as usize)
    };
    logits.iter().zip(labels).map(one).collect()
}

/// Returns the mean F1 over the labels that occur in `labels`.
pub fn macro_f1(logits: &[Vec<f32>], labels: &[u32]) -> f64 {
    let classes = logits.first().map_or(0, Vec::len);
    let (mut right, mut predicted, mut actual) =
        (vec![0_usize; classes], vec![0_usize; classes], vec![0_usize; classes]);
    for (logits, &label) in logits.iter().zip(labels) {
        let answer = argmax(logits);
        predicted[answer] += 1;
        actual[label as usize] += 1;
        right[answer] += usize::from(answer == label as usize);
    }
    let present: Vec<usize> = (0..classes).filter(|&class| actual[class] > 0).collect();
    let f1 = |&class: &usize| 2.0 * right[class] as f64 / (predicted[class] + actual[class]) as f64;
    present.iter().map(f1).sum::<f64>() / present.len().max(1) as f64
}

/// How many bins of equal width the expected calibration error has.
pub const CALIBRATION_BINS: usize = 15;

/// Returns the expected calibration error: the mean distance of confidence and accuracy over bins of equal width,
/// weighted by their rows (Guo et al. 2017).
pub fn expected_calibration_error(answers: &[(f32, bool)]) -> f64 {
    let mut sums = [(0.0_f64, 0.0_f64); CALIBRATION_BINS];
    for &(confidence, correct) in answers {
        let bin = ((confidence * CALIBRATION_BINS as f32) as usize).min(CALIBRATION_BINS - 1);
        sums[bin].0 += f64::from(confidence);
        sums[bin].1 += f64::from(u8::from(correct));
    }
    sums.iter().map(|(confidence, correct)| (confidence - correct).abs()).sum::<f64>() / answers.len().max(1) as f64
}

/// Returns the chance that an out-of-scope text gets a higher score than one in scope, ties counting half: the area
/// under the ROC curve. `None` when either is missing.
pub fn auroc(in_scope: &[f32], foreign: &[f32]) -> Option<f64> {
    if in_scope.is_empty() || foreign.is_empty() {
        return None;
    }
    let mut sorted = in_scope.to_vec();
    sorted.sort_by(f32::total_cmp);
    let wins = |score: &f32| {
        let below = sorted.partition_point(|other| other < score);
        let not_above = sorted.partition_point(|other| other <= score);
        (below + not_above) as f64 / 2.0
    };
    Some(foreign.iter().map(wins).sum::<f64>() / (in_scope.len() * foreign.len()) as f64)
}
