//! What browsers are told: which pages may call, and what a page of ours may load.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{App, metering, request_id::X_REQUEST_ID};
use crate::{auth::X_API_KEY, config::Origin};

/// Pages of ours: everything comes from here, nothing is framed, no script stands in a page. The pictures of Swagger UI
/// stand in its style sheet.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Everything else is data.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Where pages are; the console says for itself, and more strictly, what it may load.
const PAGES: &str = "/docs";
/// Two years, as browsers' preload lists ask for.
const TRANSPORT_SECURITY: &str = "max-age=63072000; includeSubDomains";
/// How long a browser may remember what it is allowed to send.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(600);

/// Adds the headers that keep a browser from doing harm with an answer.
pub(super) async fn protect(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_page = request.uri().path().starts_with(PAGES);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::CONTENT_SECURITY_POLICY, if is_page { PAGE_POLICY } else { DATA_POLICY });
    if !is_page {
        // Answers are about one moment and may be about one user. Those with an `ETag` say so themselves.
        set(header::CACHE_CONTROL, "no-store");
    }
    if app.tls.is_some() {
        set(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
    response
}

/// Lets pages of other origins call; `None` when no origin is allowed, as by default.
pub(super) fn cross_origin(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(Origin::is_any) {
        AllowOrigin::any()
    } else {
        let origin = |origin: &Origin| HeaderValue::from_str(origin.as_str()).expect("an origin is ASCII");
        AllowOrigin::list(origins.iter().map(origin))
    };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            X_API_KEY,
            X_REQUEST_ID,
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            header::WWW_AUTHENTICATE,
            metering::RATE_LIMIT,
            metering::RATE_LIMIT_POLICY,
            X_REQUEST_ID,
        ])
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
