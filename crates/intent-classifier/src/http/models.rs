//! `POST /api/v1/models/reload` takes the version that was promoted since; `GET /api/v1/models/history` lists what served.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tracing::{error, info};
use utoipa::ToSchema;

use super::{
    App,
    caller::Caller,
    error::{HistoryProblems, Kind, Problem, ReloadProblems},
    history::HistoryParameters,
    parameters::QueryParameters,
    time::Timestamp,
};
use crate::{
    memory,
    serving::{ReloadError, Reloaded},
    storage::Promotion,
};

/// What a reload did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReloadAnswer {
    /// Always `reloaded`.
    #[schema(example = "reloaded")]
    status: &'static str,
    /// The version that served before.
    #[schema(example = "prompt-tasks-20260102T030405Z-0123abcd")]
    previous_version: String,
    /// The version that serves now; the same when nothing was promoted since.
    #[schema(example = "prompt-tasks-20260304T050607Z-89efcdab")]
    model_version: String,
}

/// Loads the version that `CURRENT` names, checks it, and lets it serve without dropping a request.
#[utoipa::path(
    post, path = "/api/v1/models/reload", tag = "models",
    responses((status = 200, body = ReloadAnswer), ReloadProblems)
)]
pub(super) async fn reload(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ReloadAnswer>, Problem> {
    app.serving()?;
    let Reloaded { from, to } = reload_now(app, &caller.to_string()).await?;
    Ok(Json(ReloadAnswer { status: "reloaded", previous_version: from, model_version: to }))
}

/// What served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelHistory {
    /// Every change of the version, the latest first.
    versions: Vec<ServedVersion>,
}

/// A version that served.
#[derive(Debug, Serialize, ToSchema)]
struct ServedVersion {
    /// The version.
    #[schema(example = "prompt-tasks-20260304T050607Z-89efcdab")]
    version: String,
    /// Since when.
    #[schema(example = "2026-03-04T05:07:08.123Z")]
    promoted_at: Timestamp,
    /// Who let it: `start` for a server that started with it, `SIGHUP`, or whoever called `reload`.
    #[schema(example = "token:alice")]
    promoted_by: String,
}

impl From<Promotion> for ServedVersion {
    fn from(promotion: Promotion) -> Self {
        Self { version: promotion.version, promoted_at: Timestamp(promotion.at), promoted_by: promotion.actor }
    }
}

/// Lists which model version served from when on, on any replica; the latest first.
#[utoipa::path(
    get, path = "/api/v1/models/history", tag = "models",
    params(HistoryParameters), responses((status = 200, body = ModelHistory), HistoryProblems)
)]
pub(super) async fn history(
    State(app): State<Arc<App>>,
    QueryParameters(parameters): QueryParameters<HistoryParameters>,
) -> Result<Json<ModelHistory>, Problem> {
    let served = app.storage.promotions(parameters.limit()?).await?;
    Ok(Json(ModelHistory { versions: served.into_iter().map(ServedVersion::from).collect() }))
}

/// Reloads, logs what came of it, and takes note of who asked.
///
/// # Errors
/// [`ReloadError`] when the old models go on serving.
pub(crate) async fn reload_now(app: Arc<App>, actor: &str) -> Result<Reloaded, ReloadError> {
    let reloading = spawn_blocking({
        let app = Arc::clone(&app);
        move || {
            let serving = app.serving.get().ok_or(ReloadError::Busy)?;
            let reloaded = memory::giving_back(|| serving.reload())?;
            app.expect_intents(serving);
            Ok(reloaded)
        }
    });
    let result = match reloading.await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    match &result {
        Ok(Reloaded { from, to }) => {
            info!(from, to, actor, "models reloaded");
            app.promotions.serves(to, actor);
        }
        Err(error) => error!(%error, "models not reloaded"),
    }
    result
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        Self::new(Kind::ReloadRefused, error.to_string())
    }
}
