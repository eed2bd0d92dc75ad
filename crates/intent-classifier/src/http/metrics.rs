//! `/metrics`: what Prometheus scrapes.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::IntoResponse,
};
use intent_model::ModelKind;

use super::{
    App, Phase,
    error::AnyProblem,
    health::{self, ModelStatus, Status},
};
use crate::{
    serving::Serving,
    storage::StoredRollout,
    telemetry::{
        exposition::Exposition,
        labels::{CacheLayer, Dependency},
        state::{
            CacheState, DependencyState, ExperimentState, LoadState, ModelState, RolloutState, State as MetricState,
        },
    },
};

/// Lists all metrics, in OpenMetrics format for those who accept it.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses(
        (status = 200, content((String = "text/plain"), (String = "application/openmetrics-text"))),
        AnyProblem,
    )
)]
pub(super) async fn metrics(State(app): State<Arc<App>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::accepted(accept);
    let content_type = HeaderValue::from_static(exposition.content_type());
    let page = exposition.of_open_metrics(app.metrics.encode(app.state()));
    ([(header::CONTENT_TYPE, content_type), (header::VARY, HeaderValue::from_static("accept"))], page)
}

impl App {
    /// Returns what gauges show.
    pub(super) fn state(&self) -> MetricState {
        let dependencies = dependencies(self);
        let heartbeat_age = self.health.heartbeat.age();
        let certificate_expiry = self.tls.as_ref().map(|tls| Duration::from_secs(tls.expires_at().max(0) as u64));
        let feedback_spool_entries = usize::try_from(self.feedback.spooled()).unwrap_or(usize::MAX);
        let is_read_only = self.storage.status().access.is_refusing_changes();
        let rollouts = rollouts(self);
        let Ok(serving) = self.serving() else {
            let models = ModelKind::ALL.map(ModelState::not_configured).to_vec();
            let cache = vec![CacheState { layer: CacheLayer::Memory, entries: 0, bytes: 0 }];
            return MetricState {
                models,
                dependencies,
                cache,
                certificate_expiry,
                heartbeat_age,
                feedback_spool_entries,
                is_read_only,
                rollouts,
                ..MetricState::default()
            };
        };
        let engine = serving.engine();
        let cache = engine.cache();
        let models = models(self, serving);
        MetricState {
            is_ready: self.phase.get() == Phase::Serving && models.iter().any(|model| model.is_healthy),
            models,
            dependencies,
            cache: vec![CacheState { layer: CacheLayer::Memory, entries: cache.entries(), bytes: cache.bytes() }],
            flags: engine.flags(),
            rollouts,
            experiment: ExperimentState {
                share: engine.experiment().share,
                sample_ratio_p_value: self.sample_ratio.p_value(),
            },
            load: LoadState {
                texts_in_flight: engine.in_flight(),
                texts_in_flight_limit: engine.capacity(),
                queue_length: engine.waiting(),
            },
            certificate_expiry,
            heartbeat_age,
            feedback_spool_entries,
            is_read_only,
        }
    }
}

fn models(app: &App, serving: &Serving) -> Vec<ModelState> {
    let state = |model: ModelStatus| ModelState {
        kind: model.kind,
        is_configured: model.status != Status::NotConfigured,
        is_healthy: model.status.can_answer(),
        circuit: model.circuit,
    };
    health::model_statuses(app, serving).into_iter().map(state).collect()
}

fn rollouts(app: &App) -> Vec<RolloutState> {
    let state = |stored: StoredRollout| RolloutState {
        flag: stored.rollout.plan.flag,
        status: stored.rollout.status,
        percent: stored.rollout.setting().percent(),
    };
    app.rollouts.known().into_iter().map(state).collect()
}

fn dependencies(app: &App) -> Vec<DependencyState> {
    let state = |&dependency: &Dependency| match app.health.dependencies.get(dependency) {
        None => DependencyState::not_configured(dependency),
        Some(checked) => DependencyState {
            dependency,
            is_configured: true,
            is_up: checked.latest().is_some_and(|latest| latest.error.is_none()),
            circuit: checked.circuit(),
        },
    };
    Dependency::ALL.iter().map(state).collect()
}
