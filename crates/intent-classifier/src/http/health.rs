//! `/health`: whether the process answers, and whether it should be sent requests.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::StatusCode};
use intent_engine::circuit::CircuitState;
use serde::Serialize;
use utoipa::ToSchema;

use super::{App, Phase, error::AnyProblem};
use crate::serving::Serving;

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// Always `healthy`.
    #[schema(example = "healthy")]
    status: &'static str,
    /// The name of the service.
    #[schema(example = "intent-classifier")]
    service: &'static str,
    /// The version of the program.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

const ALIVE: Alive = Alive { status: "healthy", service: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };

/// Whether requests should be sent here.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// `ready`, `degraded`, `starting`, `draining` or `unavailable`; the first two go with status 200.
    #[schema(example = "ready")]
    status: &'static str,
    /// The version of the models; absent while they are being loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    model_version: Option<String>,
    /// Each model by its name.
    models: BTreeMap<&'static str, ModelReadiness>,
}

/// Whether a model can answer.
#[derive(Debug, Serialize, ToSchema)]
struct ModelReadiness {
    /// `healthy`, `degraded` (its circuit is not closed), `unhealthy`, `not_loaded` or `not_configured`.
    #[schema(example = "healthy")]
    status: &'static str,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    reason: Option<String>,
}

/// Tells that the process answers.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Alive), AnyProblem))]
pub(super) async fn health() -> Json<Alive> {
    Json(ALIVE)
}

/// Tells that the process answers; nothing outside it is asked.
#[utoipa::path(get, path = "/health/live", tag = "health", responses((status = 200, body = Alive), AnyProblem))]
pub(super) async fn live() -> Json<Alive> {
    Json(ALIVE)
}

/// Tells whether requests should be sent here, and what is missing.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness), AnyProblem)
)]
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, Json<Readiness>) {
    let serving = app.serving().ok();
    let models = serving.map(models).unwrap_or_default();
    let any = |status: &str| models.values().any(|model| model.status == status);
    let status = match app.phase.get() {
        Phase::Starting => "starting",
        Phase::Draining => "draining",
        Phase::Serving if !any("healthy") && !any("degraded") => "unavailable",
        Phase::Serving if any("unhealthy") || any("degraded") => "degraded",
        Phase::Serving => "ready",
    };
    let code = if matches!(status, "ready" | "degraded") { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let model_version = serving.map(|serving| serving.engine().catalog().version().to_string());
    (code, Json(Readiness { status, model_version, models }))
}

fn models(serving: &Serving) -> BTreeMap<&'static str, ModelReadiness> {
    let mut models: BTreeMap<&'static str, ModelReadiness> = serving
        .availability()
        .iter()
        .map(|(kind, availability)| {
            let reason = availability.reason().map(str::to_owned);
            (kind.as_str(), ModelReadiness { status: availability.as_str(), reason })
        })
        .collect();
    for status in serving.engine().model_status() {
        if status.circuit != CircuitState::Closed {
            let reason = Some(format!("circuit {}", status.circuit.as_str()));
            models.insert(status.kind.as_str(), ModelReadiness { status: "degraded", reason });
        }
    }
    models
}
