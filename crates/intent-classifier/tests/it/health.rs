//! What probes and Prometheus see.

use serde_json::json;

use crate::server::{Server, json as body_of};

#[tokio::test]
async fn the_probes_of_a_server_that_serves() {
    let server = Server::start();
    for path in ["/health", "/health/live"] {
        let response = server.get(path).send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(
            body_of(response).await,
            json!({"status": "healthy", "service": "intent-classifier", "version": env!("CARGO_PKG_VERSION")})
        );
    }
    let response = server.get("/health/ready").send().await.expect("the server answers");
    assert_eq!(response.status(), 200);
    insta::assert_json_snapshot!(body_of(response).await);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_decisions_by_intent() {
    let server = Server::start();
    let classify = "/api/v1/intents/classify";
    server.post_json(classify, &json!({"text": "refund"})).await;
    server.post_json(classify, &json!({"text": ""})).await;
    server.get("/no/such/path").send().await.expect("the server answers");
    let page = server.get("/metrics").send().await.expect("the server answers");
    assert!(page.headers()["content-type"].to_str().expect("ASCII").starts_with("application/openmetrics-text"));
    let page = page.text().await.expect("text");
    for line in [
        r#"http_requests_total{method="POST",endpoint="/api/v1/intents/classify",status="200"} 1"#,
        r#"http_requests_total{method="POST",endpoint="/api/v1/intents/classify",status="422"} 1"#,
        r#"http_requests_total{method="GET",endpoint="unmatched",status="404"} 1"#,
        r#"http_request_duration_seconds_count{method="POST",endpoint="/api/v1/intents/classify"} 2"#,
        r#"http_requests_active 1"#,
        r#"intent_classification_requests_total{intent="refund",model="rules",status="ok"} 1"#,
        r#"model_inference_duration_seconds_count{model="rules"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(page.contains("process_resident_memory_bytes "), "{page}");
    assert!(page.ends_with("# EOF\n"));
}
