//! A cascade of models, measured from the predictions of each, beside a control that decides at random.

use serde::Serialize;

use super::{
    EvaluationSet, ModelPredictions,
    metrics::{Interval, wilson_interval},
};

/// One step of a cascade: ask a model, take its answer when it is in scope and sure enough.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The name of the model.
    pub model: String,
    /// The confidence from which its answer is taken.
    pub threshold: f32,
}

/// What a cascade does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StrategyEvaluation {
    /// Its name.
    pub name: String,
    /// The share of in-scope rows whose likeliest intent, of the deciding model, is right, whatever its out-of-scope gate
    /// says: to be compared with the accuracy of a model.
    pub accuracy: f64,
    /// Its 95 % interval.
    pub accuracy_interval: Interval,
    /// The share of all rows, those out of scope included, that are answered right with the gates in force.
    pub accuracy_with_out_of_scope: f64,
    /// The share of out-of-scope texts that are answered so; `None` without any.
    pub out_of_scope_recall: Option<f64>,
    /// The steps, in order.
    pub steps: Vec<StepShare>,
    /// The mean over all rows of the p50 of the models that were asked, in milliseconds.
    pub mean_latency_ms: f64,
    /// The same cascade with its decisions made by lot: each model accepts as many rows as here, but any rows. It costs
    /// the same by construction; what the cascade is better by is what confidence is worth.
    pub random_control: RandomControl,
}

/// What one step of a cascade does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepShare {
    /// The step.
    #[serde(flatten)]
    pub step: Step,
    /// The share of rows whose answer comes from this model.
    pub share: f64,
    /// The share of right answers among them.
    pub accuracy: f64,
}

/// The control of a cascade.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RandomControl {
    /// The expected share of right answers.
    pub accuracy: f64,
    /// By how many standard deviations of the control the cascade is better.
    pub standard_deviations: f64,
}

/// Evaluates a cascade over models that were evaluated on the same rows: the first step accepted answers; when none
/// accepts, the last does.
///
/// # Errors
/// With the name of a step's model that is not among `models`, or when there is no step.
pub fn evaluate_strategy(
    name: &str,
    steps: &[Step],
    set: &EvaluationSet,
    models: &[ModelPredictions],
) -> Result<StrategyEvaluation, String> {
    let asked: Vec<&ModelPredictions> = steps
        .iter()
        .map(|step| {
            models.iter().find(|model| model.name == step.model).ok_or_else(|| {
                let known: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
                format!("strategy `{name}` asks `{}`, but only {known:?} were evaluated", step.model)
            })
        })
        .collect::<Result<_, _>>()?;
    let last = asked.len().checked_sub(1).ok_or_else(|| format!("strategy `{name}` has no step"))?;
    let decides = |of: &dyn Fn(&ModelPredictions) -> super::Scored| {
        let accepts = |at: &usize| {
            let prediction = of(asked[*at]).prediction;
            prediction.out_of_scope.is_none() && prediction.confidence() >= steps[*at].threshold
        };
        (0..last).find(accepts).unwrap_or(last)
    };

    let rows = set.rows.len();
    let deciding: Vec<usize> = (0..rows).map(|row| decides(&|model| model.in_scope[row].clone())).collect();
    let is_right =
        |step: usize, row: usize| asked[step].in_scope[row].prediction.ranking()[0] == set.rows[row].label as usize;
    let right = (0..rows).filter(|&row| is_right(deciding[row], row)).count();
    let is_let_pass = |row: &usize| asked[deciding[*row]].in_scope[*row].prediction.out_of_scope.is_none();
    let answered_right = (0..rows).filter(is_let_pass).filter(|&row| is_right(deciding[row], row)).count();
    let shares: Vec<StepShare> = (0..steps.len())
        .map(|step| {
            let own: Vec<usize> = (0..rows).filter(|&row| deciding[row] == step).collect();
            let hits = own.iter().filter(|&&row| is_right(step, row)).count();
            StepShare {
                step: steps[step].clone(),
                share: own.len() as f64 / rows.max(1) as f64,
                accuracy: hits as f64 / own.len().max(1) as f64,
            }
        })
        .collect();
    let found = (0..set.out_of_scope.len()).filter(|&row| {
        asked[decides(&|model| model.foreign[row].clone())].foreign[row].prediction.out_of_scope.is_some()
    });
    let found = found.count();
    let paid = |decided: &usize| asked[..=*decided].iter().map(|model| model.latency_ms.p50).sum::<f64>();
    let accuracy = right as f64 / rows.max(1) as f64;

    Ok(StrategyEvaluation {
        name: name.to_owned(),
        accuracy,
        accuracy_interval: wilson_interval(right, rows),
        accuracy_with_out_of_scope: (answered_right + found) as f64 / (rows + set.out_of_scope.len()).max(1) as f64,
        out_of_scope_recall: (!set.out_of_scope.is_empty()).then(|| found as f64 / set.out_of_scope.len() as f64),
        mean_latency_ms: deciding.iter().map(paid).sum::<f64>() / rows.max(1) as f64,
        random_control: random_control(accuracy, rows, &shares, is_right),
        steps: shares,
    })
}

/// Each row goes to a step by lot, with the cascade's shares: the sum of independent draws, one per row.
fn random_control(
    accuracy: f64,
    rows: usize,
    shares: &[StepShare],
    is_right: impl Fn(usize, usize) -> bool,
) -> RandomControl {
    let chance = |row: usize| -> f64 {
        let steps = shares.iter().enumerate();
        steps.map(|(step, share)| if is_right(step, row) { share.share } else { 0.0 }).sum()
    };
    let chances: Vec<f64> = (0..rows).map(chance).collect();
    let expected = chances.iter().sum::<f64>() / rows.max(1) as f64;
    let variance = chances.iter().map(|chance| chance * (1.0 - chance)).sum::<f64>() / (rows.max(1) as f64).powi(2);
    let standard_deviations = if variance > 0.0 { (accuracy - expected) / variance.sqrt() } else { 0.0 };
    RandomControl { accuracy: expected, standard_deviations }
}

#[cfg(test)]
mod tests {
    use intent_model::{Labels, Prediction};

    use super::*;
    use crate::{
        dataset::Labelled,
        evaluation::{LatencyMs, Scored},
    };

    /// A model that gives label 0 these confidences; `None` is out of scope.
    fn model(name: &str, confidences: &[Option<f32>], p50: f64) -> ModelPredictions {
        let scored = |confidence: &Option<f32>| Scored {
            prediction: Prediction {
                confidences: vec![confidence.unwrap_or(0.5), 1.0 - confidence.unwrap_or(0.5)],
                out_of_scope: confidence.is_none().then_some(0.9),
            },
            out_of_scope_score: None,
            truncated: false,
        };
        ModelPredictions {
            name: name.to_owned(),
            in_scope: confidences.iter().map(scored).collect(),
            foreign: vec![scored(&None)],
            gate: None,
            accept_threshold: 0.0,
            latency_ms: LatencyMs { p50, p95: p50, p99: p50, texts: 1 },
        }
    }

    fn step(model: &str, threshold: f32) -> Step {
        Step { model: model.to_owned(), threshold }
    }

    #[test]
    fn the_first_sure_model_answers_and_the_last_when_none_is() {
        let rows = vec![Labelled { text: String::new(), label: 0 }; 4];
        let set = EvaluationSet { labels: Labels::new(["a", "b"]), rows, out_of_scope: vec![String::new()] };
        // The fast model is right where it is sure, wrong on the third row, and takes the fourth for foreign.
        let models = [
            model("fast", &[Some(0.9), Some(0.9), Some(0.45), None], 1.0),
            model("slow", &[Some(0.8), Some(0.2), Some(0.8), Some(0.8)], 10.0),
        ];
        let cascade = evaluate_strategy("control", &[step("fast", 0.85), step("slow", 0.0)], &set, &models)
            .expect("known models");
        assert_eq!((cascade.accuracy, cascade.accuracy_with_out_of_scope), (1.0, 1.0));
        assert_eq!((cascade.steps[0].share, cascade.steps[1].share), (0.5, 0.5));
        assert_eq!(cascade.mean_latency_ms, 6.0);
        assert_eq!(cascade.out_of_scope_recall, Some(1.0));
        // By lot: half of (1, 1, 0, 1) and half of (1, 0, 1, 1).
        assert_eq!(cascade.random_control.accuracy, 0.75);
        assert!(cascade.random_control.standard_deviations > 1.0);
        assert!(evaluate_strategy("control", &[step("hybrid", 0.5)], &set, &models).is_err());
    }
}
