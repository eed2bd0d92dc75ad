//! What the router has decided since the process started, for people and programs that ask for it directly.

use std::{collections::BTreeMap, sync::Mutex, time::SystemTime};

use intent_engine::{Decision, StrategyName};
use intent_model::ModelKind;

/// Counts decisions by model and by group of the experiment.
#[derive(Debug)]
pub(crate) struct RoutingCounts(Mutex<Snapshot>);

/// All counts at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// When counting began.
    pub(crate) since: SystemTime,
    /// By model; every model is there.
    pub(crate) models: BTreeMap<ModelKind, ModelCounts>,
    /// By group; groups that had no decision are not there.
    pub(crate) groups: BTreeMap<StrategyName, GroupCounts>,
}

/// One model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ModelCounts {
    /// Texts that it decided on.
    pub(crate) decided: u64,
    /// The sum of the confidences.
    pub(crate) confidence: f64,
    /// How often it was stepped over because it could not answer.
    pub(crate) fallbacks: u64,
    /// How often it was left out because it did not fit the budget.
    pub(crate) skipped: u64,
}

/// One group of the experiment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct GroupCounts {
    /// Texts that were decided on.
    pub(crate) decided: u64,
    /// The sum of the latencies, in milliseconds.
    pub(crate) latency_ms: f64,
    /// The sum of the confidences.
    pub(crate) confidence: f64,
}

impl Default for RoutingCounts {
    fn default() -> Self {
        let models = ModelKind::ALL.map(|kind| (kind, ModelCounts::default())).into();
        Self(Mutex::new(Snapshot { since: SystemTime::now(), models, groups: BTreeMap::new() }))
    }
}

impl RoutingCounts {
    /// Counts a decision.
    pub(super) fn record(&self, decision: &Decision) {
        let confidence = f64::from(decision.best().confidence);
        let mut counts = self.lock();
        let model = counts.models.entry(decision.model).or_default();
        model.decided += 1;
        model.confidence += confidence;
        for fallback in &decision.fallbacks {
            counts.models.entry(fallback.from).or_default().fallbacks += 1;
        }
        for skipped in &decision.skipped {
            counts.models.entry(*skipped).or_default().skipped += 1;
        }
        let group = counts.groups.entry(decision.experiment_group).or_default();
        group.decided += 1;
        group.latency_ms += decision.timings.total.as_secs_f64() * 1e3;
        group.confidence += confidence;
    }

    /// Returns all counts.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.0.lock().expect("no code panics while it holds this lock")
    }
}
