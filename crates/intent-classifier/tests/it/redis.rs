//! Servers that share a real Redis.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::{
    redis_server::{Redis, eventually},
    server::{Server, json as body_of},
    transport::{authority, write_certificate},
};

/// Classifies a text and expects an answer. The budget is long enough for a busy machine.
pub(crate) async fn classify(server: &Server, text: &str) -> Value {
    let request = json!({"text": text, "latency_budget_ms": 5_000});
    let response = server.post_json("/api/v1/intents/classify", &request).await;
    let status = response.status();
    let body = body_of(response).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn what_one_replica_answered_another_finds_in_redis() {
    let redis = Redis::start().await;
    let replica = || Server::with(&[("REDIS_URL", &redis.url()), ("REDIS_TIMEOUT_MS", "1000")]);
    let (one, other) = (replica(), replica());
    eventually("one replica is connected", async || {
        classify(&one, "i want my money back").await;
        redis.command(&["DBSIZE"]) != "0"
    })
    .await;
    eventually("the other is", async || classify(&other, "hello there").await["degraded"] == false).await;
    let answer = classify(&other, " i want my money back ").await;
    assert_eq!((&answer["cached"], &answer["degraded"]), (&json!(true), &json!(false)), "{answer}");
    assert_eq!(answer["intent"], classify(&one, "i want my money back").await["intent"]);

    let key = redis.command(&["--scan", "--pattern", "*:answers:*"]);
    assert!(!key.contains("money"), "no text goes to redis: {key}");
    let expires: i64 = redis.command(&["TTL", key.lines().next().expect("there is one")]).parse().expect("a number");
    assert!((1..=3600).contains(&expires), "{expires}");
}

#[tokio::test]
async fn another_password_or_no_redis_at_all_is_no_reason_not_to_start() {
    let redis = Redis::start().await;
    redis.command(&["CONFIG", "SET", "requirepass", "right"]);
    let port = redis.port().to_string();
    let with = |password: &str| {
        let address = [("REDIS_HOST", "127.0.0.1"), ("REDIS_PORT", &port), ("REDIS_TIMEOUT_MS", "1000")];
        let address = [&address[..], &[("HEALTH_CHECK_INTERVAL_MS", "100")]].concat();
        Server::with(&[&address[..], &[("REDIS_PASSWORD", password)]].concat())
    };
    let wrong = with("hunter2");
    eventually("health tells of it, and not the password", async || {
        let health = wrong.get("/health/dependencies").send().await.expect("the server answers");
        let health = body_of(health).await;
        assert!(!health.to_string().contains("hunter2"), "{health}");
        health["redis"]["status"] == "unhealthy"
    })
    .await;
    let answer = classify(&wrong, "refund").await;
    assert_eq!((&answer["intent"], &answer["degraded"]), (&json!("refund"), &json!(true)));

    let right = with("right");
    eventually("the right password works", async || {
        classify(&right, &format!("refund {:?}", Instant::now())).await["degraded"] == false
    })
    .await;
}

#[tokio::test]
async fn a_correction_makes_every_replica_forget() {
    let redis = Redis::start().await;
    // Each has a database of its own, so that they hear of each other by Redis alone.
    let replica = || Server::with(&[("REDIS_URL", &redis.url()), ("REDIS_TIMEOUT_MS", "1000")]);
    let (one, other) = (replica(), replica());
    let text = "i want my money back";
    for server in [&one, &other] {
        eventually("the answer is kept", async || classify(server, text).await["cached"] == true).await;
    }
    let correction = json!({
        "text": text, "original_intent": "refund", "correct_intent": "delivery", "feedback_type": "correction",
    });
    let taken = one.post_json("/api/v1/intents/feedback", &correction).await;
    assert!(taken.status().is_success(), "{}", body_of(taken).await);
    eventually("the other forgets", async || classify(&other, text).await["cached"] == false).await;
}

#[tokio::test]
async fn the_way_to_redis_is_encrypted_and_both_sides_show_who_they_are() {
    let (folder, authority) = (TempDir::new().expect("there is room for a folder"), authority());
    write_certificate(folder.path(), &authority);
    fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file can be written");
    fs::write(folder.path().join("stranger.pem"), crate::transport::authority().pem()).expect("a file can be written");
    let mut redis = Redis::start_encrypted(folder).await;
    let [ca, stranger, certificate, key] =
        ["ca.pem", "stranger.pem", "cert.pem", "key.pem"].map(|name| redis.file(name));
    let (url, port) = (redis.url().replace("redis://", "rediss://"), redis.port().to_string());
    let own = [("REDIS_TLS_CERT_FILE", certificate.as_str()), ("REDIS_TLS_KEY_FILE", &key)];
    let more = [("REDIS_TIMEOUT_MS", "1000"), ("HEALTH_CHECK_INTERVAL_MS", "100")];
    let with = |settings: &[(&str, &str)]| Server::with(&[settings, &more[..]].concat());
    let is_used =
        async |server: &Server| classify(server, &format!("refund {:?}", Instant::now())).await["degraded"] == false;

    let by_url = with(&[("REDIS_URL", url.as_str()), ("REDIS_TLS_CA_FILE", ca.as_str()), own[0], own[1]]);
    let place = [("REDIS_HOST", "localhost"), ("REDIS_PORT", port.as_str()), ("REDIS_TLS", "true")];
    let by_host = with(&[&place[..], &[("REDIS_TLS_CA_FILE", ca.as_str())], &own[..]].concat());
    for server in [&by_url, &by_host] {
        eventually("redis is in use", async || is_used(server).await).await;
    }
    redis.until_written().await;
    redis.kill();
    redis.restart().await;
    eventually("redis is in use again", async || is_used(&by_url).await).await;

    let cases = [
        (
            "another authority",
            vec![("REDIS_URL", url.as_str()), ("REDIS_TLS_CA_FILE", stranger.as_str()), own[0], own[1]],
        ),
        ("what the system trusts", vec![("REDIS_URL", url.as_str()), own[0], own[1]]),
        ("no certificate to show", vec![("REDIS_URL", url.as_str()), ("REDIS_TLS_CA_FILE", ca.as_str())]),
        ("no encryption", place[..2].to_vec()),
    ];
    for (what, settings) in cases {
        let server = with(&settings);
        eventually(&format!("{what}: health says so"), async || {
            let health = server.get("/health/dependencies").send().await.expect("the server answers");
            body_of(health).await["redis"]["status"] == "unhealthy"
        })
        .await;
        let answer = classify(&server, "refund").await;
        assert_eq!((&answer["intent"], &answer["degraded"]), (&json!("refund"), &json!(true)), "{what}");
    }
}
