//! Three server processes on one Postgres.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    api_keys,
    feedback::{stats, store},
    flags::{FLAGS, await_database, get, set},
    postgres,
    program::{program, run_with_input},
    server::{PATIENCE, Server, json as body_of},
    token::SECRET,
};

/// Starts three servers on one empty database, all at once.
fn three_replicas(settings: &[(&str, &str)]) -> [Server; 3] {
    let url = postgres::database();
    std::thread::scope(|scope| {
        let starts =
            [(); 3].map(|()| scope.spawn(|| Server::with(&[&[("DATABASE_URL", url.as_str())], settings].concat())));
        starts.map(|start| start.join().expect("the server starts"))
    })
}

/// Asks until the answer is as wanted.
async fn until(server: &Server, ask: impl AsyncFn(&Server) -> Value, wanted: &Value) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = ask(server).await;
        if found == *wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found} is not {wanted}");
        tokio::task::yield_now().await;
    }
}

/// Whether the answer to `refund` comes from the cache.
async fn is_cached(server: &Server) -> Value {
    let answer = server.post_json("/api/v1/intents/classify", &json!({"text": "refund"})).await;
    body_of(answer).await["cached"].clone()
}

fn correction(text: &str) -> Value {
    json!({"text": text, "original_intent": "refund", "correct_intent": "greeting", "feedback_type": "correction"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_through_one_replica_evicts_the_answers_of_all() {
    let replicas = three_replicas(&[]);
    for replica in &replicas {
        // They know their database, and remember the answer.
        store(replica, &correction("another text")).await;
        until(replica, is_cached, &json!(true)).await;
    }
    store(&replicas[0], &correction("refund")).await;
    assert_eq!(is_cached(&replicas[0]).await, false);
    for replica in &replicas[1..] {
        // Asking keeps the answer alive; only a correction makes it new once.
        until(replica, is_cached, &json!(false)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_key_is_good_on_all_replicas_and_ends_on_all() {
    // Only announcements are fast enough, as below.
    let replicas = three_replicas(&[
        ("AUTH_ENABLED", "true"),
        ("JWT_SECRET", SECRET),
        ("DATABASE_POLL_INTERVAL_MS", "60000"),
        ("DATABASE_TIMEOUT_MS", "30000"),
    ]);
    for replica in &replicas {
        api_keys::reached(replica, "authorization", &api_keys::administrator()).await;
    }
    let (_, created) = api_keys::create(&replicas[0], json!({"name": "desk", "scopes": ["classify"]})).await;
    let key = created["key"].as_str().expect("a key");
    let status = async |replica: &Server| json!(api_keys::classify(replica, "x-api-key", key).await);
    for replica in &replicas {
        until(replica, status, &json!(200)).await;
    }
    let path = format!("{}/{}", api_keys::KEYS, created["id"].as_str().expect("an id"));
    let revoked = replicas[1].delete(&path).header("authorization", api_keys::administrator()).send().await;
    assert_eq!(revoked.expect("the server answers").status(), 200);
    for replica in &replicas {
        until(replica, status, &json!(401)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_changed_through_one_replica_changes_on_all() {
    // Looking at the database would take longer than this test waits: only announcements are fast enough.
    let replicas = three_replicas(&[("DATABASE_POLL_INTERVAL_MS", "60000"), ("DATABASE_TIMEOUT_MS", "30000")]);
    for replica in &replicas {
        await_database(replica).await;
    }
    let path = format!("{FLAGS}/performance_mode");
    let changed = set(&replicas[0], "performance_mode", json!({"enabled": true, "rollout_percentage": 37.5})).await;
    let flag = async |replica: &Server| get(replica, &path).await;
    for replica in &replicas {
        until(replica, flag, &changed).await;
    }
    for user in 0..20 {
        let checked = format!("{FLAGS}/check/performance_mode?user_id=user-{user}");
        let expected = get(&replicas[0], &checked).await;
        let body = json!({"text": "refund", "user_id": format!("user-{user}")});
        for replica in &replicas {
            assert_eq!(get(replica, &checked).await, expected);
            let answer = body_of(replica.post_json("/api/v1/intents/classify", &body).await).await;
            let strategy = if expected["enabled"] == true { "aggressive_rules" } else { "control" };
            assert_eq!(answer["routing"]["strategy"], strategy);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_changes_that_start_from_the_same_revision_one_is_made_and_the_others_are_told() {
    let replicas = three_replicas(&[("DATABASE_TIMEOUT_MS", "30000")]);
    for replica in &replicas {
        await_database(replica).await;
    }
    let path = format!("{FLAGS}/caching");
    let change = async |replica: &Server, percent: u32| {
        let request = replica.put(&path).header("if-match", "\"0\"").json(&json!({"rollout_percentage": percent}));
        request.send().await.expect("the server answers").status().as_u16()
    };
    let [one, two, three] = &replicas;
    let (first, second, third) = tokio::join!(change(one, 10), change(two, 20), change(three, 30));
    let mut statuses = [first, second, third];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409]);
    let history = get(one, &format!("{path}/history")).await;
    assert_eq!(history["changes"].as_array().map(Vec::len), Some(1), "{history}");

    // Without a revision the last one wins, and every one is in the audit trail.
    tokio::join!(
        set(one, "caching", json!({"rollout_percentage": 40})),
        set(two, "caching", json!({"rollout_percentage": 50})),
        set(three, "caching", json!({"enabled": false})),
    );
    let history = get(two, &format!("{path}/history")).await;
    let revisions: Vec<u64> =
        history["changes"].as_array().into_iter().flatten().filter_map(|change| change["revision"].as_u64()).collect();
    assert_eq!(revisions.len(), 4, "{history}");
    assert!(revisions.is_sorted_by(|later, earlier| later > earlier), "{revisions:?}");
    let last = history["changes"][0]["to"].clone();
    let flag = async |replica: &Server| {
        let flag = get(replica, &path).await;
        json!({"enabled": flag["enabled"], "rollout_percentage": flag["rollout_percentage"]})
    };
    for replica in &replicas {
        until(replica, flag, &last).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_nobody_announces_is_seen_all_the_same() {
    let url = postgres::database();
    let server = Server::with(&[("DATABASE_URL", &url), ("DATABASE_POLL_INTERVAL_MS", "50")]);
    store(&server, &correction("any text")).await;
    // Without `NOTIFY`.
    postgres::execute(
        &url,
        r#"BEGIN;
           INSERT INTO revisions VALUES ('flags', 7);
           INSERT INTO documents
           VALUES ('flags', 'quality_mode', '{"enabled":true,"rollout_percentage":33}', 7, 0, 'nobody');
           COMMIT"#,
    );
    let rollout = async |server: &Server| {
        let flag = server.get("/api/v1/feature-flags/quality_mode").send().await.expect("the server answers");
        body_of(flag).await["rollout_percentage"].clone()
    };
    until(&server, rollout, &json!(33)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feedback_through_another_replica_is_kept_with_what_answered_the_request() {
    let url = postgres::database();
    let with = |more: &[(&str, &str)]| Server::with(&[&[("DATABASE_URL", url.as_str())], more].concat());
    let ask = async |server: &Server| {
        let request = json!({"text": "refund", "context": {"locale": "de"}});
        body_of(server.post_json("/api/v1/intents/classify", &request).await).await["request_id"].clone()
    };
    let confirmation = |request_id: Value| {
        json!({
            "request_id": request_id, "text": "refund", "original_intent": "refund", "correct_intent": "refund",
            "feedback_type": "confirmation",
        })
    };
    let by_rules = async |server: &Server| stats(server).await["by_model"]["rules"]["total"].clone();
    let (one, other) = (with(&[]), with(&[]));
    store(&other, &confirmation(ask(&one).await)).await;
    // The replica that answered sees it and says what it knows.
    until(&other, by_rules, &json!(1)).await;

    // One that answered as part of an experiment may be gone.
    let mut exposed = with(&[("AB_TEST_PERCENTAGE", "1")]);
    await_database(&exposed).await;
    let request_id = ask(&exposed).await;
    exposed.signal("TERM");
    assert!(exposed.ended().await.success());
    store(&other, &confirmation(request_id)).await;
    assert_eq!(by_rules(&other).await, json!(2));

    let folder = TempDir::new().expect("there is room for a folder");
    let mut export = program(folder.path());
    let output = run_with_input(export.env("DATABASE_URL", &url).args(["export", "feedback"]), "");
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let [remembered, exposed] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(
        (&remembered["experiment_group"], &remembered["context"]),
        (&json!("control"), &json!({"locale": "de"}))
    );
    for line in [remembered, exposed] {
        assert_eq!(line["model"], "rules", "{line}");
        assert!(line["model_version"].is_string() && line["experiment_group"].is_string(), "{line}");
    }
}
