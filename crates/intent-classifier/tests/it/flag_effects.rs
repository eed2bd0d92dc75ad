//! Every flag changes what it says, on a running server.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    flags::{FLAGS, await_database, get, set},
    server::{Server, json as body_of},
    tiny_models,
};

const CLASSIFY: &str = "/api/v1/intents/classify";

/// A server with `rules`, `zero_shot` and `distilbert`, where the rules are 80 % sure of a refund.
fn server(settings: &[(&str, &str)]) -> Server {
    let folder = TempDir::new().expect("there is room for a folder");
    tiny_models::write(&folder.path().join("models"));
    let pack = std::fs::read_to_string(crate::program::desk_pack()).expect("the pack is there");
    std::fs::write(folder.path().join("pack.toml"), pack.replace("0.95", "0.8")).expect("a file can be written");
    let mut all = vec![("INTENT_PACK", "pack.toml"), ("PREWARM_MODELS", "true"), ("LOG_LEVEL", "info")];
    all.extend(settings);
    Server::start_in(folder, &all)
}

/// Classifies; the budget is one that no machine misses.
async fn ask(server: &Server, text: &str, user: &str) -> Value {
    let body = json!({"text": text, "user_id": user, "latency_budget_ms": 60_000});
    let response = server.post_json(CLASSIFY, &body).await;
    assert_eq!(response.status(), 200);
    body_of(response).await
}

async fn switch(server: &Server, flag: &str, enabled: bool) {
    set(server, flag, json!({ "enabled": enabled })).await;
}

#[tokio::test]
async fn the_flags_of_routing_decide_which_model_answers() {
    let server = server(&[("FEATURE_FLAG_CACHING_ENABLED", "false")]);
    let routed = async || {
        let answer = ask(&server, "i want a refund", "alice").await;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&answer["model_used"]), text(&answer["routing"]["strategy"]), answer)
    };
    let (model, strategy, usual) = routed().await;
    assert_eq!((model.as_str(), strategy.as_str()), ("zero_shot", "control"), "{usual}");
    assert_eq!(usual["routing"]["reasons"][0], "rules confidence 0.80 < 0.85");

    // Rules first: 0.80 is enough for them now.
    switch(&server, "performance_mode", true).await;
    let (model, strategy, answer) = routed().await;
    assert_eq!((model.as_str(), strategy.as_str()), ("rules", "aggressive_rules"), "{answer}");
    switch(&server, "performance_mode", false).await;

    // DistilBERT first, and nothing before it.
    switch(&server, "quality_mode", true).await;
    let (model, strategy, answer) = routed().await;
    assert_eq!((model.as_str(), strategy.as_str()), ("distilbert", "quality_first"), "{answer}");
    assert_eq!(answer["routing"]["latency_ms"].as_object().map(serde_json::Map::len), Some(2), "{answer}");
    switch(&server, "quality_mode", false).await;

    // Without `zero_shot` nobody is sure enough, and the rules answer for want of a better one.
    switch(&server, "zero_shot_fallback", false).await;
    let (model, strategy, answer) = routed().await;
    assert_eq!((model.as_str(), strategy.as_str()), ("rules", "control"), "{answer}");

    // DistilBERT may answer, in its turn.
    switch(&server, "distilbert_model", true).await;
    let (model, strategy, answer) = routed().await;
    assert_eq!((model.as_str(), strategy.as_str()), ("distilbert", "control"), "{answer}");
    assert!(answer["routing"]["latency_ms"]["rules"].is_number(), "{answer}");
    switch(&server, "distilbert_model", false).await;
    switch(&server, "zero_shot_fallback", true).await;

    // The plain chain, the most accurate model first.
    switch(&server, "adaptive_routing", false).await;
    let (model, strategy, answer) = routed().await;
    assert_eq!((model.as_str(), strategy.as_str()), ("zero_shot", "fallback_chain"), "{answer}");
    assert!(answer["routing"]["latency_ms"]["rules"].is_null(), "{answer}");

    // The same without its most accurate model.
    switch(&server, "zero_shot_fallback", false).await;
    let (model, strategy, answer) = routed().await;
    assert_eq!((model.as_str(), strategy.as_str()), ("rules", "fallback_chain"), "{answer}");
}

#[tokio::test]
async fn a_flag_reaches_those_in_its_rollout_and_nobody_else() {
    let server = server(&[]);
    set(&server, "performance_mode", json!({"enabled": true, "rollout_percentage": 50})).await;
    let mut counts = [0, 0];
    for user in 0..30 {
        let user = format!("user-{user}");
        let has = get(&server, &format!("{FLAGS}/check/performance_mode?user_id={user}")).await["enabled"] == true;
        let strategy = ask(&server, "i want a refund", &user).await["routing"]["strategy"].clone();
        assert_eq!(strategy, if has { "aggressive_rules" } else { "control" }, "{user}");
        counts[usize::from(has)] += 1;
    }
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");

    // Nobody is named: each request, and each text of a batch, is a subject of its own.
    let texts = json!({"texts": vec!["i want a refund"; 40]});
    let batch = body_of(server.post_json("/api/v1/intents/classify/batch", &texts).await).await;
    let strategies: Vec<&Value> =
        batch["results"].as_array().into_iter().flatten().map(|result| &result["routing"]["strategy"]).collect();
    assert!(strategies.contains(&&json!("control")) && strategies.contains(&&json!("aggressive_rules")), "{batch}");
    let mut single = Vec::new();
    for _ in 0..40 {
        let answer = body_of(server.post_json(CLASSIFY, &json!({"text": "i want a refund"})).await).await;
        single.push(answer["routing"]["strategy"].clone());
    }
    assert!(single.contains(&json!("control")) && single.contains(&json!("aggressive_rules")), "{single:?}");
}

#[tokio::test]
async fn ab_testing_puts_the_share_of_the_traffic_into_the_experiment() {
    let server = Server::with(&[("AB_TEST_PERCENTAGE", "1")]);
    let group = async |user: &str| ask(&server, "i want a refund", user).await["routing"]["experiment_group"].clone();
    for user in 0..20 {
        assert_ne!(group(&format!("user-{user}")).await, "control");
    }
    switch(&server, "ab_testing", false).await;
    for user in 0..20 {
        assert_eq!(group(&format!("user-{user}")).await, "control");
    }
}

#[tokio::test]
async fn caching_answers_repeated_texts_only_for_those_who_have_it() {
    let server = Server::start();
    let cached = async |user: &str| ask(&server, "i want a refund", user).await["cached"].clone();
    assert_eq!((cached("alice").await, cached("alice").await), (json!(false), json!(true)));
    switch(&server, "caching", false).await;
    assert_eq!((cached("alice").await, cached("alice").await), (json!(false), json!(false)));
}

#[tokio::test]
async fn enhanced_logging_logs_the_beginning_of_the_text_and_only_for_those_who_have_it() {
    let server = Server::start();
    let line = async |text: &str, user: &str| {
        let answer = ask(&server, text, user).await;
        let line = server.wait_for_log("classified");
        assert_eq!(line["request_id"], answer["request_id"]);
        line
    };
    let usual = line("a secret refund", "alice").await;
    assert!(!usual.to_string().contains("secret"), "{usual}");
    assert_eq!(usual["enhanced_logging"], Value::Null);

    set(&server, "enhanced_logging", json!({"enabled": true, "rollout_percentage": 50})).await;
    let mut seen = [false, false];
    for user in 0..20 {
        let user = format!("user-{user}");
        let has = get(&server, &format!("{FLAGS}/check/enhanced_logging?user_id={user}")).await["enabled"] == true;
        let line = line("a secret refund", &user).await;
        assert_eq!(line["enhanced_logging"] == true, has, "{line}");
        assert_eq!(line["text"], if has { json!("a secret refund") } else { Value::Null }, "{line}");
        assert_eq!(line["reasons"].is_string(), has, "{line}");
        seen[usize::from(has)] = true;
    }
    assert_eq!(seen, [true, true]);

    set(&server, "enhanced_logging", json!({"rollout_percentage": 100})).await;
    let long = line(&format!("refund {}", "x".repeat(1_000)), "alice").await;
    let text = long["text"].as_str().unwrap_or_default();
    assert_eq!(
        (text.chars().count(), text.ends_with('…'), &long["text_truncated"]),
        (201, true, &json!(true)),
        "{long}"
    );
}

#[tokio::test]
async fn feedback_learning_lets_corrections_change_what_is_answered() {
    let server = Server::start();
    await_database(&server).await;
    let cached = async |text: &str| ask(&server, text, "alice").await["cached"].clone();
    let correct = async |text: &str| {
        let correction = json!({
            "text": text, "original_intent": "refund", "correct_intent": "greeting",
            "feedback_type": "correction", "user_id": "alice",
        });
        assert_eq!(server.post_json("/api/v1/intents/feedback", &correction).await.status(), 201);
    };
    let text = "i want a refund";
    assert_eq!((cached(text).await, cached(text).await), (json!(false), json!(true)));
    correct(text).await;
    assert_eq!(cached(text).await, json!(false), "the correction evicts the answer");

    switch(&server, "feedback_learning", false).await;
    // Another text: the first one is evicted once more when its correction comes back from the database.
    let text = "please, i want a refund";
    assert_eq!((cached(text).await, cached(text).await), (json!(false), json!(true)));
    correct(text).await;
    assert_eq!(cached(text).await, json!(true), "the correction is kept, and changes nothing");
}
