//! `POST /api/v1/models/reload`: takes the version that was promoted since.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tracing::{error, info};
use utoipa::ToSchema;

use super::{
    App,
    error::{Kind, Problem, ReloadProblems},
};
use crate::serving::{ReloadError, Reloaded};

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
pub(super) async fn reload(State(app): State<Arc<App>>) -> Result<Json<ReloadAnswer>, Problem> {
    app.serving()?;
    let Reloaded { from, to } = reload_now(app).await?;
    Ok(Json(ReloadAnswer { status: "reloaded", previous_version: from, model_version: to }))
}

/// Reloads and logs what came of it.
///
/// # Errors
/// [`ReloadError`] when the old models go on serving.
pub(crate) async fn reload_now(app: Arc<App>) -> Result<Reloaded, ReloadError> {
    let reloading = spawn_blocking(move || {
        let serving = app.serving.get().ok_or(ReloadError::Busy)?;
        let reloaded = serving.reload()?;
        app.expect_intents(serving);
        Ok(reloaded)
    });
    let result = match reloading.await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    match &result {
        Ok(Reloaded { from, to }) => info!(from, to, "models reloaded"),
        Err(error) => error!(%error, "models not reloaded"),
    }
    result
}

impl From<ReloadError> for Problem {
    fn from(error: ReloadError) -> Self {
        Self::new(Kind::ReloadRefused, error.to_string())
    }
}
