//! Feature flags for OpenFeature clients. `make test-openfeature` runs the real clients.

use reqwest::Response;
use serde_json::{Value, json};

use crate::{
    flags::set,
    server::{Server, json as body_of},
};

const EVALUATE: &str = "/ofrep/v1/evaluate/flags";

async fn evaluate(server: &Server, key: &str, body: &Value) -> Response {
    server.post_json(&format!("{EVALUATE}/{key}"), body).await
}

fn context_of(user: &str) -> Value {
    json!({"context": {"targetingKey": user, "country": "NZ"}})
}

#[tokio::test]
async fn a_flag_has_a_value_a_reason_and_a_variant() {
    let server = Server::start();
    set(&server, "quality_mode", json!({"enabled": true, "rollout_percentage": 50})).await;
    let fixed = body_of(evaluate(&server, "caching", &json!({})).await).await;
    insta::assert_json_snapshot!("static", fixed);
    let disabled = body_of(evaluate(&server, "performance_mode", &context_of("alice")).await).await;
    insta::assert_json_snapshot!("disabled", disabled);

    let mut variants = Vec::new();
    for user in 0..20 {
        let user = format!("user-{user}");
        let split = body_of(evaluate(&server, "quality_mode", &context_of(&user)).await).await;
        let check = server.get(&format!("/api/v1/feature-flags/check/quality_mode?user_id={user}"));
        assert_eq!(split["value"], body_of(check.send().await.expect("an answer")).await["enabled"], "{user}");
        assert_eq!(split["reason"], "SPLIT");
        variants.push((split["value"].clone(), split["variant"].clone()));
    }
    for (value, variant) in &variants {
        assert_eq!(*variant, if *value == json!(true) { "on" } else { "off" });
    }
    assert!(variants.iter().any(|(value, _)| *value == json!(true)));
    assert!(variants.iter().any(|(value, _)| *value == json!(false)));
}

#[tokio::test]
async fn all_flags_come_at_once_with_a_tag_that_covers_flags_and_context() {
    let server = Server::start();
    let ask = async |context: &Value, tag: Option<&str>| {
        let request = server.post(EVALUATE).json(context);
        let request = match tag {
            Some(tag) => request.header("if-none-match", tag),
            None => request,
        };
        let response = request.send().await.expect("the server answers");
        let tag = response.headers()["etag"].to_str().expect("ASCII").to_owned();
        (response.status().as_u16(), tag, response)
    };
    let (status, tag, response) = ask(&context_of("alice"), None).await;
    assert_eq!(status, 200);
    insta::assert_json_snapshot!("bulk", body_of(response).await);
    assert_eq!(ask(&context_of("alice"), Some(&tag)).await.0, 304);
    // The same flags for another context are another answer, whatever their values.
    assert_eq!(ask(&context_of("bob"), Some(&tag)).await.0, 200);
    assert_eq!(ask(&json!({"context": {"targetingKey": "alice"}}), Some(&tag)).await.0, 200);
    set(&server, "quality_mode", json!({"enabled": true, "rollout_percentage": 50})).await;
    let (status, changed, _) = ask(&context_of("alice"), Some(&tag)).await;
    assert_eq!(status, 200);
    assert_ne!(tag, changed);

    // Nobody is named: the one flag that needs a user says so, the others answer.
    let (status, _, response) = ask(&json!({}), None).await;
    assert_eq!(status, 200);
    let flags = body_of(response).await["flags"].clone();
    let failed: Vec<&Value> =
        flags.as_array().into_iter().flatten().filter(|flag| flag["errorCode"].is_string()).collect();
    insta::assert_json_snapshot!("bulk_without_user", failed);
}

#[tokio::test]
async fn failures_speak_the_language_of_openfeature() {
    let server = Server::start();
    set(&server, "quality_mode", json!({"enabled": true, "rollout_percentage": 50})).await;
    let unknown = evaluate(&server, "turbo", &context_of("alice")).await;
    assert_eq!(unknown.status(), 404);
    insta::assert_json_snapshot!("unknown_flag", body_of(unknown).await, {".request_id" => "[uuid]"});
    let nobody = evaluate(&server, "quality_mode", &json!({"context": {}})).await;
    assert_eq!(nobody.status(), 400);
    insta::assert_json_snapshot!("nobody", body_of(nobody).await, {".request_id" => "[uuid]"});

    let cases = [
        ("{", 400, "PARSE_ERROR"),
        ("", 400, "PARSE_ERROR"),
        ("[]", 400, "INVALID_CONTEXT"),
        (r#"{"context": "alice"}"#, 400, "INVALID_CONTEXT"),
        (r#"{"context": {"targetingKey": 7}}"#, 400, "INVALID_CONTEXT"),
        (r#"{"context": {"targetingKey": "a\nb"}}"#, 400, "INVALID_CONTEXT"),
        (r#"{"context": {"targetingKey": ""}}"#, 400, "TARGETING_KEY_MISSING"),
        (r#"{"context": null}"#, 400, "TARGETING_KEY_MISSING"),
    ];
    for (body, status, code) in cases {
        for path in [format!("{EVALUATE}/quality_mode"), EVALUATE.to_owned()] {
            let is_bulk = path == EVALUATE;
            if is_bulk && code == "TARGETING_KEY_MISSING" {
                continue;
            }
            let response = server.post(&path).header("content-type", "application/json").body(body).send().await;
            let response = response.expect("the server answers");
            assert_eq!(response.status(), status, "{body}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            let problem = body_of(response).await;
            assert_eq!(problem["errorCode"], code, "{body}");
            assert_eq!(problem["errorDetails"], problem["detail"], "{body}");
            assert_eq!(problem["key"], if is_bulk { Value::Null } else { json!("quality_mode") }, "{body}");
        }
    }
    let large = server.post(EVALUATE).header("content-type", "application/json").body("x".repeat(70_000));
    let large = large.send().await.expect("the server answers");
    assert_eq!(large.status(), 413);
    assert_eq!(body_of(large).await["errorCode"], "GENERAL");
}
