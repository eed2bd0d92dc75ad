//! `/openapi.json` and `/docs`: the interface described, for programs and for people.

use axum::{
    Router,
    body::Bytes,
    http::header,
    response::IntoResponse,
    routing::{MethodRouter, get},
};
use utoipa::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

/// What the document says besides its paths.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "intent-classifier", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    components(schemas(super::error::ProblemBody<'_>, super::error::FieldError)),
    tags(
        (name = "intents", description = "Text in, intent out"),
        (name = "routing", description = "How models are chosen, and what was chosen"),
        (name = "experiments", description = "What is tried on whom, and what has come of it"),
        (name = "models", description = "The models that answer"),
        (name = "access", description = "Keys for programs"),
        (name = "audit", description = "Who did what"),
        (name = "rollouts", description = "Flags that are given to more and more users, for as long as nothing gets worse"),
        (name = "feature-flags", description = "What is on, for whom, and who changed it"),
        (name = "ofrep", description = "The same flags for OpenFeature clients, by OFREP 0.3"),
        (name = "health", description = "Probes and metrics"),
    )
)]
pub(super) struct Description;

/// Serves the document, written once.
pub(super) fn document<S: Clone + Send + Sync + 'static>(document: &utoipa::openapi::OpenApi) -> MethodRouter<S> {
    let json = Bytes::from(serde_json::to_vec(document).expect("an OpenAPI document is plain data"));
    get(move || async move { ([(header::CONTENT_TYPE, "application/json")], json).into_response() })
}

/// Serves Swagger UI from the binary; it loads nothing from elsewhere.
pub(super) fn swagger_ui<S: Clone + Send + Sync + 'static>() -> Router<S> {
    SwaggerUi::new("/docs").config(Config::new(["/openapi.json"])).into()
}
