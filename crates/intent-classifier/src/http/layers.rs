//! What happens to every request, whatever its route.

use std::sync::Arc;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, Method},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, Span, debug, error, field::Empty, info_span};

use super::{
    App, error as problem,
    request_id::{RequestId, X_REQUEST_ID},
};
use crate::telemetry::{labels::OTHER_METHOD, recording::UNMATCHED, traces};

/// Gives a request its id and its place in the metrics, and its answer the final form.
pub(super) async fn envelope(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let request_id = RequestId::of(request.headers());
    request.extensions_mut().insert(request_id);
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let endpoint = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let in_flight = app.metrics.request_started(method, endpoint);

    let span = request_span(method, endpoint, request_id, request.headers());
    let mut response = problem::render(next.run(request).instrument(span.clone()).await, request_id);
    response.headers_mut().insert(X_REQUEST_ID, request_id.header_value());
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    if response.status().is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    let elapsed = in_flight.answered(status);
    let duration_ms = elapsed.as_secs_f64() * 1000.0;
    if status == 500 {
        error!(%request_id, method, endpoint, status, duration_ms, "answered");
    } else {
        debug!(%request_id, method, endpoint, status, duration_ms, "answered");
    }
    response
}

/// Makes the span of a request to the API, with the names of OpenTelemetry; probes and scrapes would only be noise.
fn request_span(method: &str, endpoint: &str, request_id: RequestId, headers: &HeaderMap) -> Span {
    if !endpoint.starts_with("/api/") {
        return Span::none();
    }
    let span = info_span!(
        target: "span",
        "request",
        otel.name = format_args!("{method} {endpoint}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = endpoint,
        http.response.status_code = Empty,
        %request_id,
    );
    traces::adopt(&span, headers);
    span
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
        _ => OTHER_METHOD,
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::to_bytes, middleware::from_fn_with_state, routing::get};
    use tower::ServiceExt;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;
    use crate::{auth::Authenticator, config::Settings};

    async fn panics() -> &'static str {
        panic!("the test")
    }

    fn app() -> Arc<App> {
        let settings = Settings::defaults();
        let authenticator = Authenticator::new(&settings.auth).expect("the defaults name no key");
        Arc::new(App::new(&settings, authenticator, None).expect("the defaults can be used"))
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
        let page = app.metrics.encode(app.state());
        assert!(page.contains(r#"endpoint="/panics",status="500"} 1"#), "{page}");
        assert!(page.contains("http_requests_active 0"), "{page}");
    }

    #[tokio::test]
    async fn under_load_requests_are_answered_rejected_failed_or_cancelled_and_nothing_else() {
        const EACH: usize = 200;
        let app = app();
        let router: Router = Router::new()
            .route("/works", get(|| async { "works" }))
            .route("/refuses", get(|| async { problem::Problem::new(problem::Kind::InvalidField, "the test") }))
            .route("/panics", get(panics))
            .route("/hangs", get(std::future::pending::<()>))
            .layer(CatchPanicLayer::custom(problem::panicked))
            .layer(from_fn_with_state(Arc::clone(&app), envelope));
        let mut tasks = Vec::new();
        let mut hanging = Vec::new();
        for path in ["/works", "/refuses", "/panics", "/hangs"].repeat(EACH) {
            let request = Request::get(path).body(axum::body::Body::empty()).expect("a request");
            let task = tokio::spawn(router.clone().oneshot(request));
            if path == "/hangs" { hanging.push(task) } else { tasks.push(task) }
        }
        for task in tasks {
            task.await.expect("the task ends").expect("a response");
        }
        for task in hanging {
            task.abort();
            assert!(task.await.expect_err("it never ends by itself").is_cancelled());
        }
        let page = app.metrics.encode(app.state());
        let each = EACH as u64;
        for line in [
            format!(r#"http_requests_total{{method="GET",endpoint="/works",status="200"}} {each}"#),
            format!(r#"http_requests_total{{method="GET",endpoint="/refuses",status="422"}} {each}"#),
            format!(r#"http_requests_total{{method="GET",endpoint="/panics",status="500"}} {each}"#),
            format!(r#"http_requests_cancelled_total{{method="GET",endpoint="/hangs"}} {each}"#),
            "http_requests_active 0".to_owned(),
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        let sum = |name: &str| -> u64 {
            let samples = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
            samples.map(|line| line.rsplit(' ').next().expect("a value").parse::<u64>().expect("a count")).sum()
        };
        let ended = sum("http_requests_total") + sum("http_requests_cancelled_total");
        assert_eq!((sum("http_requests_received_total"), ended), (4 * each, 4 * each));
    }
}
