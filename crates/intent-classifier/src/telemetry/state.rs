//! Gauges that mirror state: read when somebody scrapes, so that they are never out of date.

use std::{fmt, sync::Arc, time::Duration};

use intent_engine::{Flag, FlagSnapshot, circuit::CircuitState, rollout::Status};
use intent_model::ModelKind;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::{
    labels::{CacheLayer, Dependency},
    metrics::*,
    process,
};

/// The state of the service at one moment, as far as metrics show it.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Whether requests should be sent here.
    pub(crate) is_ready: bool,
    /// Each model, once they were looked for.
    pub(crate) models: Vec<ModelState>,
    /// Each dependency.
    pub(crate) dependencies: Vec<DependencyState>,
    /// What a layer of the cache holds.
    pub(crate) cache: Vec<CacheState>,
    /// The flags.
    pub(crate) flags: Arc<FlagSnapshot>,
    /// The latest rollout of each flag that had one.
    pub(crate) rollouts: Vec<RolloutState>,
    /// The experiment.
    pub(crate) experiment: ExperimentState,
    /// The work in hand.
    pub(crate) load: LoadState,
    /// Feedback that waits for the database.
    pub(crate) feedback_spool_entries: usize,
    /// Whether the database takes no writes.
    pub(crate) is_read_only: bool,
    /// When the certificate expires, since the Unix epoch.
    pub(crate) certificate_expiry: Option<Duration>,
    /// Time since the async runtime last showed that it is not stuck.
    pub(crate) heartbeat_age: Option<Duration>,
}

/// One model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelState {
    pub(crate) kind: ModelKind,
    /// Whether what it needs is configured.
    pub(crate) is_configured: bool,
    /// Whether it can answer.
    pub(crate) is_healthy: bool,
    pub(crate) circuit: CircuitState,
}

/// One dependency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DependencyState {
    pub(crate) dependency: Dependency,
    /// Whether the service is told to use it.
    pub(crate) is_configured: bool,
    /// Whether the latest check succeeded.
    pub(crate) is_up: bool,
    pub(crate) circuit: CircuitState,
}

/// One layer of the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheState {
    pub(crate) layer: CacheLayer,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

/// One rollout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RolloutState {
    pub(crate) flag: Flag,
    pub(crate) status: Status,
    /// Share of the subjects for whom the flag is on, in percent.
    pub(crate) percent: f64,
}

/// The experiment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ExperimentState {
    /// Share of the subjects outside control, 0 to 1.
    pub(crate) share: f64,
    /// `None` while no experiment runs.
    pub(crate) sample_ratio_p_value: Option<f64>,
}

/// The work in hand.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoadState {
    pub(crate) texts_in_flight: usize,
    pub(crate) texts_in_flight_limit: usize,
    /// Texts that wait for an inference thread.
    pub(crate) queue_length: usize,
}

impl ModelState {
    /// Returns the state of a model that nobody has looked for.
    pub(crate) fn not_configured(kind: ModelKind) -> Self {
        Self { kind, is_configured: false, is_healthy: false, circuit: CircuitState::Closed }
    }
}

impl DependencyState {
    /// Returns the state of a dependency that the service does not use.
    pub(crate) fn not_configured(dependency: Dependency) -> Self {
        Self { dependency, is_configured: false, is_up: false, circuit: CircuitState::Closed }
    }
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        TEXTS_IN_FLIGHT.write_value(encoder, Some(self.load.texts_in_flight as u64))?;
        TEXTS_IN_FLIGHT_LIMIT.write_value(encoder, Some(self.load.texts_in_flight_limit as u64))?;
        INFERENCE_QUEUE_LENGTH.write_value(encoder, Some(self.load.queue_length as u64))?;

        READY.write_value(encoder, Some(i64::from(self.is_ready)))?;
        let models = || self.models.iter().map(|model| ([("model", model.kind.as_str())], model));
        MODEL_HEALTH.write_values(encoder, models().map(|(labels, model)| (labels, i64::from(model.is_healthy))))?;
        MODEL_CONFIGURED
            .write_values(encoder, models().map(|(labels, model)| (labels, i64::from(model.is_configured))))?;
        let dependencies = || self.dependencies.iter().map(|one| ([("dependency", one.dependency.as_str())], one));
        let of_models = self.models.iter().map(|model| ([("dependency", model.kind.as_str())], model.circuit));
        let circuits = of_models.chain(dependencies().map(|(labels, one)| (labels, one.circuit)));
        CIRCUIT_BREAKER_STATE.write_values(encoder, circuits.map(|(labels, circuit)| (labels, level(circuit))))?;
        DEPENDENCY_UP.write_values(encoder, dependencies().map(|(labels, one)| (labels, i64::from(one.is_up))))?;
        DEPENDENCY_CONFIGURED
            .write_values(encoder, dependencies().map(|(labels, one)| (labels, i64::from(one.is_configured))))?;
        READ_ONLY_MODE.write_value(encoder, Some(i64::from(self.is_read_only)))?;
        TLS_CERTIFICATE_EXPIRY.write_value(encoder, self.certificate_expiry.map(|at| at.as_secs()))?;

        let layers = || self.cache.iter().map(|cache| ([("layer", cache.layer.as_str())], cache));
        CACHE_ENTRIES.write_values(encoder, layers().map(|(labels, cache)| (labels, cache.entries)))?;
        CACHE_BYTES.write_values(encoder, layers().map(|(labels, cache)| (labels, cache.bytes)))?;

        let flags = || Flag::ALL.map(|flag| ([("flag_name", flag.as_str())], self.flags.state(flag))).into_iter();
        FEATURE_FLAG_ENABLED.write_values(encoder, flags().map(|(labels, flag)| (labels, i64::from(flag.enabled))))?;
        FEATURE_FLAG_ROLLOUT.write_values(encoder, flags().map(|(labels, flag)| (labels, flag.rollout.percent())))?;
        let rollout_of = |flag: Flag| self.rollouts.iter().find(|rollout| rollout.flag == flag);
        let statuses = Flag::ALL.into_iter().flat_map(|flag| {
            let is = move |status| i64::from(rollout_of(flag).is_some_and(|rollout| rollout.status == status));
            Status::ALL.map(|status| ([("flag_name", flag.as_str()), ("status", status.as_str())], is(status)))
        });
        ROLLOUT_STATUS.write_values(encoder, statuses)?;
        let percents = Flag::ALL
            .map(|flag| ([("flag_name", flag.as_str())], rollout_of(flag).map_or(0.0, |rollout| rollout.percent)));
        ROLLOUT_PERCENT.write_values(encoder, percents)?;
        EXPERIMENT_SHARE.write_value(encoder, Some(self.experiment.share))?;
        EXPERIMENT_SAMPLE_RATIO_P_VALUE.write_value(encoder, self.experiment.sample_ratio_p_value)?;

        FEEDBACK_SPOOL_ENTRIES.write_value(encoder, Some(self.feedback_spool_entries as u64))?;

        BUILD_INFO.write_values(encoder, [([("version", env!("CARGO_PKG_VERSION"))], 1_i64)])?;
        RUNTIME_HEARTBEAT_AGE.write_value(encoder, self.heartbeat_age.map(|age| age.as_secs_f64()))?;
        process::write(encoder)
    }
}

fn level(circuit: CircuitState) -> i64 {
    match circuit {
        CircuitState::Closed => 0,
        CircuitState::HalfOpen => 1,
        CircuitState::Open => 2,
    }
}
