use super::{Candidate, Step, Strategy, accept_from_threshold};

/// Chooses the cascade with the highest expected accuracy per expected millisecond, from measured figures.
///
/// A cascade is a set of models asked from cheap to dear. A text reaches a model when all before it were unsure, which is
/// taken to happen independently; a model that accepts is taken to be right as often as it is on all texts.
#[derive(Debug)]
pub(super) struct CostAware;

impl CostAware {
    /// What a request costs besides its models: HTTP, JSON, the queue. Without it the cheapest model, however bad,
    /// would always win.
    const OVERHEAD_MS: f64 = 1.0;
}

impl Strategy for CostAware {
    fn plan(&self, candidates: &[Candidate]) -> Vec<Step> {
        let subsets = 1..1_u32 << candidates.len();
        let cascades = subsets.map(|subset| {
            candidates.iter().enumerate().filter(|(index, _)| subset >> index & 1 == 1).map(|(_, c)| c).collect()
        });
        let best = cascades.max_by(|a: &Vec<&Candidate>, b| accuracy_per_ms(a).total_cmp(&accuracy_per_ms(b)));
        best.into_iter().flatten().map(accept_from_threshold).collect()
    }
}

fn accuracy_per_ms(cascade: &[&Candidate]) -> f64 {
    let (mut reached, mut accuracy, mut cost_ms) = (1.0, 0.0, CostAware::OVERHEAD_MS);
    for (index, candidate) in cascade.iter().enumerate() {
        let is_last = index + 1 == cascade.len();
        let accepted = if is_last { 1.0 } else { f64::from(candidate.coverage) };
        cost_ms += reached * candidate.latency.as_secs_f64() * 1e3;
        accuracy += reached * accepted * f64::from(candidate.accuracy);
        reached *= 1.0 - accepted;
    }
    accuracy / cost_ms
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use intent_model::ModelKind::{self, Hybrid, Linear, Rules};

    use super::*;

    fn candidate(kind: ModelKind, accuracy: f32, coverage: f32, micros: u64) -> Candidate {
        Candidate { kind, threshold: 0.8, accuracy, coverage, latency: Duration::from_micros(micros) }
    }

    fn chosen(candidates: &[Candidate]) -> Vec<ModelKind> {
        CostAware.plan(candidates).iter().map(|step| step.kind).collect()
    }

    #[test]
    fn a_dear_model_is_worth_its_price_when_the_cheap_one_is_bad() {
        assert_eq!(chosen(&[candidate(Linear, 0.3, 0.2, 50), candidate(Hybrid, 0.95, 0.9, 500)]), [Hybrid]);
    }

    #[test]
    fn a_dear_model_is_left_out_when_the_cheap_one_is_nearly_as_good() {
        assert_eq!(chosen(&[candidate(Linear, 0.93, 0.6, 50), candidate(Hybrid, 0.95, 0.9, 5_000)]), [Linear]);
    }

    #[test]
    fn a_cheap_model_that_is_right_when_sure_comes_before_the_dear_one() {
        let cheap_but_sure = candidate(Rules, 0.94, 0.5, 3);
        let dear = candidate(Hybrid, 0.95, 0.9, 2_000);
        assert_eq!(chosen(&[cheap_but_sure, dear]), [Rules], "accepting everything is cheaper still");
        let coin = candidate(Rules, 0.2, 0.01, 3);
        assert_eq!(chosen(&[coin, dear]), [Hybrid]);
    }
}
