//! What happens to every request, whatever its route.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};
use tracing::{debug, error};

use super::{
    App, error as problem,
    request_id::{RequestId, X_REQUEST_ID},
};

/// The endpoint label of requests that match no route.
const UNMATCHED: &str = "unmatched";

/// Gives a request its id and its place in the metrics, and its answer the final form.
pub(super) async fn envelope(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let request_id = RequestId::of(request.headers());
    request.extensions_mut().insert(request_id);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let endpoint = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let in_flight = app.metrics.request_started(method, endpoint);

    let mut response = problem::render(next.run(request).await, request_id);
    response.headers_mut().insert(X_REQUEST_ID, request_id.header_value());
    let status = response.status().as_u16();
    let elapsed = in_flight.answered(status);
    let duration_ms = elapsed.as_secs_f64() * 1000.0;
    if status == 500 {
        error!(%request_id, method, endpoint, status, duration_ms, "answered");
    } else {
        debug!(%request_id, method, endpoint, status, duration_ms, "answered");
    }
    response
}

/// Bounds the label: methods are the client's choice.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::to_bytes, middleware::from_fn_with_state, routing::get};
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;
    use crate::config::Settings;

    async fn panics() -> &'static str {
        panic!("the test")
    }

    fn app() -> Arc<App> {
        Arc::new(App::new(&Settings::defaults()))
    }

    #[tokio::test]
    async fn a_panic_is_a_500_of_the_usual_shape_and_the_next_request_is_answered() {
        let app = app();
        let router: Router = Router::new()
            .route("/panics", get(panics))
            .route("/works", get(|| async { "works" }))
            .layer(CatchPanicLayer::custom(problem::panicked))
            .layer(from_fn_with_state(Arc::clone(&app), envelope));
        let ask =
            |path: &str| router.clone().oneshot(Request::get(path).body(axum::body::Body::empty()).expect("a request"));

        let failed = ask("/panics").await.expect("a response");
        assert_eq!(failed.status(), 500);
        assert_eq!(failed.headers()["content-type"], "application/problem+json");
        let id = failed.headers()[X_REQUEST_ID].to_str().expect("ASCII").to_owned();
        let body = to_bytes(failed.into_body(), 10_000).await.expect("a body");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["type"], "urn:intent-classifier:problem:internal");
        assert_eq!(body["request_id"], id);
        assert!(!body.to_string().contains("the test"), "what happened inside stays inside: {body}");

        assert_eq!(ask("/works").await.expect("a response").status(), 200);
        let page = app.metrics.encode();
        assert!(page.contains(r#"endpoint="/panics",status="500"} 1"#), "{page}");
        assert!(page.contains("http_requests_active 0"), "{page}");
    }
}
