//! `/health/models`: how each model is doing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    draft::{self, Check, Draft},
    status::{Loaded, ModelStatus, Status, millis, seconds},
};
use crate::http::error::AnyProblem;

/// How the models are doing.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Models {
    /// `healthy`, `degraded` when one does not work as it should, `unhealthy` when none can answer.
    #[schema(value_type = String, example = "healthy")]
    status: Status,
    /// The version of the models; absent while they are being loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    model_version: Option<String>,
    /// Each model by its name.
    models: BTreeMap<&'static str, Model>,
    /// What adaptive routing made of the traffic since the start.
    adaptive_routing: AdaptiveRouting,
}

/// How one model is doing.
#[derive(Debug, Serialize, ToSchema)]
struct Model {
    /// `healthy`, `degraded`, `unhealthy`, `not_loaded` or `not_configured`.
    #[schema(value_type = String, example = "healthy")]
    status: Status,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    reason: Option<String>,
    /// The version of the model; `null` when there is none.
    #[schema(example = "prompt-tasks-20260102T030405Z-0123abcd")]
    version: Option<String>,
    /// How long the latest probe, a real classification, took, in milliseconds; `null` when there was none.
    #[schema(example = 2.1)]
    latency_ms: Option<f64>,
    /// How long ago that was, in seconds.
    #[schema(example = 3.4)]
    checked_seconds_ago: Option<f64>,
    /// Median time of a call in live traffic, in milliseconds; `null` before the first.
    #[schema(example = 1.8)]
    p50_ms: Option<f64>,
    /// 95th percentile of the same.
    #[schema(example = 3.2)]
    p95_ms: Option<f64>,
    /// `closed`, `half_open` or `open`.
    #[schema(example = "closed")]
    circuit: &'static str,
    /// Texts it decided since the start.
    #[schema(example = 1234)]
    requests: u64,
    /// Their share of all texts, 0 to 1.
    #[schema(example = 0.42)]
    share: f64,
    /// Texts that went on to another model because it could not answer.
    #[schema(example = 3)]
    fallbacks: u64,
}

/// What adaptive routing made of the traffic.
#[derive(Debug, Serialize, ToSchema)]
struct AdaptiveRouting {
    /// The strategy for requests that name none; `null` while models are being loaded.
    #[schema(example = "control")]
    strategy: Option<&'static str>,
    /// Share of the subjects that tries other strategies, 0 to 1.
    #[schema(example = 0.0)]
    experiment_share: f64,
    /// Texts decided since the start.
    #[schema(example = 2938)]
    total_requests: u64,
    /// Texts for which a model could not answer.
    #[schema(example = 3)]
    fallbacks: u64,
}

/// Tells how each model is doing: by a real classification that all callers share, and by live traffic.
#[utoipa::path(get, path = "/health/models", tag = "health", responses((status = 200, body = Models), AnyProblem))]
pub(in crate::http) async fn models(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let models = Models::of(&app);
    draft::answer(&headers, StatusCode::OK, &models, || models.draft())
}

impl Models {
    fn of(app: &App) -> Self {
        let loaded = Loaded::of(app);
        let can_answer = loaded.can_answer();
        let Loaded { serving, models, version: model_version } = loaded;
        let status = if !can_answer {
            Status::Unhealthy
        } else if models.iter().any(|model| model.status.is_lacking()) {
            Status::Degraded
        } else {
            Status::Healthy
        };
        let counts: Vec<_> = models.iter().map(|model| app.metrics.decided_by(model.kind)).collect();
        let total_requests = counts.iter().map(|count| count.requests).sum();
        let adaptive_routing = AdaptiveRouting {
            strategy: serving.map(|serving| serving.engine().routing().strategy.as_str()),
            experiment_share: serving.map_or(0.0, |serving| serving.engine().experiment().share),
            total_requests,
            fallbacks: counts.iter().map(|count| count.fallbacks).sum(),
        };
        let models = models.into_iter().zip(counts).map(|(model, count)| {
            let version = model.status.can_answer().then(|| model_version.clone()).flatten();
            let share = count.requests as f64 / (total_requests as f64).max(1.0);
            (model.kind.as_str(), Model::new(model, version, count.requests, share, count.fallbacks))
        });
        let models = models.collect();
        Self { status, model_version, models, adaptive_routing }
    }

    fn draft(&self) -> Draft {
        let mut draft = Draft::new(self.status);
        for (name, model) in &self.models {
            let mut check = Check::of("component", model.status, model.reason.clone());
            check.observe(model.latency_ms, model.checked_seconds_ago);
            draft.add(format!("model:{name}"), check);
        }
        draft
    }
}

impl Model {
    fn new(model: ModelStatus, version: Option<String>, requests: u64, share: f64, fallbacks: u64) -> Self {
        let (p50, p95) = model.live;
        Self {
            status: model.status,
            reason: model.reason,
            version,
            latency_ms: model.probe.as_ref().map(|probe| millis(probe.latency)),
            checked_seconds_ago: model.probe.as_ref().map(|probe| seconds(probe.age())),
            p50_ms: p50.map(millis),
            p95_ms: p95.map(millis),
            circuit: model.circuit.as_str(),
            requests,
            share: (share * 1e4).round() / 1e4,
            fallbacks,
        }
    }
}
