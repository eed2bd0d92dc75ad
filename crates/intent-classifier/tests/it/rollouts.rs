//! Guarded rollouts: started over HTTP, taken on by the server, shared by replicas.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    flags::{FLAGS, await_database, get, set},
    postgres,
    server::{PATIENCE, Server, json as body_of},
};

pub(crate) const ROLLOUTS: &str = "/api/v1/rollouts";
/// A server that looks often.
pub(crate) const OFTEN: (&str, &str) = ("ROLLOUT_CHECK_INTERVAL_MS", "50");

async fn start(server: &Server, body: Value) -> Value {
    await_database(server).await;
    let response = server.post_json(ROLLOUTS, &body).await;
    assert_eq!(response.status(), 201, "{body}");
    body_of(response).await
}

fn quick(steps: &[u32], guards: &[&str]) -> Value {
    json!({"flag": "quality_mode", "steps": steps, "every": "1s", "guards": guards, "minimum_decisions": 50})
}

/// Sends texts of nobody in particular, two hundred at a time, until the rollout is as wanted.
async fn under_load(servers: &[&Server], wanted: impl Fn(&Value) -> bool) -> Value {
    let texts: Vec<&str> = (0..100).map(|_| "refund").collect();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        for server in servers {
            for _ in 0..2 {
                server.post_json("/api/v1/intents/classify/batch", &json!({"texts": texts})).await;
            }
        }
        let rollout = get(servers[0], &format!("{ROLLOUTS}/quality_mode")).await;
        if wanted(&rollout) {
            return rollout;
        }
        assert!(tokio::time::Instant::now() < deadline, "{rollout:#}");
        tokio::task::yield_now().await;
    }
}

fn actions(rollout: &Value) -> Vec<String> {
    let events = rollout["events"].as_array().expect("a list").iter();
    events.map(|event| format!("{} {}", event["action"].as_str().expect("text"), event["rollout_percentage"])).collect()
}

async fn refused(server: &Server, path: &str, body: &Value) -> Value {
    let mut problem = body_of(server.post_json(path, body).await).await;
    problem["request_id"] = "[id]".into();
    problem
}

#[tokio::test]
async fn a_rollout_is_started_shown_and_refused_where_it_makes_no_sense() {
    let server = Server::start();
    let body = json!({
        "flag": "adaptive_routing", "steps": [10, 25, 50, 75, 100], "every": "24h",
        "guards": ["error_rate<1%", "p95<200ms"],
    });
    let started = start(&server, body.clone()).await;
    insta::assert_json_snapshot!("started", started, {
        ".id" => "[id]", ".since" => "[time]", ".next_step_at" => "[time]", ".events[].at" => "[time]",
        ".waiting_for[0]" => "[time left]",
    });
    let flag = get(&server, &format!("{FLAGS}/adaptive_routing")).await;
    assert_eq!((&flag["rollout_percentage"], &flag["source"]), (&json!(10), &json!("api")));
    let history = get(&server, &format!("{FLAGS}/adaptive_routing/history")).await;
    let id = started["id"].as_str().expect("an id");
    assert_eq!(history["changes"][0]["changed_by"], format!("rollout/{id}"));
    assert_eq!(get(&server, ROLLOUTS).await["rollouts"][0]["id"], id);

    insta::assert_json_snapshot!("under_way", refused(&server, ROLLOUTS, &body).await);
    insta::assert_json_snapshot!("unknown", refused(&server, &format!("{ROLLOUTS}/caching/pause"), &json!({})).await);
    let resume = format!("{ROLLOUTS}/adaptive_routing/resume");
    insta::assert_json_snapshot!("wrong_status", refused(&server, &resume, &json!({})).await);
    let wrong = json!({"flag": "turbo", "steps": [10, 101], "every": "soon", "guards": ["p95<200", "errors<1%"]});
    insta::assert_json_snapshot!("wrong_fields", refused(&server, ROLLOUTS, &wrong).await);
    let wrong = json!({"flag": "caching", "steps": [50, 25], "every": "1ms", "minimum_decisions": 1});
    insta::assert_json_snapshot!("wrong_plan", refused(&server, ROLLOUTS, &wrong).await);

    let act = async |what: &str| {
        let response = server.post(&format!("{ROLLOUTS}/adaptive_routing/{what}")).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{what}");
        body_of(response).await
    };
    assert_eq!(act("pause").await["status"], "paused");
    assert_eq!(act("resume").await["status"], "running");
    let aborted = act("abort").await;
    assert_eq!(actions(&aborted), ["started 10", "paused 10", "resumed 10", "aborted 100"]);
    assert_eq!(get(&server, &format!("{FLAGS}/adaptive_routing")).await["rollout_percentage"], 100);
}

#[tokio::test]
async fn it_takes_its_steps_by_itself_and_ends() {
    let server = Server::with(&[OFTEN]);
    let quick = quick(&[20, 60, 100], &["error_rate<1%", "p95<60s"]);
    start(&server, quick).await;
    let ended = under_load(&[&server], |rollout| rollout["status"] == "completed").await;
    assert_eq!(actions(&ended), ["started 20", "stepped 60", "stepped 100", "completed 100"]);
    let flag = get(&server, &format!("{FLAGS}/quality_mode")).await;
    assert_eq!((&flag["enabled"], &flag["rollout_percentage"]), (&json!(true), &json!(100)));
}

#[tokio::test]
async fn a_guard_that_is_violated_takes_it_back_with_the_reason_and_a_count() {
    let server = Server::with(&[OFTEN]);
    start(&server, quick(&[50, 100], &["mean_latency<0.001ms"])).await;
    let back = under_load(&[&server], |rollout| rollout["status"] == "rolled_back").await;
    assert_eq!(actions(&back), ["started 50", "rolled_back 0"]);
    let reason = back["reason"].as_str().expect("it says why");
    assert!(reason.starts_with("`mean_latency<0.001ms` is violated: "), "{reason}");
    let flag = get(&server, &format!("{FLAGS}/quality_mode")).await;
    assert_eq!((&flag["enabled"], &flag["rollout_percentage"]), (&json!(false), &json!(100)), "as it was before");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for line in [
        r#"rollout_status{flag_name="quality_mode",status="rolled_back"} 1"#,
        r#"rollout_guard_violations_total{flag_name="quality_mode",metric="mean_latency"} 1"#,
    ] {
        // The answer is from the database, the page from what the process has read since.
        loop {
            let page = server.get("/metrics").send().await.expect("an answer").text().await.expect("text");
            if page.lines().any(|found| found == line) {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{line} is not in\n{page}");
        }
    }
}

#[tokio::test]
async fn a_flag_changed_by_hand_pauses_it_and_says_who_did_so() {
    let server = Server::with(&[OFTEN]);
    start(&server, quick(&[50, 100], &[])).await;
    set(&server, "quality_mode", json!({"rollout_percentage": 70})).await;
    let paused = under_load(&[&server], |rollout| rollout["status"] == "paused").await;
    assert_eq!(paused["reason"], "`quality_mode` was changed by hand, by anonymous@127.0.0.1");
    assert_eq!(get(&server, &format!("{FLAGS}/quality_mode")).await["rollout_percentage"], 70, "it is left alone");
    let resumed = server.post(&format!("{ROLLOUTS}/quality_mode/resume")).send().await.expect("an answer");
    assert_eq!(body_of(resumed).await["status"], "running");
    assert_eq!(get(&server, &format!("{FLAGS}/quality_mode")).await["rollout_percentage"], 50);
}

#[tokio::test]
async fn what_users_say_counts_for_those_with_and_without_the_feature() {
    let server = Server::with(&[OFTEN]);
    start(&server, quick(&[50, 100], &["accuracy>50%"])).await;
    for user in 0..60 {
        let user = format!("user-{user}");
        let body = json!({"text": "refund", "user_id": user});
        let answer = body_of(server.post_json("/api/v1/intents/classify", &body).await).await;
        let feedback = json!({
            "request_id": answer["request_id"], "text": "refund", "original_intent": "refund",
            "correct_intent": "refund", "feedback_type": "confirmation",
        });
        let said = server.post_json("/api/v1/intents/feedback", &feedback).await;
        assert!(said.status().is_success());
    }
    let observed = |rollout: &Value| {
        let guard = &rollout["guards"][0];
        ["with_feature", "without_feature"].map(|group| guard[group]["observations"].as_u64().expect("a count"))
    };
    let seen = under_load(&[&server], |rollout| observed(rollout).iter().sum::<u64>() == 60).await;
    assert!(observed(&seen).iter().all(|count| *count > 10), "{seen:#}");
    assert_eq!(seen["guards"][0]["with_feature"]["mean"], 0.0);
}

#[tokio::test]
async fn it_survives_a_restart() {
    let folder = TempDir::new().expect("there is room for a folder");
    let data = folder.path().join("state").to_string_lossy().into_owned();
    let settings = [OFTEN, ("DATA_DIR", data.as_str())];
    let server = Server::with(&settings);
    let id = start(&server, quick(&[50, 100], &[])).await["id"].clone();
    drop(server);
    let server = Server::with(&settings);
    await_database(&server).await;
    let ended = under_load(&[&server], |rollout| rollout["status"] == "completed").await;
    assert_eq!((&ended["id"], actions(&ended).len()), (&id, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_take_every_step_once_and_go_on_when_the_one_that_took_them_is_killed() {
    let url = postgres::database();
    let settings = [("DATABASE_URL", url.as_str()), ("DATABASE_TIMEOUT_MS", "30000"), OFTEN];
    let leader = Server::with(&settings);
    start(&leader, quick(&[10, 30, 60, 100], &["error_rate<1%"])).await;
    leader.wait_for_log("this process takes the steps of rollouts");
    let others = [Server::with(&settings), Server::with(&settings)];
    for other in &others {
        await_database(other).await;
    }
    let all = [&leader, &others[0], &others[1]];
    under_load(&all, |rollout| rollout["step"].as_u64() >= Some(2)).await;
    // Killed, so that nobody gives the lease back.
    drop(leader);
    let ended = under_load(&[&others[0], &others[1]], |rollout| rollout["status"] == "completed").await;
    assert_eq!(actions(&ended), ["started 10", "stepped 30", "stepped 60", "stepped 100", "completed 100"]);
    let history = get(&others[1], &format!("{FLAGS}/quality_mode/history")).await;
    let by = format!("rollout/{}", ended["id"].as_str().expect("an id"));
    let changes = history["changes"].as_array().expect("a list");
    assert!(changes.len() == 4 && changes.iter().all(|change| change["changed_by"] == by), "{history:#}");
}

#[tokio::test]
async fn while_the_database_takes_no_changes_rollouts_are_refused_with_when_to_try_again() {
    let server = Server::with(&[("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")]);
    let response = server.post_json(ROLLOUTS, &quick(&[50], &[])).await;
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}
