//! `rollout`: guarded rollouts from the command line.

use std::{path::Path, process::Output};

use serde_json::{Value, json};

use crate::{
    flags::await_database,
    flags_command::without_times,
    program::{program, transcript},
    rollouts::ROLLOUTS,
    server::Server,
};

fn run(server: &Server, arguments: &[&str]) -> Output {
    program(Path::new("/"))
        .env("INTENT_CLASSIFIER_URL", format!("http://{}", server.address()))
        .arg("rollout")
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// Shows an outcome without what differs from run to run.
fn shown(output: &Output) -> String {
    let shown = without_times(&transcript(output));
    let lines = shown.lines().map(|line| match line.strip_prefix("waiting: the step lasts ") {
        Some(_) => "waiting: the step lasts [some] s longer",
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn help_has_examples() {
    for (name, arguments) in [("help", &["rollout", "--help"][..]), ("help_start", &["rollout", "start", "--help"])] {
        let help = program(Path::new("/")).args(arguments).output().expect("the program runs");
        insta::assert_snapshot!(name, transcript(&help));
    }
}

#[tokio::test]
async fn rollouts_are_started_shown_paused_resumed_and_aborted() {
    let server = Server::start();
    await_database(&server).await;
    let steps: [&[&str]; 8] = [
        &["list"],
        &[
            "start",
            "adaptive_routing",
            "--steps",
            "10,25,50,75,100",
            "--every",
            "24h",
            "--guard",
            "error_rate<1%",
            "--guard",
            "p95<200ms",
        ],
        &["list"],
        &["pause", "adaptive_routing"],
        &["resume", "adaptive_routing"],
        &["status", "adaptive_routing"],
        &["abort", "adaptive_routing"],
        &["abort", "adaptive_routing"],
    ];
    let transcripts: Vec<String> = steps
        .iter()
        .map(|arguments| format!("$ rollout {}\n{}", arguments.join(" "), shown(&run(&server, arguments))))
        .collect();
    insta::assert_snapshot!("session", transcripts.join("\n\n"));
}

#[tokio::test]
async fn json_is_what_the_server_answers() {
    let server = Server::start();
    await_database(&server).await;
    let started = run(&server, &["start", "caching", "--steps", "5%,100", "--every", "7d", "--format", "json"]);
    let started: Value = serde_json::from_slice(&started.stdout).expect("JSON");
    assert_eq!((&started["steps"], &started["every_seconds"]), (&json!([5, 100]), &json!(604_800.0)));
    let paused = run(&server, &["pause", "caching", "--format", "json"]);
    let paused: Value = serde_json::from_slice(&paused.stdout).expect("JSON");
    assert_eq!(paused, crate::flags::get(&server, &format!("{ROLLOUTS}/caching")).await);
}

#[test]
fn what_cannot_be_understood_is_refused_before_anybody_is_asked() {
    for (wrong, message) in [
        (&["start", "caching", "--every", "1h"][..], "--steps"),
        (&["start", "caching", "--steps", "10,half", "--every", "1h"], "`half` is not a number"),
        (&["start", "caching", "--steps", "10", "--every", "soon"], "expected a number"),
        (&["start", "caching", "--steps", "10", "--every", "1h", "--guard", "p95<200"], "`200` is no latency"),
    ] {
        let output = program(Path::new("/")).arg("rollout").args(wrong).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(message), "{}", transcript(&output));
    }
}
