//! What probes see.

use serde_json::{Value, json};

use crate::server::{Server, json as body_of};

const CLASSIFY: &str = "/api/v1/intents/classify";
const DRAFT: &str = "application/health+json";

async fn health(server: &Server, path: &str, accept: &str) -> (u16, String, Value) {
    let response = server.get(path).header("accept", accept).send().await.expect("the server answers");
    let content_type = response.headers()["content-type"].to_str().expect("ASCII").to_owned();
    (response.status().as_u16(), content_type, body_of(response).await)
}

/// Waits until an answer is as it should be.
async fn eventually(server: &Server, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let (_, _, body) = health(server, path, "*/*").await;
        if is_so(&body) {
            return body;
        }
        assert!(tokio::time::Instant::now() < deadline, "{body:#}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_process_answers_for_itself() {
    let server = Server::start();
    for path in ["/health", "/health/live"] {
        let (status, content_type, body) = health(&server, path, "*/*").await;
        assert_eq!((status, content_type.as_str()), (200, "application/json"), "{path}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(body, json!({"status": "healthy", "service": "intent-classifier", "version": version}));
    }
}

#[tokio::test]
async fn a_server_that_serves_is_ready_and_says_what_it_has() {
    let server = Server::start();
    let (status, ..) = health(&server, "/health/ready", "*/*").await;
    assert_eq!(status, 200);
    // The database may take a moment longer than the models.
    let body = eventually(&server, "/health/ready", |body| body["database"]["status"] != "not_loaded").await;
    insta::assert_json_snapshot!(body);
}

#[tokio::test]
async fn every_model_is_probed_before_the_first_request_and_shows_live_figures_after_it() {
    let server = Server::start();
    let figures = [
        ".models.rules.latency_ms",
        ".models.rules.checked_seconds_ago",
        ".models.rules.p50_ms",
        ".models.rules.p95_ms",
    ];
    let (status, _, body) = health(&server, "/health/models", "*/*").await;
    assert_eq!(status, 200);
    let rules = &body["models"]["rules"];
    assert!(rules["latency_ms"].as_f64() > Some(0.0) && rules["checked_seconds_ago"].is_f64(), "{rules}");
    assert_eq!(rules["p50_ms"], Value::Null, "a probe is no live traffic");
    for _ in 0..3 {
        server.post_json(CLASSIFY, &json!({"text": "refund"})).await;
    }
    let (_, _, body) = health(&server, "/health/models", "*/*").await;
    assert!(body["models"]["rules"]["p95_ms"].as_f64() > Some(0.0), "{body}");
    insta::assert_json_snapshot!(body, {
        figures[0] => "[ms]", figures[1] => "[seconds]", figures[2] => "[ms]", figures[3] => "[ms]",
    });
}

#[tokio::test]
async fn dependencies_that_nobody_wants_are_not_configured() {
    let server = Server::start();
    let (status, _, body) = health(&server, "/health/dependencies", "*/*").await;
    assert_eq!(status, 200);
    insta::assert_json_snapshot!(body);
}

#[tokio::test]
async fn those_who_accept_the_draft_get_its_shape() {
    let server = Server::start();
    let mut shapes = Vec::new();
    for path in ["/health", "/health/live", "/health/ready", "/health/models", "/health/dependencies"] {
        let (status, content_type, body) = health(&server, path, DRAFT).await;
        assert_eq!((status, content_type.as_str()), (200, DRAFT), "{path}");
        shapes.push(json!({"path": path, "body": body}));
    }
    insta::assert_json_snapshot!(shapes, {
        "[].body.checks[\"model:rules\"][].observedValue" => "[ms]",
        "[].body.checks[\"model:rules\"][].time" => "[time]",
    });
}

#[tokio::test]
async fn a_thousand_health_calls_run_no_probe_at_all() {
    // One round of probes is run at start; the next would come after an hour.
    let server = Server::with(&[("HEALTH_CHECK_INTERVAL_MS", "3600000")]);
    let first = eventually(&server, "/health/models", |body| body["models"]["rules"]["latency_ms"].is_f64()).await;
    for _ in 0..20 {
        let calls = (0..50).map(|_| health(&server, "/health/models", "*/*"));
        for (status, _, body) in futures::future::join_all(calls).await {
            assert_eq!(status, 200);
            // A probe that ran meanwhile would have taken another time, to the microsecond, and be younger.
            assert_eq!(body["models"]["rules"]["latency_ms"], first["models"]["rules"]["latency_ms"]);
        }
    }
    let (_, _, last) = health(&server, "/health/models", "*/*").await;
    let age = |body: &Value| body["models"]["rules"]["checked_seconds_ago"].as_f64().expect("it was probed");
    assert!(age(&last) >= age(&first));
}

#[tokio::test]
async fn probes_go_on_in_the_background() {
    let server = Server::with(&[("HEALTH_CHECK_INTERVAL_MS", "100")]);
    let (_, _, first) = health(&server, "/health/models", "*/*").await;
    let before = first["models"]["rules"]["latency_ms"].clone();
    assert!(before.is_f64());
    eventually(&server, "/health/models", |body| body["models"]["rules"]["latency_ms"] != before).await;
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_degrades_readiness_and_shows_in_metrics() {
    let directory = tempfile::TempDir::new().expect("there is room for a folder");
    std::fs::create_dir_all(directory.path().join("models/encoder")).expect("it can be made");
    let server = Server::start_in(directory, &[]);
    let (status, _, body) = health(&server, "/health/ready", "*/*").await;
    assert_eq!((status, &body["status"]), (200, &json!("degraded")));
    assert_eq!(body["affected"], json!(["hybrid", "zero_shot"]));
    let (_, _, draft) = health(&server, "/health/ready", DRAFT).await;
    assert_eq!((&draft["status"], &draft["output"]), (&json!("warn"), &json!("degraded")));
    assert_eq!(draft["checks"]["model:hybrid"][0]["status"], "fail");
    let page = server.get("/metrics").send().await.expect("the server answers").text().await.expect("text");
    for line in [
        r#"intent_classifier_model_health{model="hybrid"} 0"#,
        r#"intent_classifier_model_configured{model="hybrid"} 1"#,
        r#"intent_classifier_model_configured{model="distilbert"} 0"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[tokio::test]
async fn bad_intervals_stop_the_start_by_name() {
    for (variable, value) in
        [("HEALTH_CHECK_INTERVAL_MS", "0"), ("HEALTH_CHECK_TIMEOUT_MS", "1"), ("HEALTH_MAX_STALL_MS", "soon")]
    {
        let output = crate::program::program(std::path::Path::new("/")).env(variable, value).output().expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(variable), "{stderr}");
    }
}
