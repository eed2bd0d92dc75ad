//! The settings of the model router.

use std::{collections::BTreeMap, time::Duration};

use intent_model::ModelKind;
use sha2::{Digest, Sha256};

use crate::{ClassifyRequest, LatencyRequirement, LoadedModel, StrategyName};

/// What the router goes by; replaced as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutingConfig {
    /// The strategy for requests that name none.
    pub strategy: StrategyName,
    /// Confidence from which a model's answer is taken, 0 to 1, where it differs from what training solved.
    pub thresholds: BTreeMap<ModelKind, f32>,
    /// Accuracy estimates, 0 to 1, where they differ from what training measured.
    pub accuracy: BTreeMap<ModelKind, f32>,
    /// How soon an answer is due.
    pub latency_targets: LatencyTargets,
}

/// How soon an answer is due, by latency requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatencyTargets {
    /// For [`LatencyRequirement::Critical`].
    pub critical: Duration,
    /// For [`LatencyRequirement::Standard`].
    pub standard: Duration,
    /// For [`LatencyRequirement::Relaxed`].
    pub relaxed: Duration,
}

/// A request for one model waits for it; this only bounds a hang.
const NAMED_MODEL_BUDGET: Duration = Duration::from_secs(30);

impl Default for RoutingConfig {
    fn default() -> Self {
        Self {
            strategy: StrategyName::Control,
            thresholds: [(ModelKind::Rules, 0.85), (ModelKind::ZeroShot, 0.70), (ModelKind::Distilbert, 0.0)].into(),
            accuracy: BTreeMap::new(),
            latency_targets: LatencyTargets {
                critical: Duration::from_millis(50),
                standard: Duration::from_millis(200),
                relaxed: Duration::from_millis(500),
            },
        }
    }
}

impl RoutingConfig {
    /// Returns what stands for these settings in the keys of the cache: equal settings have equal digests in every
    /// process of one build.
    pub(crate) fn digest(&self) -> [u8; 32] {
        // By way of `Debug`, so that a field that is added one day is in it.
        Sha256::digest(format!("{self:?}")).into()
    }

    /// Returns how long a request may take: what it says itself, else the target of its requirement.
    pub fn budget(&self, request: &ClassifyRequest) -> Duration {
        match (request.model, request.latency_budget) {
            (_, Some(budget)) => budget,
            (Some(_), None) => NAMED_MODEL_BUDGET,
            (None, None) => self.latency_target(request.latency_requirement),
        }
    }

    /// Returns how soon an answer is due.
    pub fn latency_target(&self, requirement: LatencyRequirement) -> Duration {
        match requirement {
            LatencyRequirement::Critical => self.latency_targets.critical,
            LatencyRequirement::Standard => self.latency_targets.standard,
            LatencyRequirement::Relaxed => self.latency_targets.relaxed,
        }
    }

    /// Returns the confidence from which a model's answer is taken.
    pub fn threshold(&self, kind: ModelKind, loaded: &LoadedModel) -> f32 {
        self.thresholds.get(&kind).copied().unwrap_or(loaded.calibration.accept_threshold)
    }

    /// Returns the share of texts that a model is expected to get right.
    pub fn accuracy(&self, kind: ModelKind, loaded: &LoadedModel) -> f32 {
        self.accuracy.get(&kind).copied().unwrap_or(loaded.accuracy)
    }
}
