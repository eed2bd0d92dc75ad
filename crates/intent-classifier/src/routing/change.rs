//! What can be said of the router over HTTP, as it is stored, and what must be true of it.

use std::{collections::BTreeMap, time::Duration};

use intent_engine::{Experiment, RoutingConfig, StrategyName, routing::LatencyTargets};
use intent_model::ModelKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{LATENCY_ORDER, is_experiment_name, treatments_problem};

/// Everything that was said over HTTP; what is not there is as the configuration, or training, has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StoredRouting {
    /// The strategy in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strategy: Option<StrategyName>,
    /// Thresholds by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) thresholds: BTreeMap<ModelKind, f64>,
    /// Accuracy estimates by model.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) accuracy: BTreeMap<ModelKind, f64>,
    /// Latency targets.
    #[serde(skip_serializing_if = "says_nothing")]
    pub(crate) latency_targets_ms: LatencyTargetsMs,
    /// The experiment.
    #[serde(skip_serializing_if = "says_nothing")]
    pub(crate) experiment: ExperimentSettings,
}

fn says_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Latency targets in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct LatencyTargetsMs {
    /// For `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) critical: Option<f64>,
    /// For `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) standard: Option<f64>,
    /// For `relaxed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) relaxed: Option<f64>,
}

/// The experiment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExperimentSettings {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// The share of the traffic, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
    /// What is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) strategies: Option<Vec<StrategyName>>,
}

/// What to change; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoutingChange {
    /// The strategy in force.
    pub(crate) strategy: Option<StrategyName>,
    /// Thresholds by model; `None` takes back what was said of one.
    pub(crate) thresholds: BTreeMap<ModelKind, Option<f64>>,
    /// Accuracy estimates by model; `None` takes back what was said of one.
    pub(crate) accuracy: BTreeMap<ModelKind, Option<f64>>,
    /// Latency targets.
    pub(crate) latency_targets_ms: LatencyTargetsMs,
    /// The experiment.
    pub(crate) experiment: ExperimentSettings,
}

/// A setting that cannot be what it would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// Where it is in the document: `thresholds.rules`.
    pub(crate) field: String,
    /// What was expected.
    pub(crate) message: String,
}

/// The longest latency target.
const MAX_TARGET_MS: f64 = 60_000.0;
/// What training solves when a model should never be believed.
const NEVER: f64 = 1.01;

impl StoredRouting {
    /// Reads a document. What cannot be understood, such as a strategy of a newer version, is left to the configuration.
    pub(super) fn read(body: &Value) -> Self {
        serde_json::from_value(body.clone()).unwrap_or_default()
    }

    /// Returns the document; `None` when it says nothing.
    pub(crate) fn write(&self) -> Option<Value> {
        (*self != Self::default()).then(|| serde_json::to_value(self).expect("plain data"))
    }

    /// Returns what is said after a change.
    pub(super) fn with(mut self, change: RoutingChange) -> Self {
        let RoutingChange { strategy, thresholds, accuracy, latency_targets_ms: targets, experiment } = change;
        self.strategy = strategy.or(self.strategy);
        set(&mut self.thresholds, thresholds);
        set(&mut self.accuracy, accuracy);
        let LatencyTargetsMs { critical, standard, relaxed } = &mut self.latency_targets_ms;
        *critical = targets.critical.or(*critical);
        *standard = targets.standard.or(*standard);
        *relaxed = targets.relaxed.or(*relaxed);
        let ExperimentSettings { name, share, strategies } = experiment;
        self.experiment.name = name.or(self.experiment.name);
        self.experiment.share = share.or(self.experiment.share);
        self.experiment.strategies = strategies.or(self.experiment.strategies);
        self
    }

    /// Returns what is in force over what is configured.
    pub(super) fn resolve(&self, config: &RoutingConfig, experiment: &Experiment) -> (RoutingConfig, Experiment) {
        let mut config = config.clone();
        config.strategy = self.strategy.unwrap_or(config.strategy);
        let single = |(kind, value): (&ModelKind, &f64)| (*kind, *value as f32);
        config.thresholds.extend(self.thresholds.iter().map(single));
        config.accuracy.extend(self.accuracy.iter().map(single));
        let targets = self.latency_targets_ms;
        let target = |said: Option<f64>, configured: Duration| {
            said.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()).unwrap_or(configured)
        };
        let LatencyTargets { critical, standard, relaxed } = config.latency_targets;
        config.latency_targets = LatencyTargets {
            critical: target(targets.critical, critical),
            standard: target(targets.standard, standard),
            relaxed: target(targets.relaxed, relaxed),
        };
        let ExperimentSettings { name, share, strategies } = &self.experiment;
        let experiment = Experiment {
            name: name.as_deref().map_or_else(|| experiment.name.clone(), Into::into),
            share: share.unwrap_or(experiment.share),
            treatments: strategies.clone().unwrap_or_else(|| experiment.treatments.clone()),
        };
        (config, experiment)
    }

    /// Checks all of what would be in force.
    ///
    /// # Errors
    /// With every field that is wrong.
    pub(super) fn check(&self, config: &RoutingConfig, experiment: &Experiment) -> Result<(), Vec<Invalid>> {
        let mut invalid = Vec::new();
        let mut refuse = |field: String, message: &str| invalid.push(Invalid { field, message: message.to_owned() });
        for (kind, threshold) in &self.thresholds {
            if !(0.0..=NEVER).contains(threshold) {
                refuse(format!("thresholds.{kind}"), "must be 0 to 1, or 1.01 for never, or null for the default");
            }
        }
        for (kind, accuracy) in &self.accuracy {
            if !(0.0..=1.0).contains(accuracy) {
                refuse(format!("accuracy.{kind}"), "must be 0 to 1, or null for what training measured");
            }
        }
        let LatencyTargetsMs { critical, standard, relaxed } = self.latency_targets_ms;
        let targets = [("critical", critical), ("standard", standard), ("relaxed", relaxed)];
        let mut are_targets_good = true;
        for (name, target) in targets.into_iter().filter_map(|(name, target)| Some((name, target?))) {
            if !(target > 0.0 && target <= MAX_TARGET_MS) {
                refuse(format!("latency_targets_ms.{name}"), "must be above 0 and at most 60000");
                are_targets_good = false;
            }
        }
        let (config, experiment) = self.resolve(config, experiment);
        let LatencyTargets { critical, standard, relaxed } = config.latency_targets;
        if are_targets_good && (critical > standard || standard > relaxed) {
            refuse("latency_targets_ms".to_owned(), LATENCY_ORDER);
        }
        if !(0.0..=1.0).contains(&experiment.share) {
            refuse("experiment.share".to_owned(), "must be 0 to 1");
        }
        if !is_experiment_name(&experiment.name) {
            refuse("experiment.name".to_owned(), "must be 1 to 64 letters, digits, `_` or `-`");
        }
        if let Some(problem) = treatments_problem(&experiment.treatments) {
            refuse("experiment.strategies".to_owned(), problem);
        }
        if invalid.is_empty() { Ok(()) } else { Err(invalid) }
    }
}

fn set(said: &mut BTreeMap<ModelKind, f64>, change: BTreeMap<ModelKind, Option<f64>>) {
    for (kind, value) in change {
        match value {
            Some(value) => said.insert(kind, value),
            None => said.remove(&kind),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(thresholds: &[(ModelKind, Option<f64>)]) -> RoutingChange {
        RoutingChange { thresholds: thresholds.iter().copied().collect(), ..RoutingChange::default() }
    }

    #[test]
    fn what_is_left_out_stays_and_null_takes_back() {
        let first =
            StoredRouting::default().with(change(&[(ModelKind::Rules, Some(0.9)), (ModelKind::Linear, Some(0.5))]));
        let second =
            first.with(RoutingChange { strategy: Some(StrategyName::Balanced), ..change(&[(ModelKind::Rules, None)]) });
        assert_eq!(second.thresholds, BTreeMap::from([(ModelKind::Linear, 0.5)]));
        let (config, _) = second.resolve(&RoutingConfig::default(), &Experiment::default());
        assert_eq!((config.strategy, config.thresholds[&ModelKind::Rules]), (StrategyName::Balanced, 0.85));
    }

    #[test]
    fn a_document_survives_being_written_and_one_that_says_nothing_is_none() {
        let said = StoredRouting::default().with(RoutingChange {
            experiment: ExperimentSettings { share: Some(0.25), ..ExperimentSettings::default() },
            ..change(&[(ModelKind::ZeroShot, Some(0.6))])
        });
        assert_eq!(StoredRouting::read(&said.write().expect("it says something")), said);
        assert_eq!(StoredRouting::default().write(), None);
        assert_eq!(StoredRouting::read(&serde_json::json!({"strategy": "of_tomorrow"})), StoredRouting::default());
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let said = StoredRouting::default().with(RoutingChange {
            accuracy: [(ModelKind::Hybrid, Some(2.0))].into(),
            latency_targets_ms: LatencyTargetsMs { critical: Some(300.0), ..LatencyTargetsMs::default() },
            experiment: ExperimentSettings {
                name: Some("a b".into()),
                share: Some(f64::NAN),
                strategies: Some(vec![StrategyName::Control]),
            },
            ..change(&[(ModelKind::Rules, Some(-0.1))])
        });
        let invalid = said.check(&RoutingConfig::default(), &Experiment::default()).expect_err("all is wrong");
        let fields: Vec<&str> = invalid.iter().map(|invalid| invalid.field.as_str()).collect();
        let expected = [
            "thresholds.rules",
            "accuracy.hybrid",
            "latency_targets_ms",
            "experiment.share",
            "experiment.name",
            "experiment.strategies",
        ];
        assert_eq!(fields, expected);
    }
}
