//! `/metrics`: what Prometheus scrapes.

use std::sync::Arc;

use axum::{extract::State, http::header, response::IntoResponse};

use super::{App, error::AnyProblem};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Lists all metrics in the OpenMetrics text format.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), AnyProblem)
)]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], app.metrics.encode())
}
