//! `/health/dependencies`: whether what the service depends on answers.

use std::sync::Arc;

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
    status::{Status, millis, seconds},
};
use crate::{http::error::AnyProblem, telemetry::labels::Dependency};

/// Whether what the service depends on answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DependencyList {
    /// `healthy`, or `degraded` when one of them is lost.
    #[schema(value_type = String, example = "healthy")]
    status: Status,
    /// The database, when it is Postgres.
    postgres: DependencyHealth,
    /// The shared layer of the cache.
    redis: DependencyHealth,
    /// Where `distilbert` computes, when it is remote.
    torchserve: DependencyHealth,
}

/// Whether one dependency answers.
#[derive(Debug, Serialize, ToSchema)]
struct DependencyHealth {
    /// `healthy`, `unhealthy` or `not_configured`.
    #[schema(value_type = String, example = "healthy")]
    status: Status,
    /// How long the latest check took, in milliseconds; `null` when there was none.
    #[schema(example = 0.7)]
    latency_ms: Option<f64>,
    /// Why it does not work; `null` when it does.
    error: Option<String>,
    /// How long ago the latest check was, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 3.4, required = false, nullable = false)]
    checked_seconds_ago: Option<f64>,
    /// `closed`, `half_open` or `open`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "closed", required = false, nullable = false)]
    circuit: Option<&'static str>,
}

/// Tells whether what the service depends on answered when it was last checked.
#[utoipa::path(
    get, path = "/health/dependencies", tag = "health",
    responses((status = 200, body = DependencyList), AnyProblem)
)]
pub(in crate::http) async fn dependencies(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let list = DependencyList::of(&app);
    draft::answer(&headers, StatusCode::OK, &list, || list.draft())
}

impl DependencyList {
    fn of(app: &App) -> Self {
        let of = |dependency| DependencyHealth::of(app, dependency);
        let (postgres, redis, torchserve) =
            (of(Dependency::Postgres), of(Dependency::Redis), of(Dependency::Torchserve));
        let is_any_lost = [&postgres, &redis, &torchserve].into_iter().any(|one| one.status.is_lacking());
        let status = if is_any_lost { Status::Degraded } else { Status::Healthy };
        Self { status, postgres, redis, torchserve }
    }

    fn draft(&self) -> Draft {
        let mut draft = Draft::new(self.status);
        for (name, kind, one) in [
            ("postgres", "datastore", &self.postgres),
            ("redis", "datastore", &self.redis),
            ("torchserve", "component", &self.torchserve),
        ] {
            let mut check = Check::of(kind, one.status, one.error.clone());
            check.observe(one.latency_ms, one.checked_seconds_ago);
            draft.add(format!("{name}:responseTime"), check);
        }
        draft
    }
}

impl DependencyHealth {
    fn of(app: &App, dependency: Dependency) -> Self {
        let Some(checked) = app.health.dependencies.get(dependency) else {
            return Self {
                status: Status::NotConfigured,
                latency_ms: None,
                error: None,
                checked_seconds_ago: None,
                circuit: None,
            };
        };
        let latest = checked.latest();
        let (status, error) = match latest.as_deref() {
            None => (Status::Unhealthy, Some("it has not been checked yet".to_owned())),
            Some(observation) => match &observation.error {
                None => (Status::Healthy, None),
                Some(error) => (Status::Unhealthy, Some(error.clone())),
            },
        };
        Self {
            status,
            latency_ms: latest.as_ref().map(|observation| millis(observation.latency)),
            error,
            checked_seconds_ago: latest.as_ref().map(|observation| seconds(observation.age())),
            circuit: Some(checked.circuit().as_str()),
        }
    }
}
