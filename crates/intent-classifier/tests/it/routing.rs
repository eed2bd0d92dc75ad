//! The router's settings and statistics, and the experiment on strategies, on a running server.

use std::{collections::BTreeMap, time::Duration};

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::server::{Server, json as body_of};

const CONFIG: &str = "/api/v1/intents/routing/config";
const STATS: &str = "/api/v1/intents/routing/stats";
const EXPERIMENTS: &str = "/api/v1/experiments";
const RESULTS: &str = "/api/v1/experiments/routing_strategy/results";
const CLASSIFY: &str = "/api/v1/intents/classify";
const REFUND: &str = "i want a refund";

/// Longer than anything takes on the slowest machine; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn get(server: &Server, path: &str) -> Value {
    let response = server.get(path).send().await.expect("the server answers");
    assert_eq!(response.status(), 200);
    body_of(response).await
}

/// Changes settings; waits for a database that is still being prepared.
async fn put(server: &Server, body: &Value, if_match: Option<&str>) -> (StatusCode, Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = server.put(CONFIG).json(body);
        let request = if_match.into_iter().fold(request, |request, tag| request.header("If-Match", tag));
        let response = request.send().await.expect("the server answers");
        if response.status() != StatusCode::SERVICE_UNAVAILABLE || Instant::now() > deadline {
            return (response.status(), body_of(response).await);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn classify(server: &Server, text: &str, user: &str) -> Value {
    let body = json!({"text": text, "user_id": user, "latency_budget_ms": 60_000});
    let response = server.post_json(CLASSIFY, &body).await;
    assert_eq!(response.status(), 200);
    body_of(response).await
}

/// Asks until the answer is as expected; a database that is still being prepared answers 503.
async fn until(server: &Server, path: &str, is_expected: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let response = server.get(path).send().await.expect("the server answers");
        let status = response.status();
        let answer = body_of(response).await;
        if status == StatusCode::OK && is_expected(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{status} {answer:#}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_settings_are_shown_changed_in_part_and_put_in_force_at_once() {
    let server = Server::start();
    insta::assert_json_snapshot!("routing_config", get(&server, CONFIG).await);
    let before = classify(&server, REFUND, "alice").await;
    assert_eq!(before["routing"]["reasons"][0], "rules confidence 0.95 >= 0.85");

    let change = json!({"thresholds": {"rules": 0.97}, "latency_targets_ms": {"critical": 20}, "strategy": "balanced"});
    let (status, changed) = put(&server, &change, None).await;
    assert_eq!(status, 200, "{changed}");
    insta::assert_json_snapshot!("routing_config_changed", changed);
    assert_eq!(get(&server, CONFIG).await, changed);
    let after = classify(&server, REFUND, "alice").await;
    assert_eq!(after["routing"]["reasons"][0], "rules confidence 0.95 < 0.97", "{after}");
    assert_eq!((&after["routing"]["strategy"], &after["cached"]), (&json!("balanced"), &json!(false)));

    let (status, back) = put(&server, &json!({"thresholds": {"rules": null}}), None).await;
    assert_eq!((status.as_u16(), &back["thresholds"]["rules"]), (200, &json!(0.85)));
}

#[tokio::test]
async fn everything_that_is_wrong_is_named_and_nothing_is_changed() {
    let server = Server::start();
    let before = get(&server, CONFIG).await;
    let names = json!({"strategy": "fastest", "thresholds": {"rule": 0.5, "rules": 0.9}, "accuracy": {"bert": 1},
        "experiment": {"strategies": ["balanced", "best"]}});
    let (status, body) = put(&server, &names, None).await;
    assert_eq!(status, 422);
    insta::assert_json_snapshot!("routing_config_unknown_names", body, {".request_id" => "[id]"});
    let values = json!({"thresholds": {"rules": -0.1, "linear": 2}, "accuracy": {"hybrid": 1.5},
        "latency_targets_ms": {"critical": 300}, "experiment": {"share": 1.1, "name": "a b", "strategies": []}});
    let (status, body) = put(&server, &values, None).await;
    assert_eq!(status, 422);
    insta::assert_json_snapshot!("routing_config_wrong_values", body, {".request_id" => "[id]"});
    for (body, field) in [
        (json!({"strategy": null}), "strategy"),
        (json!({"thresholds": {"rules": "0.5"}}), "thresholds.rules"),
        (json!({"threshold": {}}), "threshold"),
        (json!({"latency_targets_ms": {"critical": 0}}), "latency_targets_ms.critical"),
        (json!({"experiment": {"strategies": ["control"]}}), "experiment.strategies"),
    ] {
        let (status, answer) = put(&server, &body, None).await;
        assert_eq!((status.as_u16(), &answer["errors"][0]["field"]), (422, &json!(field)), "{body}: {answer}");
    }
    assert_eq!(get(&server, CONFIG).await, before);
}

#[tokio::test]
async fn nobody_overwrites_a_change_that_he_has_not_seen_and_all_changes_are_kept() {
    let data = TempDir::new().expect("there is room for a folder");
    let settings = [("DATA_DIR", data.path().to_str().expect("UTF-8"))];
    let server = Server::with(&settings);
    let response = server.get(CONFIG).send().await.expect("the server answers");
    let seen = response.headers()["etag"].to_str().expect("ASCII").to_owned();
    assert_eq!(put(&server, &json!({"strategy": "cost_aware"}), Some(&seen)).await.0, 200);
    let (status, refused) = put(&server, &json!({"strategy": "balanced"}), Some(&seen)).await;
    assert_eq!((status.as_u16(), &refused["type"]), (409, &json!("urn:intent-classifier:problem:stale-revision")));
    drop(server);

    let server = Server::with(&settings);
    let restored = until(&server, CONFIG, |config| config["revision"] != 0).await;
    assert_eq!(restored["strategy"], "cost_aware");
    assert_eq!(classify(&server, REFUND, "alice").await["routing"]["strategy"], "cost_aware");
    let history = get(&server, "/api/v1/intents/routing/config/history").await;
    insta::assert_json_snapshot!("routing_config_history", history, {".changes[].changed_at" => "[time]"});
    let response = server.get("/api/v1/intents/routing/config/history?limit=0").send().await.expect("an answer");
    assert_eq!(response.status(), 422);
}

#[tokio::test]
async fn the_configuration_sets_what_the_router_begins_with() {
    let server = Server::with(&[
        ("ROUTING_STRATEGY", "aggressive_rules"),
        ("RULES_THRESHOLD", "0.99"),
        ("LATENCY_TARGET_RELAXED_MS", "900"),
        ("EXPERIMENT_NAME", "autumn"),
        ("EXPERIMENT_STRATEGIES", "cost_aware,quality_first"),
        ("AB_TEST_PERCENTAGE", "0.4"),
    ]);
    let config = get(&server, CONFIG).await;
    assert_eq!((&config["strategy"], &config["thresholds"]["rules"]), (&json!("aggressive_rules"), &json!(0.99)));
    assert_eq!(config["latency_targets_ms"]["relaxed"], 900.0);
    let experiment = json!({"name": "autumn", "share": 0.4, "strategies": ["cost_aware", "quality_first"]});
    assert_eq!(config["experiment"], experiment);
}

#[tokio::test]
async fn the_statistics_count_what_was_decided() {
    let server = Server::with(&[("FEATURE_FLAG_CACHING_ENABLED", "false")]);
    for index in 0..4 {
        classify(&server, REFUND, &format!("user-{index}")).await;
    }
    let stats = get(&server, STATS).await;
    let shape = insta::dynamic_redaction(|value, _| match value.as_f64() {
        Some(_) => "[number]".into(),
        None => value,
    });
    insta::assert_json_snapshot!("routing_stats", stats, {
        ".since" => "[time]",
        ".models.*.p50_ms" => shape,
        ".models.*.p95_ms" => insta::dynamic_redaction(|value, _| if value.is_nil() { value } else { "[number]".into() }),
        ".models.*.p99_ms" => insta::dynamic_redaction(|value, _| if value.is_nil() { value } else { "[number]".into() }),
        ".experiment_groups.*.mean_latency_ms" => "[number]",
        ".capacity" => "[number]",
    });
    assert!(stats["models"]["rules"]["p95_ms"].as_f64() > Some(0.0), "{stats}");
}

#[tokio::test]
async fn an_experiment_divides_users_and_its_outcomes_survive_a_restart() {
    const USERS: usize = 60;
    let data = TempDir::new().expect("there is room for a folder");
    let data = data.path().to_str().expect("UTF-8");
    let settings = [("DATA_DIR", data), ("AB_TEST_PERCENTAGE", "0.5"), ("EXPERIMENT_STRATEGIES", "quality_first")];
    let server = Server::with(&settings);
    insta::assert_json_snapshot!("experiments", get(&server, EXPERIMENTS).await);
    let mut groups: BTreeMap<String, u64> = BTreeMap::new();
    for user in 0..USERS {
        let user = format!("user-{user}");
        let first = classify(&server, REFUND, &user).await;
        let again = classify(&server, REFUND, &user).await;
        let group = &first["routing"]["experiment_group"];
        assert_eq!(group, &again["routing"]["experiment_group"], "a user keeps the group");
        *groups.entry(group.as_str().expect("a name").to_owned()).or_default() += 1;
    }
    assert_eq!(groups.keys().collect::<Vec<_>>(), ["control", "quality_first"]);

    let is_counted = |results: &Value| {
        let of = |name: &str| {
            let found = results["groups"].as_array().expect("groups").iter().find(|group| group["group"] == name);
            found.map(|group| (group["subjects"].as_u64(), group["count"].as_u64()))
        };
        groups.iter().all(|(name, users)| of(name) == Some((Some(*users), Some(2 * users))))
    };
    let results = until(&server, RESULTS, is_counted).await;
    assert_eq!((&results["conclusion"], &results["status"]), (&json!("keep_collecting"), &json!("running")));
    assert_eq!(results["sample_ratio"]["passed"], true, "{results:#}");
    assert!(results["groups"][0]["latency_ms"]["p95"].as_f64() > Some(0.0), "{results:#}");
    drop(server);

    let server = Server::with(&settings);
    until(&server, RESULTS, is_counted).await;
    let unknown = server.get("/api/v1/experiments/colours/results").send().await.expect("an answer");
    assert_eq!(unknown.status(), 404);
    assert_eq!(body_of(unknown).await["detail"], "there is no experiment of this name, only `routing_strategy`");
}

#[tokio::test]
async fn a_server_that_stops_stores_what_it_has_not_written_yet() {
    let data = TempDir::new().expect("there is room for a folder");
    let settings = [
        ("DATA_DIR", data.path().to_str().expect("UTF-8")),
        ("AB_TEST_PERCENTAGE", "1"),
        ("EXPERIMENT_STRATEGIES", "quality_first"),
    ];
    let mut server = Server::with(&settings);
    // The database is ready when settings can be changed.
    assert_eq!(put(&server, &json!({"accuracy": {"rules": 0.5}}), None).await.0, 200);
    classify(&server, REFUND, "alice").await;
    server.signal("TERM");
    assert!(server.ended().await.success());
    let server = Server::with(&settings);
    until(&server, RESULTS, |results| results["groups"][1]["count"] == 1).await;
}

#[tokio::test]
async fn the_cache_is_warmed_from_a_file_while_requests_are_answered() {
    let folder = TempDir::new().expect("there is room for a folder");
    let file = folder.path().join("warm.txt");
    std::fs::write(&file, "i want a refund\n{\"text\": \"hello there\"}\n{broken\n").expect("a file can be written");
    let server = Server::with(&[("CACHE_WARM_FILE", file.to_str().expect("UTF-8")), ("LOG_LEVEL", "info")]);
    let warmed = server.wait_for_log("the cache is warm");
    assert_eq!((&warmed["answered"], &warmed["skipped"]), (&json!(2), &json!(1)));
    let body = json!({"text": REFUND});
    assert_eq!(body_of(server.post_json(CLASSIFY, &body).await).await["cached"], true);
}
