//! The disk is full, below the database and the spool alike. A limit of the file size stands for it, which needs no rights
//! and which the server sees as it sees a disk without space: writing fails in the middle.

use std::{
    fs,
    time::{Duration, Instant},
};

use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    feedback::{stats, store},
    server::{PATIENCE, Server, json as body_of},
};

const FEEDBACK: &str = "/api/v1/intents/feedback";
const FLAG: &str = "/api/v1/feature-flags/quality_mode";
/// How soon after there is space again the database must be in use again.
const RECOVERY: Duration = Duration::from_secs(5);

fn feedback(number: u32) -> Value {
    json!({
        "feedback_id": Uuid::from_u128(u128::from(number)), "text": format!("text {number}"),
        "original_intent": "refund", "correct_intent": "greeting", "feedback_type": "correction",
    })
}

async fn change_flag(server: &Server) -> Response {
    server.put(FLAG).json(&json!({"enabled": true})).send().await.expect("the server answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_what_fits_promises_nothing_more_and_recovers_when_there_is_space() {
    let data = TempDir::new().expect("there is room for a folder");
    let server = Server::with(&[("DATA_DIR", data.path().to_str().expect("a path in UTF-8"))]);
    store(&server, &feedback(0)).await;
    let mut accepted = 1;

    // The files of the database are longer already; one of the spool holds some records.
    server.limit_file_size(Some(4_096));
    let mut refused = 0;
    for number in 1..60 {
        let response = server.post_json(FEEDBACK, &feedback(number)).await;
        match response.status().as_u16() {
            202 => accepted += 1,
            507 => refused += 1,
            status => panic!("{status}: {}", body_of(response).await),
        }
    }
    assert!(accepted > 10 && refused > 1, "{accepted} accepted, {refused} refused");

    let spool = || fs::read_dir(data.path().join("spool")).expect("there is a spool").count();
    let files = spool();
    server.limit_file_size(Some(0));
    for number in 100..110 {
        assert_eq!(server.post_json(FEEDBACK, &feedback(number)).await.status(), 507);
    }
    assert_eq!(spool(), files, "what is refused leaves no file behind");
    let change = change_flag(&server).await;
    assert_eq!(change.status(), 503);
    assert!(change.headers().contains_key("retry-after"));
    let classified = server.post_json("/api/v1/intents/classify", &json!({"text": "refund"})).await;
    assert_eq!((classified.status().as_u16(), &body_of(classified).await["intent"]), (200, &json!("refund")));
    assert_eq!(server.get(FLAG).send().await.expect("the server answers").status(), 200);
    assert_eq!(stats(&server).await["total"], 1, "reading goes on");
    let ready = server.get("/health/ready").send().await.expect("the server answers");
    assert_eq!(ready.status(), 200, "a full disk empties no fleet");
    assert_eq!(body_of(ready).await["status"], "degraded");

    server.limit_file_size(None);
    let back = Instant::now();
    while change_flag(&server).await.status() != 200 {
        assert!(back.elapsed() < RECOVERY, "there is space and nobody uses it");
    }
    let deadline = Instant::now() + PATIENCE;
    while stats(&server).await["spooled"] != 0 {
        assert!(Instant::now() < deadline, "the spool is not replayed");
    }
    assert_eq!(stats(&server).await["total"], accepted, "what was accepted, each once, and nothing else");
    assert_eq!(spool(), 0, "nothing waits");
}
