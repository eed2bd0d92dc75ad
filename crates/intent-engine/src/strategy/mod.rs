//! Which models to ask, in which order.

mod aggressive_rules;
mod balanced;
mod control;
mod cost_aware;
mod fallback_chain;
mod quality_first;

use std::{fmt, str::FromStr, time::Duration};

use intent_model::ModelKind;
use serde::{Deserialize, Serialize};

use crate::catalog::CostClass;

/// A model that may be asked, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The model.
    pub kind: ModelKind,
    /// The confidence from which its answer is taken, 0 to 1.
    pub threshold: f32,
    /// The share of texts it gets right, 0 to 1.
    pub accuracy: f32,
    /// The share of texts on which its confidence reaches the threshold, 0 to 1.
    pub coverage: f32,
    /// What a call usually takes.
    pub latency: Duration,
}

/// One model to ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The model.
    pub kind: ModelKind,
    /// Its answer is taken from this confidence on; otherwise the next step follows.
    pub accept_from: f32,
}

/// Plans the steps of a request. A pure function of the candidates: budget and failures are the router's business.
///
/// A new strategy is a file with one type and a line in [`StrategyName::ALL`] and [`StrategyName::strategy`].
pub trait Strategy: fmt::Debug + Send + Sync {
    /// Returns the steps in order; `candidates` are the usable models, cheapest first.
    fn plan(&self, candidates: &[Candidate]) -> Vec<Step>;
}

/// The strategies by the names that requests, experiments and metrics use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrategyName {
    /// Accept the first model, cheapest first, whose confidence reaches its threshold.
    Control,
    /// The same with a lower threshold for rules.
    AggressiveRules,
    /// Zero-shot first when the budget allows.
    Balanced,
    /// The most accurate model that works.
    QualityFirst,
    /// The cascade with the highest expected accuracy per millisecond.
    CostAware,
    /// Plain classification: the most accurate model that works, rules last.
    FallbackChain,
}

impl StrategyName {
    /// All strategies.
    pub const ALL: [Self; 6] = [
        Self::Control,
        Self::AggressiveRules,
        Self::Balanced,
        Self::QualityFirst,
        Self::CostAware,
        Self::FallbackChain,
    ];

    /// Returns the name used in requests and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::AggressiveRules => "aggressive_rules",
            Self::Balanced => "balanced",
            Self::QualityFirst => "quality_first",
            Self::CostAware => "cost_aware",
            Self::FallbackChain => "fallback_chain",
        }
    }

    /// Returns what plans by this name.
    pub fn strategy(self) -> &'static dyn Strategy {
        match self {
            Self::Control => &control::Control,
            Self::AggressiveRules => &aggressive_rules::AggressiveRules,
            Self::Balanced => &balanced::Balanced,
            Self::QualityFirst => &quality_first::QualityFirst,
            Self::CostAware => &cost_aware::CostAware,
            Self::FallbackChain => &fallback_chain::FallbackChain,
        }
    }
}

impl fmt::Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StrategyName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(|strategy| format!("`{strategy}`")).join(", ");
            format!("unknown strategy `{name}`, expected one of {known}")
        })
    }
}

/// Returns the candidates that are worth asking one after the other, cheapest first.
///
/// Models that need the sentence encoder cost the same once it has run, so of those only the most accurate is kept;
/// the others stay behind as fallbacks.
fn cascade(candidates: &[Candidate]) -> impl Iterator<Item = &Candidate> {
    candidates.iter().filter(|candidate| {
        CostClass::of(candidate.kind) != CostClass::Embedding
            || !candidates
                .iter()
                .any(|other| CostClass::of(other.kind) == CostClass::Embedding && other.accuracy > candidate.accuracy)
    })
}

/// Takes a candidate's answer from its own threshold on.
fn accept_from_threshold(candidate: &Candidate) -> Step {
    Step { kind: candidate.kind, accept_from: candidate.threshold }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_models() -> Vec<Candidate> {
        let measured =
            [(0.60, 0.25, 3), (0.91, 0.60, 40), (0.75, 0.40, 1_900), (0.95, 0.80, 2_000), (0.94, 0.9, 6_000)];
        measured
            .into_iter()
            .zip(ModelKind::ALL)
            .map(|((accuracy, coverage, micros), kind)| Candidate {
                kind,
                threshold: 0.85,
                accuracy,
                coverage,
                latency: Duration::from_micros(micros),
            })
            .collect()
    }

    fn order(strategy: StrategyName) -> Vec<&'static str> {
        strategy.strategy().plan(&all_models()).iter().map(|step| step.kind.as_str()).collect()
    }

    #[test]
    fn control_goes_from_cheap_to_strong_and_leaves_out_the_weaker_twin() {
        assert_eq!(order(StrategyName::Control), ["rules", "linear", "hybrid", "distilbert"]);
    }

    #[test]
    fn aggressive_rules_differs_from_control_only_in_the_threshold_of_rules() {
        let control = StrategyName::Control.strategy().plan(&all_models());
        let aggressive = StrategyName::AggressiveRules.strategy().plan(&all_models());
        assert_eq!(aggressive[0], Step { kind: ModelKind::Rules, accept_from: 0.75 });
        assert_eq!(aggressive[1..], control[1..]);
    }

    #[test]
    fn balanced_asks_zero_shot_first() {
        assert_eq!(order(StrategyName::Balanced), ["zero_shot", "rules", "linear", "hybrid", "distilbert"]);
    }

    #[test]
    fn quality_first_goes_from_accurate_to_less_accurate_and_takes_any_answer() {
        assert_eq!(order(StrategyName::QualityFirst), ["hybrid", "distilbert", "linear", "zero_shot", "rules"]);
        assert!(StrategyName::QualityFirst.strategy().plan(&all_models()).iter().all(|step| step.accept_from == 0.0));
    }

    #[test]
    fn the_fallback_chain_ends_with_rules_however_good_they_look() {
        let mut candidates = all_models();
        candidates[0].accuracy = 0.99;
        let plan = StrategyName::FallbackChain.strategy().plan(&candidates);
        let order: Vec<&str> = plan.iter().map(|step| step.kind.as_str()).collect();
        assert_eq!(order, ["hybrid", "distilbert", "linear", "zero_shot", "rules"]);
    }

    #[test]
    fn every_strategy_plans_for_any_set_of_models_without_naming_others() {
        for strategy in StrategyName::ALL {
            for mask in 0_u32..32 {
                let candidates: Vec<Candidate> =
                    all_models().into_iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, c)| c).collect();
                let plan = strategy.strategy().plan(&candidates);
                assert_eq!(plan.is_empty(), candidates.is_empty(), "{strategy} with {candidates:?}");
                assert!(plan.iter().all(|step| candidates.iter().any(|candidate| candidate.kind == step.kind)));
            }
        }
    }

    #[test]
    fn names_parse_back() {
        for strategy in StrategyName::ALL {
            assert_eq!(strategy.as_str().parse(), Ok(strategy));
        }
        assert!("fastest".parse::<StrategyName>().is_err_and(|message| message.contains("`control`")));
    }
}
