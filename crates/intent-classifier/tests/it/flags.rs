//! Feature flags over HTTP: what is on, for whom, who changed it, and where it came from.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{program, transcript},
    server::{Server, json as body_of},
};

pub(crate) const FLAGS: &str = "/api/v1/feature-flags";

/// Reads something that must be there.
pub(crate) async fn get(server: &Server, path: &str) -> Value {
    let response = server.get(path).send().await.expect("the server answers");
    assert_eq!(response.status(), 200, "{path}");
    body_of(response).await
}

/// Waits until changes can be kept: a server answers before it has reached its database.
pub(crate) async fn await_database(server: &Server) {
    wait_until(server, &format!("{FLAGS}/caching/history"), |body| body["changes"].is_array()).await;
}

/// Changes a flag, which must work.
pub(crate) async fn set(server: &Server, flag: &str, change: Value) -> Value {
    await_database(server).await;
    let response = server.put(&format!("{FLAGS}/{flag}")).json(&change).send().await.expect("the server answers");
    assert_eq!(response.status(), 200, "{flag} {change}");
    body_of(response).await
}

/// Asks until the answer is as it should be; longer than any poll takes on the slowest machine.
async fn wait_until(server: &Server, path: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let response = server.get(path).send().await.expect("the server answers");
        let body = body_of(response).await;
        if is_right(&body) {
            return body;
        }
        assert!(tokio::time::Instant::now() < deadline, "{path} stays {body}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_nine_flags_are_listed_with_their_defaults() {
    let server = Server::start();
    await_database(&server).await;
    insta::assert_json_snapshot!("list", get(&server, FLAGS).await);
    insta::assert_json_snapshot!("one", get(&server, &format!("{FLAGS}/quality_mode")).await);
    insta::assert_json_snapshot!("user", get(&server, &format!("{FLAGS}/user/user%20123")).await);
    insta::assert_json_snapshot!("check", get(&server, &format!("{FLAGS}/check/caching?user_id=user%20123")).await);
    let history = get(&server, &format!("{FLAGS}/quality_mode/history")).await;
    assert_eq!(history, json!({"flag": "quality_mode", "changes": []}));
    assert_eq!(server.post(&format!("{FLAGS}/refresh")).send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_change_is_in_force_at_once_and_in_the_audit_trail() {
    let server = Server::start();
    let changed = set(&server, "quality_mode", json!({"enabled": true, "rollout_percentage": 12.5})).await;
    insta::assert_json_snapshot!("changed", changed, {".updated_at" => "[time]"});
    assert_eq!(get(&server, &format!("{FLAGS}/quality_mode")).await, changed);

    let again = set(&server, "quality_mode", json!({"rollout_percentage": 100})).await;
    assert_eq!(
        (&again["enabled"], &again["rollout_percentage"], &again["revision"]),
        (&json!(true), &json!(100), &json!(2))
    );
    set(&server, "caching", json!({"enabled": false})).await;
    assert_eq!(get(&server, FLAGS).await["revision"], 3);

    let reset = server.post(&format!("{FLAGS}/quality_mode/reset")).send().await.expect("the server answers");
    assert_eq!(reset.status(), 200);
    let reset = body_of(reset).await;
    assert_eq!(
        (&reset["enabled"], &reset["source"], &reset["revision"]),
        (&json!(false), &json!("default"), &json!(0))
    );

    let history = get(&server, &format!("{FLAGS}/quality_mode/history")).await;
    insta::assert_json_snapshot!("history", history, {".changes[].changed_at" => "[time]"});
    let latest = get(&server, &format!("{FLAGS}/quality_mode/history?limit=1")).await;
    assert_eq!(latest["changes"].as_array().map(Vec::len), Some(1));
    assert_eq!(latest["changes"][0], history["changes"][0]);
}

#[tokio::test]
async fn a_user_is_told_why_and_every_reason_occurs() {
    let server = Server::start();
    let check = async |user: &str| get(&server, &format!("{FLAGS}/check/quality_mode?user_id={user}")).await;
    assert_eq!(check("alice").await["reason"], "disabled");
    set(&server, "quality_mode", json!({"enabled": true})).await;
    assert_eq!(check("alice").await["reason"], "full_rollout");

    set(&server, "quality_mode", json!({"rollout_percentage": 30})).await;
    let mut reasons = Vec::new();
    for user in 0..40 {
        let user = format!("user-{user}");
        let checked = check(&user).await;
        let all = get(&server, &format!("{FLAGS}/user/{user}")).await;
        assert_eq!(all["flags"]["quality_mode"], checked["enabled"], "{user}");
        assert_eq!(checked["enabled"] == true, checked["reason"] == "in_rollout", "{checked}");
        reasons.push(checked["reason"].clone());
    }
    assert!(reasons.contains(&json!("in_rollout")) && reasons.contains(&json!("not_in_rollout")), "{reasons:?}");

    // Nobody is named: each request is a subject of its own.
    let mut anonymous = Vec::new();
    for _ in 0..40 {
        let checked = get(&server, &format!("{FLAGS}/check/quality_mode")).await;
        assert_eq!(checked["user_id"], Value::Null);
        anonymous.push(checked["enabled"].clone());
    }
    assert!(anonymous.contains(&json!(true)) && anonymous.contains(&json!(false)), "{anonymous:?}");
}

#[tokio::test]
async fn the_answer_for_a_user_is_the_same_on_every_server() {
    let (one, other) = (Server::start(), Server::start());
    for server in [&one, &other] {
        for flag in ["quality_mode", "performance_mode"] {
            set(server, flag, json!({"enabled": true, "rollout_percentage": 50})).await;
        }
    }
    let mut both = Vec::new();
    for user in 0..30 {
        let path = format!("{FLAGS}/user/user-{user}");
        let flags = get(&one, &path).await;
        assert_eq!(flags, get(&other, &path).await);
        both.push((flags["flags"]["quality_mode"] == true, flags["flags"]["performance_mode"] == true));
    }
    // Two flags of the same share have different users.
    for combination in [(true, true), (true, false), (false, true), (false, false)] {
        assert!(both.contains(&combination), "{combination:?}");
    }
}

#[tokio::test]
async fn an_unknown_flag_is_a_404_that_names_the_known_ones() {
    let server = Server::start();
    let unknown = server.get(&format!("{FLAGS}/turbo")).send().await.expect("the server answers");
    assert_eq!(unknown.status(), 404);
    insta::assert_json_snapshot!("unknown", body_of(unknown).await, {".request_id" => "[uuid]"});
    let change = json!({"enabled": true});
    for request in [
        server.put(&format!("{FLAGS}/turbo")).json(&change),
        server.post(&format!("{FLAGS}/turbo/reset")),
        server.get(&format!("{FLAGS}/turbo/history")),
        server.get(&format!("{FLAGS}/check/turbo?user_id=a")),
        server.get(&format!("{FLAGS}/{}", "x".repeat(5_000))),
    ] {
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 404);
        let problem = body_of(response).await;
        assert_eq!(problem["type"], "urn:intent-classifier:problem:unknown-flag");
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains("`quality_mode`") && detail.len() < 500)
        );
    }
}

#[tokio::test]
async fn a_change_that_is_not_valid_names_the_field_and_changes_nothing() {
    let server = Server::start();
    let before = get(&server, FLAGS).await;
    let cases: [(&str, u16, &[&str]); 16] = [
        (r#"{"rollout_percentage": 101}"#, 422, &["rollout_percentage"]),
        (r#"{"rollout_percentage": -1}"#, 422, &["rollout_percentage"]),
        (r#"{"rollout_percentage": 100.001}"#, 422, &["rollout_percentage"]),
        (r#"{"rollout_percentage": "50"}"#, 422, &["rollout_percentage"]),
        (r#"{"rollout_percentage": null}"#, 422, &["rollout_percentage"]),
        (r#"{"rollout_percentage": 1e999}"#, 422, &["rollout_percentage"]),
        (r#"{"rollout_percentage": [50]}"#, 422, &["rollout_percentage"]),
        (r#"{"enabled": null}"#, 422, &["enabled"]),
        (r#"{"enabled": "true"}"#, 422, &["enabled"]),
        (r#"{"enabled": 1, "rollout_percentage": 5}"#, 422, &["enabled"]),
        (r#"{"enabled": true, "rollout_percentage": 500}"#, 422, &["rollout_percentage"]),
        (r#"{"enabled": true, "rollout": 5}"#, 422, &["rollout"]),
        (r#"{"enabled": true, "enabled": false}"#, 422, &["enabled"]),
        ("{}", 422, &[]),
        ("[]", 422, &[]),
        ("{", 400, &[]),
    ];
    for (body, status, fields) in cases {
        let request = server.put(&format!("{FLAGS}/caching")).header("content-type", "application/json").body(body);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), status, "{body}");
        let problem = body_of(response).await;
        let found: Vec<&str> =
            problem["errors"].as_array().into_iter().flatten().filter_map(|error| error["field"].as_str()).collect();
        assert_eq!(found, fields, "{body}: {problem}");
    }
    let wrong = server.put(&format!("{FLAGS}/caching")).json(&json!({"rollout_percentage": 101}));
    let problem = body_of(wrong.send().await.expect("the server answers")).await;
    insta::assert_json_snapshot!("invalid", problem, {".request_id" => "[uuid]"});

    for path in [
        format!("{FLAGS}/user/{}", "u".repeat(257)),
        format!("{FLAGS}/user/a%0Ab"),
        format!("{FLAGS}/user/%ff"),
        format!("{FLAGS}/check/caching?user_id="),
        format!("{FLAGS}/check/caching?user=alice"),
        format!("{FLAGS}/check/caching?user_id=a&user_id=b"),
        format!("{FLAGS}/caching/history?limit=0"),
        format!("{FLAGS}/caching/history?limit=1001"),
        format!("{FLAGS}/caching/history?limit=many"),
    ] {
        let response = server.get(&path).send().await.expect("the server answers");
        assert_eq!(response.status(), 422, "{path}");
        let problem = body_of(response).await;
        assert!(problem["errors"][0]["field"].is_string(), "{path}: {problem}");
    }
    assert_eq!(get(&server, FLAGS).await, before);
}

#[tokio::test]
async fn a_stale_if_match_is_refused_and_a_known_etag_is_a_304() {
    let server = Server::start();
    await_database(&server).await;
    let path = format!("{FLAGS}/quality_mode");
    let etag = |response: &reqwest::Response| response.headers()["etag"].to_str().expect("ASCII").to_owned();
    let first = etag(&server.get(&path).send().await.expect("the server answers"));

    let known = server.get(&path).header("if-none-match", &first).send().await.expect("the server answers");
    assert_eq!((known.status().as_u16(), etag(&known)), (304, first.clone()));
    assert_eq!(known.text().await.expect("no body"), "");

    let change = |tag: &str| server.put(&path).header("if-match", tag).json(&json!({"enabled": true})).send();
    let changed = change(&first).await.expect("the server answers");
    assert_eq!(changed.status(), 200);
    let second = etag(&changed);
    assert_ne!(first, second);
    assert_eq!(etag(&server.get(&path).send().await.expect("the server answers")), second);
    assert_eq!(server.get(&path).header("if-none-match", &first).send().await.expect("an answer").status(), 200);

    let stale = change(&first).await.expect("the server answers");
    assert_eq!(stale.status(), 409);
    insta::assert_json_snapshot!("stale", body_of(stale).await, {".request_id" => "[uuid]"});
    let stale =
        server.post(&format!("{path}/reset")).header("if-match", &first).send().await.expect("the server answers");
    assert_eq!(stale.status(), 409);
    // A change of another flag is no conflict; the revision alone and `*` will do.
    set(&server, "caching", json!({"enabled": false})).await;
    assert_eq!(change("\"1\"").await.expect("an answer").status(), 200);
    assert_eq!(change("*").await.expect("an answer").status(), 200);
    assert_eq!(change("yesterday's").await.expect("an answer").status(), 409, "a tag that was never given out");

    let list = etag(&server.get(FLAGS).send().await.expect("the server answers"));
    assert_eq!(server.get(FLAGS).header("if-none-match", &list).send().await.expect("an answer").status(), 304);
    set(&server, "caching", json!({"enabled": true})).await;
    assert_eq!(server.get(FLAGS).header("if-none-match", &list).send().await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn later_sources_win_setting_by_setting() {
    let folder = TempDir::new().expect("there is room for a folder");
    let file = "[quality_mode]\nenabled = true\nrollout_percentage = 10\n[caching]\nenabled = false\n[ab_testing]\nenabled = false\n";
    fs::write(folder.path().join("flags.toml"), file).expect("a file can be written");
    let environment = [
        ("FEATURE_FLAGS_FILE", "flags.toml"),
        ("FEATURE_FLAG_QUALITY_MODE_ROLLOUT", "20"),
        ("FEATURE_FLAG_CACHING_ENABLED", "true"),
        ("ENABLE_ADAPTIVE_ROUTING", "false"),
        ("USE_TORCHSERVE", "false"),
        ("AB_TEST_PERCENTAGE", "0.5"),
    ];
    let server = Server::start_in(folder, &environment);
    set(&server, "caching", json!({"rollout_percentage": 40})).await;
    let flags = get(&server, FLAGS).await["flags"].clone();
    let of = |flag: &str| {
        let flag = &flags[flag];
        (
            flag["enabled"] == true,
            flag["rollout_percentage"].as_f64(),
            flag["source"].as_str().unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(of("quality_mode"), (true, Some(20.0), "env".into()));
    assert_eq!(of("caching"), (true, Some(40.0), "api".into()));
    assert_eq!(of("ab_testing"), (false, Some(100.0), "file".into()));
    assert_eq!(of("adaptive_routing"), (false, Some(100.0), "env".into()));
    assert_eq!(of("distilbert_model"), (false, Some(100.0), "env".into()));
    assert_eq!(of("feedback_learning"), (true, Some(100.0), "default".into()));
    assert!(flags["ab_testing"]["updated_at"].is_string(), "the file has a time: {flags}");
}

/// Replaces a file as a whole, as an editor or Kubernetes does.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("a file can be written");
    fs::rename(&new, path).expect("a file can be renamed");
}

#[tokio::test]
async fn the_file_is_followed_and_a_broken_one_keeps_the_last_good_one_and_shows() {
    let folder = TempDir::new().expect("there is room for a folder");
    let file = folder.path().join("flags.json");
    replace(&file, r#"{"quality_mode": {"enabled": true}}"#);
    let server = Server::start_in(folder, &[("FEATURE_FLAGS_FILE", "flags.json"), ("FEATURE_FLAGS_POLL_MS", "10")]);
    let path = format!("{FLAGS}/quality_mode");
    assert_eq!(get(&server, &path).await["enabled"], true);
    assert_eq!(get(&server, "/health/ready").await["flags"]["status"], "healthy");

    replace(&file, r#"{"quality_mode": {"enabled": true, "rollout_percentage": 5}}"#);
    wait_until(&server, &path, |flag| flag["rollout_percentage"] == 5).await;

    replace(&file, "{\"quality_mode\": {\"enabled\": true,\n \"rollout_percentage\": 500}}");
    let ready = wait_until(&server, "/health/ready", |ready| ready["flags"]["status"] == "degraded").await;
    assert_eq!((&ready["status"], &ready["affected"]), (&json!("degraded"), &json!(["flags"])));
    let reason = ready["flags"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("flags.json") && reason.contains("found 500") && reason.contains("line 2"), "{reason}");
    assert_eq!(server.get("/health/ready").send().await.expect("an answer").status(), 200);
    assert_eq!(get(&server, &path).await["rollout_percentage"], 5);
    let refused = server.post(&format!("{FLAGS}/refresh")).send().await.expect("the server answers");
    assert_eq!(refused.status(), 409);
    insta::assert_json_snapshot!("file_refused", body_of(refused).await, {".request_id" => "[uuid]"});

    fs::remove_file(&file).expect("the file is there");
    wait_until(&server, "/health/ready", |ready| {
        ready["flags"]["reason"].as_str().is_some_and(|reason| reason.contains("cannot read"))
    })
    .await;
    assert_eq!(get(&server, &path).await["rollout_percentage"], 5);

    replace(&file, "{}");
    let flag = wait_until(&server, &path, |flag| flag["source"] == "default").await;
    assert_eq!(flag["enabled"], false);
    wait_until(&server, "/health/ready", |ready| ready["flags"]["status"] == "healthy").await;
}

#[tokio::test]
async fn refresh_tells_what_it_changed() {
    let folder = TempDir::new().expect("there is room for a folder");
    let file = folder.path().join("flags.toml");
    replace(&file, "");
    let server = Server::start_in(folder, &[("FEATURE_FLAGS_FILE", "flags.toml"), ("FEATURE_FLAGS_POLL_MS", "0")]);
    await_database(&server).await;
    replace(&file, "[quality_mode]\nenabled = true\nrollout_percentage = 0.125\n");
    let refreshed = server.post(&format!("{FLAGS}/refresh")).send().await.expect("the server answers");
    assert_eq!(refreshed.status(), 200);
    insta::assert_json_snapshot!("refreshed", body_of(refreshed).await);
    let again = server.post(&format!("{FLAGS}/refresh")).send().await.expect("the server answers");
    assert_eq!(body_of(again).await, json!({"changed": [], "revision": 0}));
}

#[test]
fn what_cannot_be_understood_stops_the_start_with_status_78_and_its_name() {
    let cases = [
        (
            "FEATURE_FLAG_CACHING_ENABLED",
            "maybe",
            "`FEATURE_FLAG_CACHING_ENABLED`: expected `true` or `false`, found `maybe`",
        ),
        ("FEATURE_FLAG_CACHING_ROLLOUT", "101", "`FEATURE_FLAG_CACHING_ROLLOUT`: expected a percentage from 0 to 100"),
        ("FEATURE_FLAG_CACHING_ROLLOUT", "half", "`FEATURE_FLAG_CACHING_ROLLOUT`: expected a percentage from 0 to 100"),
        ("FEATURE_FLAG_TURBO_ENABLED", "true", "`FEATURE_FLAG_TURBO_ENABLED`: there is no such variable"),
        ("ENABLE_ADAPTIVE_ROUTING", "maybe", "`ENABLE_ADAPTIVE_ROUTING`: expected `true` or `false`"),
        ("USE_TORCHSERVE", "maybe", "`USE_TORCHSERVE`"),
        ("AB_TEST_PERCENTAGE", "1.5", "environment variable `AB_TEST_PERCENTAGE`"),
        ("AB_TEST_PERCENTAGE", "10%", "environment variable `AB_TEST_PERCENTAGE`"),
        ("FEATURE_FLAGS_FILE", "missing.toml", "`FEATURE_FLAGS_FILE`: cannot read `missing.toml`"),
        ("FEATURE_FLAGS_FILE", "flags.yaml", "expected a name that ends with `.toml` or `.json`"),
        ("FEATURE_FLAGS_FILE", "flags.toml", "line 2"),
    ];
    let folder = TempDir::new().expect("there is room for a folder");
    for (name, content) in [("flags.toml", "[caching]\nenabled = 1\n"), ("flags.yaml", "")] {
        fs::write(folder.path().join(name), content).expect("a file can be written");
    }
    for (variable, value, message) in cases {
        for command in [&["config", "check"][..], &["serve"]] {
            let output = program(folder.path()).args(command).env(variable, value).output().expect("the program runs");
            let shown = transcript(&output);
            assert_eq!(output.status.code(), Some(78), "{variable}={value} {command:?}: {shown}");
            assert!(shown.contains(message), "{variable}={value}: {shown}");
        }
    }
}
