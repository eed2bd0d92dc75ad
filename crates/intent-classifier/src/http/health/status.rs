//! What is said of each part.

use std::{sync::Arc, time::Duration};

use intent_engine::circuit::CircuitState;
use intent_model::ModelKind;
use serde::Serialize;

use super::App;
use crate::{
    health::Observation,
    serving::{Availability, Serving},
};

/// How a part is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::http) enum Status {
    /// It works.
    Healthy,
    /// Nobody wants it.
    NotConfigured,
    /// It loads when it is first used.
    NotLoaded,
    /// It works, but not as it should.
    Degraded,
    /// It does not work.
    Unhealthy,
}

/// How a model is doing, and why.
#[derive(Debug)]
pub(in crate::http) struct ModelStatus {
    pub(in crate::http) kind: ModelKind,
    pub(in crate::http) status: Status,
    /// Why it is not healthy.
    pub(in crate::http) reason: Option<String>,
    pub(in crate::http) circuit: CircuitState,
    /// What the latest probe found.
    pub(in crate::http) probe: Option<Arc<Observation>>,
    /// Median and 95th percentile of live traffic.
    pub(in crate::http) live: (Option<Duration>, Option<Duration>),
}

impl Status {
    /// Tells whether requests are answered by it.
    pub(in crate::http) fn can_answer(self) -> bool {
        matches!(self, Self::Healthy | Self::Degraded | Self::NotLoaded)
    }

    /// Tells whether somebody wants it and it does not work as it should.
    pub(in crate::http) fn is_lacking(self) -> bool {
        matches!(self, Self::Degraded | Self::Unhealthy)
    }
}

/// The models that are loaded, and how they are doing; nothing while they are being loaded.
pub(super) struct Loaded<'a> {
    pub(super) serving: Option<&'a Serving>,
    /// Cheapest first.
    pub(super) models: Vec<ModelStatus>,
    pub(super) version: Option<String>,
}

impl<'a> Loaded<'a> {
    pub(super) fn of(app: &'a App) -> Self {
        let serving = app.serving().ok();
        Self {
            serving,
            models: serving.map(|serving| model_statuses(app, serving)).unwrap_or_default(),
            version: serving.map(|serving| serving.engine().catalog().version().to_string()),
        }
    }

    /// Tells whether any model can answer.
    pub(super) fn can_answer(&self) -> bool {
        self.models.iter().any(|model| model.status.can_answer())
    }
}

/// Returns how each model is doing, cheapest first.
pub(in crate::http) fn model_statuses(app: &App, serving: &Serving) -> Vec<ModelStatus> {
    let live = serving.engine().model_status();
    let availability = serving.availability();
    let of_model = |(&kind, availability): (&ModelKind, &Availability)| {
        let live = live.iter().find(|status| status.kind == kind);
        let circuit = live.map_or(CircuitState::Closed, |status| status.circuit);
        let probe = app.health.models.latest(kind);
        let (status, reason) = match availability {
            Availability::NotConfigured(reason) => (Status::NotConfigured, Some(reason.clone())),
            Availability::Broken(reason) => (Status::Unhealthy, Some(reason.clone())),
            Availability::Loaded if serving.loads_on_first_use(kind) => {
                (Status::NotLoaded, Some("it loads on first use; set `PREWARM_MODELS` to load it at start".to_owned()))
            }
            Availability::Loaded => loaded_status(circuit, probe.as_deref(), app.health.models.max_age()),
        };
        let live = live.map_or((None, None), |status| (status.p50, status.p95));
        ModelStatus { kind, status, reason, circuit, probe, live }
    };
    availability.iter().map(of_model).collect()
}

fn loaded_status(circuit: CircuitState, probe: Option<&Observation>, max_age: Duration) -> (Status, Option<String>) {
    match (circuit, probe) {
        (CircuitState::Open, _) => (Status::Unhealthy, Some("circuit open".to_owned())),
        (_, Some(Observation { error: Some(error), .. })) => (Status::Unhealthy, Some(error.clone())),
        (CircuitState::HalfOpen, _) => (Status::Degraded, Some("circuit half_open".to_owned())),
        (CircuitState::Closed, Some(probe)) if probe.age() > max_age => {
            let age = probe.age().as_secs();
            (Status::Degraded, Some(format!("the latest probe is {age} s old")))
        }
        (CircuitState::Closed, _) => (Status::Healthy, None),
    }
}

/// Writes a time in milliseconds, to the microsecond.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// Writes a time in seconds, to the tenth.
pub(super) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}
