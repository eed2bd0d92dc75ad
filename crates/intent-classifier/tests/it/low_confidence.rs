//! What no model was sure of lately, for people who look for what to teach.

use serde_json::{Value, json};

use crate::{
    flags::set,
    server::{Server, json as body_of},
    token::{SECRET, token},
};

const CLASSIFY: &str = "/api/v1/intents/classify";
const BATCH: &str = "/api/v1/intents/classify/batch";
const LIST: &str = "/api/v1/intents/low-confidence";

async fn list(server: &Server) -> Value {
    let response = server.get(LIST).send().await.expect("the server answers");
    assert_eq!(response.status(), 200);
    body_of(response).await
}

async fn ask(server: &Server, text: &str, user: &str) {
    let response = server.post_json(CLASSIFY, &json!({"text": text, "user_id": user})).await;
    assert_eq!(response.status(), 200);
}

fn texts(list: &Value) -> Vec<&Value> {
    list["decisions"].as_array().expect("a list").iter().map(|decision| &decision["text"]).collect()
}

#[tokio::test]
async fn texts_without_a_sure_answer_are_listed_and_readable_only_with_enhanced_logging() {
    let server = Server::start();
    ask(&server, "refund", "alice").await;
    assert_eq!(list(&server).await, json!({"keeps_texts": false, "decisions": []}), "the rules are sure of a refund");
    ask(&server, "hi 1", "alice").await;
    let unread = list(&server).await;
    assert_eq!(texts(&unread), [&Value::Null]);
    assert!(!unread.to_string().contains("hi 1"), "{unread}");

    set(&server, "enhanced_logging", json!({"enabled": true})).await;
    ask(&server, "hi 2", "alice").await;
    ask(&server, "hi 1", "bob").await;
    ask(&server, &format!("hi {}", "漢".repeat(300)), "alice").await;
    insta::assert_json_snapshot!(list(&server).await, {
        ".decisions[].request_id" => "[uuid]",
        ".decisions[].at" => "[time]",
    });

    set(&server, "enhanced_logging", json!({"enabled": false})).await;
    assert_eq!(texts(&list(&server).await), [&Value::Null; 3]);
    set(&server, "enhanced_logging", json!({"enabled": true})).await;
    assert_eq!(texts(&list(&server).await), [&Value::Null; 3], "what was forgotten stays so");
}

#[tokio::test]
async fn the_list_is_bounded_and_the_oldest_leave_first() {
    let server = Server::with(&[("FEATURE_FLAG_ENHANCED_LOGGING_ENABLED", "true")]);
    for batch in 0..3 {
        let texts: Vec<String> = (0..100).map(|number| format!("hi {}", 100 * batch + number)).collect();
        assert_eq!(server.post_json(BATCH, &json!({ "texts": texts })).await.status(), 200);
    }
    let list = list(&server).await;
    let expected: Vec<Value> = (100..300).rev().map(|number| json!(format!("hi {number}"))).collect();
    assert_eq!(texts(&list), expected.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn texts_of_users_are_for_administrators() {
    let server = Server::with(&[("AUTH_ENABLED", "true"), ("JWT_SECRET", SECRET)]);
    for (scopes, status) in [("classify feedback flags:read flags:write", 403), ("admin", 200)] {
        let response = server.get(LIST).bearer_auth(token("ada", scopes)).send().await.expect("the server answers");
        assert_eq!(response.status(), status, "{scopes}");
    }
    assert_eq!(server.get(LIST).send().await.expect("the server answers").status(), 401);
}
