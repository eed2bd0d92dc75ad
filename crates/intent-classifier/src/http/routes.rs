//! All routes and layers.

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{OpenApi, openapi::path::PathItem};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{App, batch, classify, docs, error, health, intents, layers, metrics, models};
use crate::telemetry::recording::UNMATCHED;

/// Returns the service: routes inside, layers around them.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (router, document) = documented().split_for_parts();
    router
        .route("/openapi.json", docs::document(&document))
        .merge(docs::swagger_ui())
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(Arc::clone(app), layers::envelope))
        .with_state(Arc::clone(app))
}

/// Returns the description of all routes that are documented.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    documented().into_openapi()
}

/// An operation that is served, as metrics know it.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Its method.
    pub(crate) method: &'static str,
    /// The template of its path.
    pub(crate) path: String,
    /// The statuses it answers with.
    pub(crate) statuses: Vec<u16>,
}

/// Returns every operation that is served; the documented ones with every status that they are documented to have.
pub(crate) fn operations() -> Vec<Operation> {
    let of_path = |(path, item): (String, PathItem)| {
        let methods = [
            ("GET", item.get),
            ("HEAD", item.head),
            ("POST", item.post),
            ("PUT", item.put),
            ("PATCH", item.patch),
            ("DELETE", item.delete),
        ];
        methods.into_iter().filter_map(move |(method, operation)| {
            let statuses = operation?.responses.responses;
            let statuses = statuses.keys().filter_map(|status| status.parse().ok()).collect();
            Some(Operation { method, path: path.clone(), statuses })
        })
    };
    let documented = openapi().paths.paths.into_iter().flat_map(of_path);
    let others =
        UNDOCUMENTED.map(|(path, status)| Operation { method: "GET", path: path.into(), statuses: vec![status] });
    documented.chain(others).collect()
}

/// What is served besides the documented operations.
const UNDOCUMENTED: [(&str, u16); 3] = [("/openapi.json", 200), ("/docs/{*rest}", 200), (UNMATCHED, 404)];

fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(docs::Description::openapi())
        .routes(routes!(classify::classify))
        .routes(routes!(batch::classify_batch))
        .routes(routes!(intents::types))
        .routes(routes!(models::reload))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::models))
        .routes(routes!(health::dependencies))
        .routes(routes!(metrics::metrics))
}
