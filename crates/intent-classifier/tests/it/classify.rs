//! Text in, intent out.

use serde_json::{Value, json};

use crate::server::{Server, json as body_of};

const CLASSIFY: &str = "/api/v1/intents/classify";
const BATCH: &str = "/api/v1/intents/classify/batch";

#[tokio::test]
async fn an_answer_has_the_shape_of_the_contract() {
    let server = Server::start();
    let body = json!({"text": "I want my money back!", "user_id": "user123", "latency_requirement": "critical"});
    let response = server.post_json(CLASSIFY, &body).await;
    assert_eq!(response.status(), 200);
    let request_id = response.headers()["x-request-id"].to_str().expect("ASCII").to_owned();
    let answer = body_of(response).await;
    assert_eq!(answer["request_id"], request_id);
    assert_eq!(request_id.as_bytes()[14], b'7', "it is a UUIDv7: {request_id}");
    insta::assert_json_snapshot!(answer, {
        ".request_id" => "[uuid]",
        ".processing_time_ms" => "[ms]",
        ".routing.latency_ms.total" => "[ms]",
        ".routing.latency_ms.rules" => "[ms]",
    });
}

#[tokio::test]
async fn top_k_bounds_the_alternatives() {
    let server = Server::start();
    for (top_k, listed) in [(1, 1), (2, 2), (3, 3), (50, 3)] {
        let answer = body_of(server.post_json(CLASSIFY, &json!({"text": "refund", "top_k": top_k})).await).await;
        let alternatives = answer["alternatives"].as_array().expect("a list");
        assert_eq!(alternatives.len(), listed, "{top_k}");
        assert_eq!(alternatives[0]["intent"], answer["intent"]);
        assert!(alternatives.is_sorted_by(|a, b| a["confidence"].as_f64() >= b["confidence"].as_f64()));
    }
}

#[tokio::test]
async fn a_caller_may_name_the_request_by_a_uuid_and_nothing_else() {
    let server = Server::start();
    let own = "6f1c1e0a-7a8e-4a1c-9a55-0d9d5f0b2a11";
    for (sent, kept) in [(own, true), ("my-request", false), ("\u{fc}", false), ("", false)] {
        let request = server.post(CLASSIFY).header("x-request-id", sent).json(&json!({"text": "refund"}));
        let response = request.send().await.expect("the server answers");
        let got = response.headers()["x-request-id"].to_str().expect("ASCII").to_owned();
        assert_eq!(got == sent, kept, "{sent:?} became {got:?}");
        assert_eq!(body_of(response).await["request_id"], got);
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_order_with_an_id_for_each() {
    let server = Server::start();
    let texts = ["hello you", "where is my parcel", "give me a refund", "hello you"];
    let response = server.post_json(BATCH, &json!({"texts": texts, "user_id": "u"})).await;
    assert_eq!(response.status(), 200);
    let answer = body_of(response).await;
    let results = answer["results"].as_array().expect("a list");
    let intents: Vec<&Value> = results.iter().map(|result| &result["intent"]).collect();
    assert_eq!(intents, ["greeting", "delivery", "refund", "greeting"]);
    let mut ids: Vec<&str> = results.iter().filter_map(|result| result["request_id"].as_str()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each has its own");
    assert!(answer["processing_time_ms"].is_number());
}

#[tokio::test]
async fn the_types_are_those_of_the_pack() {
    let server = Server::start();
    let response = server.get("/api/v1/intents/types").send().await.expect("the server answers");
    assert_eq!(response.status(), 200);
    insta::assert_json_snapshot!(body_of(response).await);
}
