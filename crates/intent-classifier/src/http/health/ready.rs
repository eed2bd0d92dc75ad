//! `/health/ready`: whether requests should be sent here.

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
    status::{Loaded, Status},
};
use crate::{
    http::{Phase, error::AnyProblem},
    serving::Serving,
    storage::{Access, Fault},
    telemetry::labels::Dependency,
};

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
    /// What does not work as it should, by the names of the parts below.
    #[schema(example = json!(["redis"]))]
    affected: Vec<&'static str>,
    /// Each model by its name.
    models: BTreeMap<&'static str, Part>,
    /// The cache, the database, routing and flags, by their names; absent while models are being loaded.
    #[serde(flatten)]
    parts: BTreeMap<&'static str, Part>,
}

/// How one part is doing.
#[derive(Debug, Serialize, ToSchema)]
struct Part {
    /// `healthy`, `degraded`, `unhealthy`, `not_loaded` or `not_configured`.
    #[schema(value_type = String, example = "healthy")]
    status: Status,
    /// What there is to say of it: why it is not healthy, or which it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    reason: Option<String>,
}

/// Tells whether requests should be sent here, and what is missing. A lost cache, database or remote model is told and
/// stays 200: a fault that all replicas share must not empty the whole fleet.
#[utoipa::path(
    get, path = "/health/ready", tag = "health",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness), AnyProblem)
)]
pub(in crate::http) async fn ready(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let readiness = Readiness::of(&app);
    let is_ready = matches!(readiness.status, "ready" | "degraded");
    let code = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    draft::answer(&headers, code, &readiness, || readiness.draft())
}

impl Readiness {
    fn of(app: &App) -> Self {
        let loaded = Loaded::of(app);
        let can_answer = loaded.can_answer();
        let Loaded { serving, models, version: model_version } = loaded;
        let models: BTreeMap<&'static str, Part> = models
            .into_iter()
            .map(|model| (model.kind.as_str(), Part { status: model.status, reason: model.reason }))
            .collect();
        let parts = serving.map(|serving| parts(app, serving)).unwrap_or_default();
        let lacking = models.iter().chain(&parts).filter(|(_, part)| part.status.is_lacking());
        let affected: Vec<&'static str> = lacking.map(|(name, _)| *name).collect();
        let status = match app.phase.get() {
            Phase::Starting => "starting",
            Phase::Draining => "draining",
            Phase::Serving if !can_answer => "unavailable",
            Phase::Serving if !affected.is_empty() => "degraded",
            Phase::Serving => "ready",
        };
        Self { status, model_version, affected, models, parts }
    }

    fn draft(&self) -> Draft {
        let status = match self.status {
            "ready" => Status::Healthy,
            "degraded" => Status::Degraded,
            _ => Status::Unhealthy,
        };
        let mut draft = Draft::new(status);
        draft.output = (status != Status::Healthy).then(|| self.status.to_owned());
        for (name, part) in &self.models {
            draft.add(format!("model:{name}"), Check::of("component", part.status, part.reason.clone()));
        }
        for (name, part) in &self.parts {
            draft.add((*name).to_owned(), Check::of("component", part.status, part.reason.clone()));
        }
        draft
    }
}

/// Returns what is neither model nor process.
fn parts(app: &App, serving: &Serving) -> BTreeMap<&'static str, Part> {
    let healthy = |what: String| Part { status: Status::Healthy, reason: Some(what) };
    let engine = serving.engine();
    let lost = |dependency| {
        let latest = app.health.dependencies.get(dependency)?.latest()?;
        latest.error.clone()
    };
    let cache = match lost(Dependency::Redis) {
        None => healthy(format!("{} answers in this process", engine.cache().entries())),
        Some(error) => {
            Part { status: Status::Degraded, reason: Some(format!("only the part in this process: redis: {error}")) }
        }
    };
    let database = match app.storage.status().access {
        Access::ReadWrite => Part { status: Status::Healthy, reason: None },
        Access::None(fault @ Fault::Starting) => {
            Part { status: Status::NotLoaded, reason: Some(format!("it {fault}")) }
        }
        // What exactly went wrong may name hosts and users: that is in the log.
        Access::ReadOnly(fault) | Access::None(fault) => {
            Part { status: Status::Degraded, reason: Some(format!("it {fault}")) }
        }
    };
    let routing = healthy(format!("strategy {}", engine.routing().strategy));
    let flags = match app.flags.file_error() {
        None => healthy(format!("revision {}", engine.flags().revision())),
        Some(error) => Part { status: Status::Degraded, reason: Some(format!("kept as they were: {error}")) },
    };
    BTreeMap::from([("cache", cache), ("database", database), ("routing", routing), ("flags", flags)])
}
