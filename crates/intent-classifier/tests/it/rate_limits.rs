//! How much anybody may ask.

use reqwest::Response;
use serde_json::json;

use crate::{
    redis_server::{Redis, eventually},
    server::{Server, json as body_of},
    token::{SECRET, token},
};

const CLASSIFY: &str = "/api/v1/intents/classify";
const BATCH: &str = "/api/v1/intents/classify/batch";

fn header(response: &Response, name: &str) -> String {
    response.headers().get(name).map_or(String::new(), |value| value.to_str().expect("ASCII").to_owned())
}

async fn classify(server: &Server, forwarded_for: &str) -> Response {
    let request = server.post(CLASSIFY).json(&json!({"text": "refund"})).header("x-forwarded-for", forwarded_for);
    request.send().await.expect("the server answers")
}

#[tokio::test]
async fn every_answer_says_what_is_left_and_the_last_says_how_long_to_wait() {
    let server = Server::with(&[("RATE_LIMIT_PER_MINUTE", "3")]);
    for left in ["2", "1", "0"] {
        let response = server.post_json(CLASSIFY, &json!({"text": "refund"})).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), r#""ip";q=3;w=60"#);
        assert!(header(&response, "ratelimit").starts_with(&format!(r#""ip";r={left};t="#)));
    }
    let response = server.post_json(CLASSIFY, &json!({"text": "refund"})).await;
    assert_eq!(response.status(), 429);
    assert!(header(&response, "ratelimit").starts_with(r#""ip";r=0;t="#));
    let wait: u64 = header(&response, "retry-after").parse().expect("whole seconds");
    assert!((1..=20).contains(&wait), "{wait}");
    insta::assert_json_snapshot!(body_of(response).await, {".request_id" => "[uuid]"});

    for path in ["/health", "/health/ready", "/metrics"] {
        assert_eq!(server.get(path).send().await.expect("an answer").status(), 200, "probes are not limited");
    }
    let page = server.get("/metrics").send().await.expect("an answer").text().await.expect("text");
    assert!(page.contains(r#"rate_limited_requests_total{scope="ip"} 1"#), "{page}");
}

#[tokio::test]
async fn a_batch_counts_its_texts_and_one_that_can_never_pass_is_invalid() {
    let server = Server::with(&[("RATE_LIMIT_PER_MINUTE", "10")]);
    let batch = |texts: usize| json!({"texts": vec!["refund"; texts]});
    let response = server.post_json(BATCH, &batch(11)).await;
    assert_eq!(response.status(), 422);
    assert_eq!(body_of(response).await["errors"][0]["field"], "texts");
    let response = server.post_json(BATCH, &batch(9)).await;
    assert_eq!(response.status(), 200, "the refused one cost a request");
    assert!(header(&response, "ratelimit").starts_with(r#""ip";r=0;"#));
    assert_eq!(server.post_json(BATCH, &batch(1)).await.status(), 429);
}

#[tokio::test]
async fn only_a_trusted_proxy_says_who_asks() {
    let trusting = Server::with(&[("RATE_LIMIT_PER_MINUTE", "1"), ("TRUSTED_PROXIES", "127.0.0.0/8, ::1")]);
    for (client, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.2", 200),
        // What the client wrote itself stands before what the proxy saw.
        ("192.0.2.9, 192.0.2.2", 429),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1::2", 429),
        ("2001:db8:0:2::1", 200),
    ] {
        assert_eq!(classify(&trusting, client).await.status(), status, "{client}");
    }
    let wary = Server::with(&[("RATE_LIMIT_PER_MINUTE", "1")]);
    for (client, status) in [("192.0.2.1", 200), ("192.0.2.2", 429)] {
        assert_eq!(classify(&wary, client).await.status(), status, "{client}");
    }
}

#[tokio::test]
async fn users_have_allowances_of_their_own_within_that_of_their_address() {
    let server = Server::with(&[
        ("AUTH_ENABLED", "true"),
        ("JWT_SECRET", SECRET),
        ("RATE_LIMIT_PER_MINUTE", "2"),
        ("RATE_LIMIT_IP_PER_MINUTE", "4"),
    ]);
    let (alice, bob, carol) = (token("alice", "classify"), token("bob", "classify"), token("carol", "classify"));
    let ask = async |token: &str| {
        let request = server.post(CLASSIFY).json(&json!({"text": "refund"})).bearer_auth(token);
        request.send().await.expect("the server answers")
    };
    let first = ask(&alice).await;
    assert_eq!(header(&first, "ratelimit-policy"), r#""user";q=2;w=60, "ip";q=4;w=60"#);
    assert_eq!(ask(&alice).await.status(), 200);
    let third = ask(&alice).await;
    assert_eq!((third.status().as_u16(), header(&third, "ratelimit").starts_with(r#""user";r=0"#)), (429, true));
    assert_eq!(ask(&bob).await.status(), 200);
    assert_eq!(ask(&carol).await.status(), 200);
    let fifth = ask(&bob).await;
    assert_eq!((fifth.status().as_u16(), header(&fifth, "ratelimit").starts_with(r#""ip";r=0"#)), (429, true));
}

#[tokio::test]
async fn guessing_tokens_is_limited_like_asking() {
    let server = Server::with(&[("AUTH_ENABLED", "true"), ("JWT_SECRET", SECRET), ("RATE_LIMIT_PER_MINUTE", "3")]);
    let mut statuses = Vec::new();
    for guess in 0..5 {
        let request = server.post(CLASSIFY).json(&json!({"text": "refund"})).bearer_auth(format!("a.b.{guess}"));
        statuses.push(request.send().await.expect("an answer").status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
}

#[tokio::test]
async fn replicas_count_together_in_redis_and_losing_it_opens_no_gate() {
    let mut redis = Redis::start().await;
    let url = redis.url();
    let settings = [
        ("RATE_LIMIT_PER_MINUTE", "4"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
        ("REDIS_URL", &url),
        ("REDIS_TIMEOUT_MS", "1000"),
    ];
    let (one, other) = (Server::with(&settings), Server::with(&settings));
    for (number, replica) in [&one, &other].into_iter().enumerate() {
        eventually("the replica counts in redis", async || {
            classify(replica, &format!("192.0.2.{number}")).await;
            redis.command(&["--scan", "--pattern", "*:limit:ip:*"]).lines().count() > number
        })
        .await;
    }
    let mut statuses = Vec::new();
    for replica in [&one, &other, &one, &other, &one, &other] {
        statuses.push(classify(replica, "198.51.100.7").await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    let keys = redis.command(&["--scan", "--pattern", "*:limit:*"]);
    assert!(!keys.contains("198.51.100.7"), "nobody is named in redis: {keys}");

    redis.kill();
    let mut allowed = 0;
    for _ in 0..10 {
        let status = classify(&one, "203.0.113.9").await.status().as_u16();
        assert!(matches!(status, 200 | 429), "{status}");
        allowed += u32::from(status == 200);
    }
    assert_eq!(allowed, 4, "the replica counts alone");
}
