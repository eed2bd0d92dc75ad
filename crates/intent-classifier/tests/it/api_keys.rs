//! API keys: made, used, revoked; by HTTP and on the command line.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{program, transcript},
    server::{PATIENCE, Server, json as body_of},
    token::{SECRET, token},
};

const CLASSIFY: &str = "/api/v1/intents/classify";
pub(crate) const KEYS: &str = "/api/v1/api-keys";

pub(crate) async fn create(server: &Server, body: Value) -> (u16, Value) {
    let request = server.post(KEYS).bearer_auth(token("root", "admin")).json(&body);
    let response = request.send().await.expect("the server answers");
    (response.status().as_u16(), body_of(response).await)
}

/// Waits until the server has reached its database.
pub(crate) async fn reached(server: &Server, header: &str, value: &str) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while server.get(KEYS).header(header, value).send().await.expect("the server answers").status() != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the database is not reached");
        tokio::task::yield_now().await;
    }
}

pub(crate) fn administrator() -> String {
    format!("Bearer {}", token("root", "admin"))
}

pub(crate) async fn classify(server: &Server, header: &str, value: &str) -> u16 {
    let request = server.post(CLASSIFY).header(header, value).json(&json!({"text": "refund"}));
    request.send().await.expect("the server answers").status().as_u16()
}

#[tokio::test]
async fn a_key_works_at_once_allows_what_it_says_and_ends_when_it_is_revoked() {
    let server = Server::with(&[("AUTH_ENABLED", "true"), ("JWT_SECRET", SECRET)]);
    reached(&server, "authorization", &administrator()).await;
    let (status, created) = create(&server, json!({"name": "desk", "scopes": ["classify"]})).await;
    assert_eq!(status, 201, "{created}");
    let (key, id) = (created["key"].as_str().expect("a key"), created["id"].as_str().expect("an id"));
    insta::assert_json_snapshot!(created, {
        ".id" => "[uuid]", ".key" => "[key]", ".created_at" => "[time]",
    });

    assert_eq!(classify(&server, "x-api-key", key).await, 200);
    assert_eq!(classify(&server, "authorization", &format!("Bearer {key}")).await, 200);
    let reload = server.post("/api/v1/models/reload").header("x-api-key", key).send().await.expect("an answer");
    assert_eq!(reload.status(), 403);
    let mut other = key.to_owned();
    let last = if other.ends_with('A') { 'E' } else { 'A' };
    other.pop();
    other.push(last);
    for wrong in ["", "nonsense", "ick_", &key[..key.len() - 1], &other] {
        assert_eq!(classify(&server, "x-api-key", wrong).await, 401, "{wrong}");
    }

    let listed = server.get(KEYS).bearer_auth(token("root", "admin")).send().await.expect("an answer");
    let listed = body_of(listed).await;
    assert_eq!(listed["api_keys"][0]["name"], "desk");
    assert!(!listed.to_string().contains(key), "a key is shown once");

    let revoke = || server.delete(&format!("{KEYS}/{id}")).bearer_auth(token("root", "admin")).send();
    assert_eq!(revoke().await.expect("an answer").status(), 200);
    assert_eq!(revoke().await.expect("an answer").status(), 404, "it is no longer valid");
    assert_eq!(classify(&server, "x-api-key", key).await, 401, "it ends at once");
}

#[tokio::test]
async fn a_key_that_cannot_be_made_is_refused_with_its_field() {
    let server = Server::with(&[("AUTH_ENABLED", "true"), ("JWT_SECRET", SECRET)]);
    reached(&server, "authorization", &administrator()).await;
    for (body, field) in [
        (json!({"scopes": ["classify"]}), "name"),
        (json!({"name": "", "scopes": ["classify"]}), "name"),
        (json!({"name": "a\nb", "scopes": ["classify"]}), "name"),
        (json!({"name": "a".repeat(101), "scopes": ["classify"]}), "name"),
        (json!({"name": "a", "scopes": []}), "scopes"),
        (json!({"name": "a", "scopes": ["everything"]}), "scopes[0]"),
        (json!({"name": "a", "scopes": ["classify"], "more": 1}), "more"),
    ] {
        let (status, problem) = create(&server, body.clone()).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (422, &json!(field)), "{body}: {problem}");
    }
    let request = server.post(KEYS).bearer_auth(token("alice", "classify flags:write"));
    let refused = request.json(&json!({"name": "a", "scopes": ["admin"]})).send().await.expect("an answer");
    assert_eq!(refused.status(), 403, "nobody gives himself more than he has");
}

#[tokio::test]
async fn the_first_key_comes_from_the_command_line_and_makes_the_others() {
    let folder = TempDir::new().expect("there is room for a folder");
    let data = folder.path().join("data");
    let data = data.to_str().expect("a path in ASCII");
    let first = program(folder.path())
        .args(["keys", "create", "first administrator", "--scope", "admin", "--database", "--format", "json"])
        .env("DATA_DIR", data)
        .output()
        .expect("the program runs");
    let first: Value = serde_json::from_slice(&first.stdout).unwrap_or_else(|_| panic!("{}", transcript(&first)));
    let first = first["key"].as_str().expect("a key");

    let server = Server::with(&[("AUTH_ENABLED", "true"), ("DATA_DIR", data)]);
    reached(&server, "x-api-key", first).await;
    let url = format!("http://{}", server.address());
    let run = |arguments: &[&str]| {
        program(folder.path())
            .arg("keys")
            .args(arguments)
            .env("INTENT_CLASSIFIER_URL", &url)
            .env("INTENT_CLASSIFIER_API_KEY", first)
            .output()
            .expect("the program runs")
    };
    let second = run(&["create", "desk", "--scope", "classify,feedback"]);
    let second = String::from_utf8(second.stdout).expect("UTF-8");
    assert_eq!(classify(&server, "x-api-key", second.trim()).await, 200);

    let listed = run(&["list"]);
    insta::with_settings!({filters => vec![(r"[0-9a-f]{8}-[0-9a-f-]{27}", "[uuid]")]}, {
        insta::assert_snapshot!(transcript(&listed));
    });
    let listed: Value = serde_json::from_slice(&run(&["list", "--format", "json"]).stdout).expect("JSON");
    let id = listed["api_keys"][1]["id"].as_str().expect("an id");
    assert_eq!(run(&["revoke", id]).status.code(), Some(0));
    assert_eq!(run(&["revoke", id]).status.code(), Some(1));
    let unknown = run(&["create", "desk", "--scope", "everything"]);
    assert_eq!(unknown.status.code(), Some(2));
}
