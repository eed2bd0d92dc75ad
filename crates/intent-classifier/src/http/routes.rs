//! All routes and layers.

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{App, batch, classify, docs, error, health, intents, layers, metrics, models};

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

fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(docs::Description::openapi())
        .routes(routes!(classify::classify))
        .routes(routes!(batch::classify_batch))
        .routes(routes!(intents::types))
        .routes(routes!(models::reload))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::metrics))
}
