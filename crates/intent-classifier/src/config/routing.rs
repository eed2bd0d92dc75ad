//! How the model router decides when nobody has told it otherwise over HTTP.

use std::{collections::BTreeMap, time::Duration};

use confique::Config;
use intent_engine::{Experiment, RoutingConfig, StrategyName, routing::LatencyTargets};
use intent_model::ModelKind;

use super::ConfigError;

/// How the model router decides, until it is told otherwise over HTTP; see [routing.md](routing.md).
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct RoutingSettings {
    /// The strategy for requests that are in no experiment: `control`, `aggressive_rules`, `balanced`, `quality_first`,
    /// `cost_aware` or `fallback_chain`.
    #[config(env = "ROUTING_STRATEGY", default = "control")]
    pub(crate) strategy: StrategyName,

    /// How soon an answer is due when the request says `critical`, in milliseconds.
    #[config(env = "LATENCY_TARGET_CRITICAL_MS", default = 50)]
    pub(crate) critical_ms: u64,

    /// How soon an answer is due when the request says `standard` or nothing, in milliseconds.
    #[config(env = "LATENCY_TARGET_STANDARD_MS", default = 200)]
    pub(crate) standard_ms: u64,

    /// How soon an answer is due when the request says `relaxed`, in milliseconds.
    #[config(env = "LATENCY_TARGET_RELAXED_MS", default = 500)]
    pub(crate) relaxed_ms: u64,

    /// Confidence from which an answer of `rules` is taken, 0 to 1.
    #[config(env = "RULES_THRESHOLD", default = 0.85)]
    #[config(validate(is_share(rules_threshold), "a threshold must be 0 to 1"))]
    pub(crate) rules_threshold: f64,

    /// Confidence from which an answer of `linear` is taken, 0 to 1. Unset: as solved at training.
    #[config(env = "LINEAR_THRESHOLD")]
    #[config(validate(is_share(linear_threshold), "a threshold must be 0 to 1"))]
    pub(crate) linear_threshold: Option<f64>,

    /// Confidence from which an answer of `zero_shot` is taken, 0 to 1.
    #[config(env = "ZERO_SHOT_THRESHOLD", default = 0.70)]
    #[config(validate(is_share(zero_shot_threshold), "a threshold must be 0 to 1"))]
    pub(crate) zero_shot_threshold: f64,

    /// Confidence from which an answer of `hybrid` is taken, 0 to 1. Unset: as solved at training.
    #[config(env = "HYBRID_THRESHOLD")]
    #[config(validate(is_share(hybrid_threshold), "a threshold must be 0 to 1"))]
    pub(crate) hybrid_threshold: Option<f64>,

    /// Confidence from which an answer of `distilbert` is taken, 0 to 1.
    #[config(env = "DISTILBERT_THRESHOLD", default = 0.0)]
    #[config(validate(is_share(distilbert_threshold), "a threshold must be 0 to 1"))]
    pub(crate) distilbert_threshold: f64,

    /// Name of the experiment on strategies; another name divides the users anew. Its share of the traffic is
    /// `AB_TEST_PERCENTAGE`.
    #[config(env = "EXPERIMENT_NAME", default = "routing_strategy")]
    #[config(validate = names_experiment)]
    pub(crate) experiment_name: String,

    /// Strategies that the experiment tries, each on an equal part of its share; in the environment separated by commas.
    #[config(env = "EXPERIMENT_STRATEGIES", parse_env = strategies)]
    #[config(default = ["aggressive_rules", "balanced", "quality_first"])]
    pub(crate) experiment_strategies: Vec<StrategyName>,
}

impl RoutingSettings {
    /// Checks what no field can check alone.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |variable, reason: &str| Err(ConfigError::Invalid { variable, reason: reason.to_owned() });
        if !(1..=self.standard_ms).contains(&self.critical_ms) || !(1..=self.relaxed_ms).contains(&self.standard_ms) {
            return invalid("LATENCY_TARGET_STANDARD_MS", LATENCY_ORDER);
        }
        if let Some(problem) = treatments_problem(&self.experiment_strategies) {
            return invalid("EXPERIMENT_STRATEGIES", problem);
        }
        Ok(())
    }

    /// Returns what the router goes by.
    pub(crate) fn routing(&self) -> RoutingConfig {
        let thresholds = [
            (ModelKind::Rules, Some(self.rules_threshold)),
            (ModelKind::Linear, self.linear_threshold),
            (ModelKind::ZeroShot, Some(self.zero_shot_threshold)),
            (ModelKind::Hybrid, self.hybrid_threshold),
            (ModelKind::Distilbert, Some(self.distilbert_threshold)),
        ];
        let [critical, standard, relaxed] =
            [self.critical_ms, self.standard_ms, self.relaxed_ms].map(Duration::from_millis);
        RoutingConfig {
            strategy: self.strategy,
            thresholds: thresholds
                .into_iter()
                .filter_map(|(kind, threshold)| Some((kind, threshold? as f32)))
                .collect(),
            accuracy: BTreeMap::new(),
            latency_targets: LatencyTargets { critical, standard, relaxed },
        }
    }

    /// Returns the experiment with this share of the traffic.
    pub(crate) fn experiment(&self, share: f64) -> Experiment {
        Experiment { name: self.experiment_name.as_str().into(), share, treatments: self.experiment_strategies.clone() }
    }
}

/// What the latency targets must keep to.
pub(crate) const LATENCY_ORDER: &str =
    "each target must be above 0, `critical` at most `standard`, `standard` at most `relaxed`";

/// Returns what is wrong with the strategies that an experiment tries.
pub(crate) fn treatments_problem(treatments: &[StrategyName]) -> Option<&'static str> {
    let is_repeated = |at: usize| treatments[..at].contains(&treatments[at]);
    if treatments.is_empty() {
        Some("there must be at least one strategy to try")
    } else if treatments.contains(&StrategyName::Control) {
        Some("`control` is what the others are compared with, it cannot be tried itself")
    } else if (0..treatments.len()).any(is_repeated) {
        Some("a strategy stands there twice")
    } else {
        None
    }
}

/// Tells whether a text can name an experiment.
pub(crate) fn is_experiment_name(name: &str) -> bool {
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(is_allowed)
}

/// Names no strategy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct UnknownStrategy(String);

/// Reads strategies that are separated by commas.
fn strategies(list: &str) -> Result<Vec<StrategyName>, UnknownStrategy> {
    list.split(',').map(|name| name.trim().parse().map_err(UnknownStrategy)).collect()
}

fn names_experiment(name: &impl AsRef<str>) -> Result<(), &'static str> {
    if is_experiment_name(name.as_ref()) { Ok(()) } else { Err("expected 1 to 64 letters, digits, `_` or `-`") }
}

fn is_share(value: &f64) -> bool {
    (0.0..=1.0).contains(value)
}
