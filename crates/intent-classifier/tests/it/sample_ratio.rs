//! The gauge behind the alert on the sizes of the experiment's groups.

use serde_json::json;

use crate::server::{PATIENCE, Server, json as body_of};

const CLASSIFY: &str = "/api/v1/intents/classify";
const GAUGE: &str = "experiment_sample_ratio_p_value";
/// What the alert `ExperimentSampleRatioMismatch` compares with.
const LIMIT: f64 = 0.001;

fn server(share: &str) -> Server {
    Server::with(&[("AB_TEST_PERCENTAGE", share), ("HEALTH_CHECK_INTERVAL_MS", "100")])
}

/// Classifies for a user; returns the group that he is in.
async fn group_of(server: &Server, user: &str) -> String {
    let answer = body_of(server.post_json(CLASSIFY, &json!({"text": "refund", "user_id": user})).await).await;
    answer["routing"]["experiment_group"].as_str().expect("it says which").to_owned()
}

async fn gauge(server: &Server) -> Option<f64> {
    let page = server.get("/metrics").send().await.expect("the server answers").text().await.expect("text");
    let line = page.lines().find(|line| line.starts_with(GAUGE))?;
    Some(line.rsplit(' ').next().expect("it has a value").parse().expect("a number"))
}

async fn wait_until(server: &Server, is_right: impl Fn(f64) -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = gauge(server).await;
        if found.is_some_and(&is_right) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "the gauge stays at {found:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn groups_of_the_wrong_size_show_where_the_alert_looks() {
    let even = server("0.5");
    let mut controls = Vec::new();
    for number in 0..300 {
        let user = format!("user-{number}");
        if group_of(&even, &user).await == "control" {
            controls.push(user);
        }
    }
    wait_until(&even, |p_value| (LIMIT..1.0).contains(&p_value)).await;

    // The same experiment elsewhere, where something keeps all but the users of one group away.
    let uneven = server("0.5");
    for user in &controls {
        assert_eq!(group_of(&uneven, user).await, "control", "{user} has one group everywhere");
    }
    wait_until(&uneven, |p_value| p_value < LIMIT).await;
}

#[tokio::test]
async fn without_an_experiment_there_is_no_such_gauge() {
    let server = server("0");
    assert_eq!(group_of(&server, "alice").await, "control");
    assert_eq!(gauge(&server).await, None);
}
