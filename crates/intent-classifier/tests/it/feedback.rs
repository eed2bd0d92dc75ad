//! Feedback over HTTP, on the embedded database.

use serde_json::{Value, json};

use crate::{
    program::{program, run_with_input},
    server::{Server, json as body_of},
};

const CLASSIFY: &str = "/api/v1/intents/classify";
const FEEDBACK: &str = "/api/v1/intents/feedback";
const STATS: &str = "/api/v1/intents/feedback/stats";
const ID: &str = "0199d2f4-5b7c-7cc3-98c4-dc0c0c07398f";

fn correction() -> Value {
    json!({
        "feedback_id": ID, "text": "refund", "original_intent": "refund", "correct_intent": "greeting",
        "feedback_type": "correction",
    })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

/// Waits until the server knows its database, which may take a moment longer than the start, and posts feedback.
pub(crate) async fn store(server: &Server, body: &Value) -> Value {
    let deadline = tokio::time::Instant::now() + crate::server::PATIENCE;
    loop {
        let ready = server.get("/health/ready").send().await.expect("the server answers");
        let database = body_of(ready).await["database"].clone();
        if database["status"] == "healthy" {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{database}");
        tokio::task::yield_now().await;
    }
    let response = server.post_json(FEEDBACK, body).await;
    assert_eq!(response.status(), 201);
    body_of(response).await
}

pub(crate) async fn stats(server: &Server) -> Value {
    let response = server.get(STATS).send().await.expect("the server answers");
    assert_eq!(response.status(), 200);
    body_of(response).await
}

#[tokio::test]
async fn feedback_is_stored_and_added_up() {
    let server = Server::start();
    let answer = store(&server, &correction()).await;
    assert_eq!(answer, json!({"feedback_id": ID, "status": "stored"}));
    for user in ["a", "b"] {
        let confirmation = json!({
            "text": "hello", "original_intent": "greeting", "correct_intent": "greeting",
            "original_confidence": 0.9, "feedback_type": "confirmation", "user_id": user, "comment": "thanks",
        });
        assert_eq!(server.post_json(FEEDBACK, &confirmation).await.status(), 201);
    }
    insta::assert_json_snapshot!(stats(&server).await);
}

#[tokio::test]
async fn feedback_that_is_sent_again_counts_once() {
    let server = Server::start();
    let mut body = correction();
    body.as_object_mut().expect("an object").remove("feedback_id");
    store(&server, &correction()).await;
    let send = async |body: &Value, key: &str| {
        let request = server.post(FEEDBACK).header("Idempotency-Key", key).json(body);
        request.send().await.expect("the server answers")
    };
    let first = body_of(send(&body, "k1").await).await;
    let again = send(&body, "k1").await;
    assert_eq!(again.status(), 201);
    assert_eq!(body_of(again).await, first);
    let of_another_user = body_of(send(&with(body.clone(), "user_id", json!("u")), "k1").await).await;
    assert_ne!(of_another_user["feedback_id"], first["feedback_id"], "a key belongs to its user");
    assert_eq!(stats(&server).await["total"], 3);

    let other = send(&with(body, "correct_intent", json!("out_of_scope")), "k1").await;
    assert_eq!(other.status(), 422);
    let problem = body_of(other).await;
    insta::assert_json_snapshot!(problem, {".request_id" => "[id]"});
}

#[tokio::test]
async fn a_correction_drops_the_cached_answers_of_its_text() {
    let server = Server::start();
    let classify =
        async |text: &str| body_of(server.post_json(CLASSIFY, &json!({"text": text})).await).await["cached"].clone();
    for text in ["refund", "hello"] {
        classify(text).await;
        assert_eq!(classify(text).await, true);
    }
    store(&server, &correction()).await;
    assert_eq!(classify("refund").await, false);
    assert_eq!(classify("hello").await, true, "other texts stay");
}

#[tokio::test]
async fn every_mistake_is_named_and_nothing_is_stored() {
    let server = Server::start();
    let long = "x".repeat(2_001);
    let cases = [
        (with(correction(), "text", json!("")), vec!["text"]),
        (with(correction(), "text", json!("a\0b")), vec!["text"]),
        (with(correction(), "original_intent", json!("no_such")), vec!["original_intent"]),
        (with(correction(), "correct_intent", json!("no_such")), vec!["correct_intent"]),
        (with(correction(), "correct_intent", json!("refund")), vec!["correct_intent"]),
        (with(correction(), "feedback_type", json!("confirmation")), vec!["correct_intent"]),
        (with(correction(), "feedback_type", json!("praise")), vec!["feedback_type"]),
        (with(correction(), "original_confidence", json!(1.5)), vec!["original_confidence"]),
        (with(correction(), "original_confidence", json!(-0.1)), vec!["original_confidence"]),
        (with(correction(), "user_id", json!("")), vec!["user_id"]),
        (with(correction(), "comment", json!(long)), vec!["comment"]),
        (with(correction(), "comment", json!("a\0b")), vec!["comment"]),
        (with(correction(), "request_id", json!("not-a-uuid")), vec!["request_id"]),
        (with(correction(), "feedback_id", json!("not-a-uuid")), vec!["feedback_id"]),
        (with(correction(), "unknown", json!(1)), vec!["unknown"]),
        (with(with(correction(), "text", json!(" ")), "correct_intent", json!("x")), vec!["text", "correct_intent"]),
        (json!({"text": "a"}), vec!["original_intent"]),
    ];
    for (body, fields) in cases {
        let response = server.post_json(FEEDBACK, &body).await;
        assert_eq!(response.status(), 422, "{body}");
        let problem = body_of(response).await;
        let found: Vec<&str> =
            problem["errors"].as_array().expect("errors").iter().filter_map(|error| error["field"].as_str()).collect();
        assert_eq!(found, fields, "{problem}");
    }
    for key in ["", "ü", &"k".repeat(256)] {
        let request = server.post(FEEDBACK).header("Idempotency-Key", key.as_bytes()).json(&correction());
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 422, "{key}");
        assert_eq!(body_of(response).await["errors"][0]["field"], "Idempotency-Key");
    }
    store(&server, &with(correction(), "text", json!("the only one"))).await;
    assert_eq!(stats(&server).await["total"], 1);
}

#[tokio::test]
async fn an_export_knows_what_was_decided_about_the_request() {
    let data = tempfile::TempDir::new().expect("there is room for a folder");
    let data_directory = data.path().to_str().expect("a path in UTF-8");
    let server = Server::with(&[("DATA_DIR", data_directory)]);
    let asked =
        server.post_json(CLASSIFY, &json!({"text": "refund", "context": {"locale": "de", "n": [1, null]}})).await;
    let request_id = body_of(asked).await["request_id"].clone();
    let confirmation = json!({
        "request_id": request_id, "text": "refund", "original_intent": "refund", "correct_intent": "refund",
        "feedback_type": "confirmation", "user_id": "=1+1",
    });
    store(&server, &confirmation).await;
    assert_eq!(stats(&server).await["by_model"]["rules"]["total"], 1);

    let export = |arguments: &[&str]| {
        let mut command = program(data.path());
        command.env("DATA_DIR", data.path()).args(["export", "feedback"]).args(arguments);
        run_with_input(&mut command, "")
    };
    let output = export(&[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    insta::assert_json_snapshot!(line, {
        ".feedback_id" => "[id]", ".received_at" => "[time]", ".request_id" => "[id]", ".model_version" => "[version]",
    });
    assert_eq!(line["request_id"], request_id);
    let csv = String::from_utf8(export(&["--format", "csv", "--since", "1h"]).stdout).expect("UTF-8");
    assert!(csv.contains("\"'=1+1\"") && csv.lines().count() == 2, "{csv}");
    assert!(export(&["--since", "2999-01-01"]).stdout.is_empty());
    assert_eq!(export(&["--since", "yesterday"]).status.code(), Some(2));
}

#[tokio::test]
async fn a_disk_that_is_full_is_a_507_and_not_a_promise() {
    // There is no database, and the spool may hold nothing.
    let nowhere = [("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"), ("DATABASE_TIMEOUT_MS", "20")];
    let server = Server::with(&[nowhere[0], nowhere[1], ("FEEDBACK_SPOOL_MAX_BYTES", "100")]);
    let first = server.post_json(FEEDBACK, &correction()).await;
    assert_eq!(first.status(), 507, "one feedback is larger");
    let problem = body_of(first).await;
    insta::assert_json_snapshot!(problem, {".request_id" => "[id]"});
    drop(server);
    let server = Server::with(&nowhere);
    let spooled = server.post_json(FEEDBACK, &correction()).await;
    assert_eq!(spooled.status(), 202);
    assert_eq!(body_of(spooled).await, json!({"feedback_id": ID, "status": "spooled"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feedback_is_deleted_when_it_is_older_than_it_may_become() {
    let url = crate::postgres::database();
    let server = Server::with(&[("DATABASE_URL", &url)]);
    store(&server, &correction()).await;
    let recent = with(correction(), "feedback_id", json!("0199d2f4-5b7c-7cc3-98c4-dc0c0c073990"));
    store(&server, &recent).await;
    drop(server);
    let two_days_ago = "UPDATE feedback SET received_at_ms = received_at_ms - 2 * 86400000 WHERE id = ";
    crate::postgres::execute(&url, &format!("{two_days_ago}'{ID}'"));

    let server = Server::with(&[("DATABASE_URL", &url), ("FEEDBACK_RETENTION_DAYS", "1")]);
    assert_eq!(server.wait_for_log("old feedback and exposures were deleted")["deleted"], 1);
    assert_eq!(stats(&server).await["total"], 1);
}
