//! `/health`: whether the process answers, whether it should be sent requests, and how its parts are doing.
//!
//! Nothing is asked here: the answers are what background checks found last, and how long ago that was. Those who accept
//! `application/health+json` get the shape of draft-inadarei-api-health-check-06.

mod dependencies;
mod draft;
mod models;
mod ready;
mod status;

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use self::draft::Draft;
pub(super) use self::{
    dependencies::{__path_dependencies, dependencies},
    models::{__path_models, models},
    ready::{__path_ready, ready},
    status::{ModelStatus, Status, model_statuses},
};
use super::{App, error::AnyProblem};

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Alive {
    /// `healthy`, or `unhealthy` when the async runtime is stuck.
    #[schema(value_type = String, example = "healthy")]
    status: Status,
    /// The name of the service.
    #[schema(example = "intent-classifier")]
    service: &'static str,
    /// The version of the program.
    #[schema(example = "0.1.0")]
    version: &'static str,
}

impl Alive {
    fn new(status: Status) -> Self {
        Self { status, service: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") }
    }
}

/// Tells that the process answers.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Alive), AnyProblem))]
pub(super) async fn health(headers: HeaderMap) -> Response {
    draft::answer(&headers, StatusCode::OK, &Alive::new(Status::Healthy), || Draft::new(Status::Healthy))
}

/// Tells that the process answers and its async runtime runs; nothing outside it is asked.
#[utoipa::path(
    get, path = "/health/live", tag = "health",
    responses((status = 200, body = Alive), (status = 503, body = Alive), AnyProblem)
)]
pub(super) async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let (code, status) = match app.health.heartbeat.is_stuck() {
        true => (StatusCode::SERVICE_UNAVAILABLE, Status::Unhealthy),
        false => (StatusCode::OK, Status::Healthy),
    };
    draft::answer(&headers, code, &Alive::new(status), || Draft::new(status))
}
