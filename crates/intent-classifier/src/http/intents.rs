//! `GET /api/v1/intents/types`: what a text can be taken for.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    App,
    error::{Problem, ServiceProblems},
};

/// The loaded intent pack.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IntentTypes<'a> {
    /// The name of the pack.
    #[schema(example = "prompt-tasks")]
    name: &'a str,
    /// Its version.
    #[schema(example = "1.0.0")]
    version: &'a str,
    /// Its intents, in the order of the pack. `out_of_scope` is not one of them: it is the answer when none fits.
    intents: Vec<IntentType<'a>>,
}

/// An intent of the pack.
#[derive(Debug, Serialize, ToSchema)]
struct IntentType<'a> {
    /// The name in answers.
    #[schema(example = "summarization")]
    name: &'a str,
    /// What belongs to it and what does not.
    description: &'a str,
    /// What the pack attaches to its answers.
    #[schema(value_type = Object)]
    attributes: &'a RawValue,
}

/// Lists the intents that a text can be taken for.
#[utoipa::path(
    get, path = "/api/v1/intents/types", tag = "intents",
    responses((status = 200, body = IntentTypes<'_>), ServiceProblems)
)]
pub(super) async fn types(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let pack = app.serving()?.pack();
    let intents = pack
        .intents
        .iter()
        .map(|intent| IntentType {
            name: &intent.name,
            description: &intent.description,
            attributes: &intent.attributes,
        })
        .collect();
    Ok(Json(IntentTypes { name: &pack.name, version: &pack.version, intents }).into_response())
}
