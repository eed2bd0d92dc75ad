//! All routes and layers.

use std::sync::Arc;

use axum::{Router, http::Method, middleware::from_fn_with_state};
use tower::util::option_layer;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{OpenApi, openapi::path::PathItem};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    access::{self, Access},
    api_keys, batch, browser, classify, console, docs, error, experiments, feedback, flags, health, intents, layers,
    low_confidence, metrics, models, ofrep, rollouts, routing, suspicions,
};
use crate::{auth::Scope, telemetry::recording::UNMATCHED};

/// Returns the service: routes inside, layers around them.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (router, mut document) = documented().split_for_parts();
    access::describe(&mut document);
    router
        .route("/openapi.json", docs::document(&document))
        .merge(docs::swagger_ui())
        .merge(console::routes())
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(app), access::guard))
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(Arc::clone(app), layers::envelope))
        .layer(from_fn_with_state(Arc::clone(app), browser::protect))
        .layer(option_layer(browser::cross_origin(&app.cors_allowed_origins)))
        .with_state(Arc::clone(app))
}

/// Returns the description of all routes that are documented.
pub(crate) fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = documented().into_openapi();
    access::describe(&mut document);
    document
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
const UNDOCUMENTED: [(&str, u16); 7] = [
    ("/", 307),
    ("/console", 200),
    ("/console/", 307),
    ("/console/{file}", 200),
    ("/openapi.json", 200),
    ("/docs/{*rest}", 200),
    (UNMATCHED, 404),
];

fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(docs::Description::openapi())
        .routes(routes!(classify::classify))
        .routes(routes!(batch::classify_batch))
        .routes(routes!(intents::types))
        .routes(routes!(low_confidence::low_confidence))
        .routes(routes!(feedback::submit))
        .routes(routes!(feedback::stats))
        .routes(routes!(routing::config::show, routing::config::change))
        .routes(routes!(routing::config::history))
        .routes(routes!(routing::stats::stats))
        .routes(routes!(experiments::list))
        .routes(routes!(experiments::results))
        .routes(routes!(models::reload))
        .routes(routes!(models::history))
        .routes(routes!(suspicions::suspicious_inputs))
        .routes(routes!(flags::read::list))
        .routes(routes!(flags::read::one, flags::change::change))
        .routes(routes!(flags::change::reset))
        .routes(routes!(flags::change::history))
        .routes(routes!(flags::read::check))
        .routes(routes!(flags::read::of_user))
        .routes(routes!(flags::change::refresh))
        .routes(routes!(rollouts::list, rollouts::start))
        .routes(routes!(rollouts::one))
        .routes(routes!(rollouts::pause))
        .routes(routes!(rollouts::resume))
        .routes(routes!(rollouts::abort))
        .merge(ofrep::routes())
        .routes(routes!(api_keys::create, api_keys::list))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::models))
        .routes(routes!(health::dependencies))
        .routes(routes!(metrics::metrics))
}

/// Returns who may call a route when authentication is on. A route that is not listed is for administrators only, and a
/// test names it.
pub(super) fn access(method: &Method, route: &str) -> Access {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    match (method, route) {
        ("GET", "/health/models" | "/health/dependencies") => Access::HealthDetails,
        ("GET", "/health" | "/health/live" | "/health/ready") => Access::Probe,
        ("GET", "/metrics") => Access::Metrics,
        ("GET", "/" | "/console" | "/console/" | "/console/{file}") => Access::Page,
        ("GET", "/openapi.json" | "/docs" | "/docs/" | "/docs/{*rest}") => Access::Documents,
        ("POST", "/api/v1/intents/classify" | "/api/v1/intents/classify/batch") => Access::Scope(Scope::Classify),
        ("GET", "/api/v1/intents/types") => Access::Scope(Scope::Classify),
        ("POST", "/api/v1/intents/feedback") => Access::Scope(Scope::Feedback),
        ("GET", "/api/v1/intents/feedback/stats") => Access::Scope(Scope::Feedback),
        (
            "GET",
            "/api/v1/intents/routing/config"
            | "/api/v1/intents/routing/config/history"
            | "/api/v1/intents/routing/stats",
        ) => Access::Scope(Scope::FlagsRead),
        ("PUT", "/api/v1/intents/routing/config") => Access::Scope(Scope::FlagsWrite),
        ("GET", route) if route.starts_with("/api/v1/experiments") => Access::Scope(Scope::FlagsRead),
        ("GET", route) if route.starts_with("/api/v1/rollouts") => Access::Scope(Scope::FlagsRead),
        ("POST", route) if route.starts_with("/api/v1/rollouts") => Access::Scope(Scope::FlagsWrite),
        // OFREP evaluates by POST and changes nothing.
        ("POST", route) if route.starts_with("/ofrep/v1/evaluate/") => Access::Scope(Scope::FlagsRead),
        ("GET", route) if route.starts_with("/api/v1/feature-flags") || route.starts_with("/ofrep/") => {
            Access::Scope(Scope::FlagsRead)
        }
        ("PUT" | "POST", route) if route.starts_with("/api/v1/feature-flags") => Access::Scope(Scope::FlagsWrite),
        // It may hold texts of users.
        ("GET", "/api/v1/intents/low-confidence") => Access::Scope(Scope::Admin),
        ("POST", "/api/v1/models/reload") => Access::Scope(Scope::Admin),
        _ => Access::Scope(Scope::Admin),
    }
}
