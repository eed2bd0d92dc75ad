//! `doctor`: what a machine can check before and after a deployment.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    flags::{await_database, set},
    postgres,
    program::{program, transcript},
    rollouts::{OFTEN, ROLLOUTS},
    server::Server,
};

fn doctor(folder: &Path) -> Command {
    let mut command = program(folder);
    command.arg("doctor");
    command
}

/// Runs it; returns the exit status and the finding of each check.
fn findings(command: &mut Command) -> (i32, serde_json::Map<String, Value>) {
    let output = command.args(["--format", "json"]).output().expect("the program runs");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", transcript(&output)));
    let list = report["findings"].as_array().expect("a list").iter();
    let by_check = list.map(|finding| (finding["check"].as_str().expect("text").to_owned(), finding.clone()));
    (output.status.code().expect("it ends"), by_check.collect())
}

fn folder() -> TempDir {
    TempDir::new().expect("there is room for a folder")
}

#[test]
fn on_a_fresh_machine_it_says_what_is_missing_and_what_to_do() {
    let folder = folder();
    let output = doctor(folder.path()).output().expect("the program runs");
    let shown = transcript(&output);
    let shown: Vec<&str> =
        shown.lines().filter(|line| !line.contains("disk space") && !line.contains("open files")).collect();
    let shown: Vec<&str> = shown.into_iter().filter(|line| !line.contains("errors, ")).collect();
    insta::assert_snapshot!("fresh", shown.join("\n"));
    assert!(!folder.path().join("data").exists(), "it looks, and makes nothing");
}

#[test]
fn help_has_examples_and_exit_statuses() {
    let help = doctor(Path::new("/")).arg("--help").output().expect("the program runs");
    insta::assert_snapshot!("help", transcript(&help));
}

#[test]
fn a_configuration_that_cannot_be_used_is_an_error_with_advice() {
    let (status, found) = findings(doctor(folder().path()).env("PORT", "many"));
    assert_eq!((status, &found["configuration"]["status"]), (2, &json!("error")));
    let (status, found) = findings(doctor(folder().path()).env("JWT_SECRET", "secret"));
    assert_eq!(status, 2);
    assert!(found["configuration"]["found"].as_str().expect("text").contains("JWT_SECRET"), "{found:?}");
}

#[test]
fn each_part_that_is_wrong_is_named() {
    let folder = folder();
    let write = |name: &str, content: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, content).expect("the folder can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    write(".env", "REDIS_HOST=127.0.0.1\nREDIS_PORT=1\nREDIS_PASSWORD=redis\n", 0o644);
    write("pack.toml", "name = 1", 0o600);
    fs::create_dir_all(folder.path().join("data/spool")).expect("it can be made");
    write("data/spool/feedback-1.spool", "something", 0o600);
    let settings = [
        ("DATABASE_URL", "postgres://intents:hunter2@127.0.0.1:1/intents"),
        ("HOST", "0.0.0.0"),
        ("INTENT_PACK", "pack.toml"),
        ("USE_TORCHSERVE", "true"),
        ("TORCHSERVE_PORT", "1"),
        ("TORCHSERVE_MANAGEMENT_PORT", "1"),
    ];
    let (status, found) = findings(doctor(folder.path()).envs(settings));
    assert_eq!(status, 2);
    for (check, expected) in [
        ("authentication", "warning"),
        ("passwords", "warning"),
        ("permissions", "warning"),
        ("spool", "warning"),
        ("pack", "error"),
        ("models", "warning"),
        ("database", "error"),
        ("redis", "error"),
        ("torchserve", "error"),
        ("certificate", "skipped"),
    ] {
        assert_eq!(found[check]["status"], expected, "{check}: {}", found[check]);
        assert!(expected == "skipped" || found[check]["advice"].is_string(), "{check} says what to do");
    }
    let passwords = found["passwords"]["found"].as_str().expect("text");
    assert!(passwords.contains("DATABASE_URL") && passwords.contains("REDIS_PASSWORD"), "{passwords}");
    assert!(!Value::from(found.clone()).to_string().contains("hunter2"), "no secret is shown");
}

#[test]
fn a_database_without_tables_is_left_alone_and_one_that_is_up_to_date_is_written_to() {
    let url = postgres::database();
    let folder = folder();
    let database = || findings(doctor(folder.path()).env("DATABASE_URL", &url)).1;
    assert_eq!(database()["database"]["status"], "warning");
    assert_eq!(database()["database"]["status"], "warning", "it was not migrated by looking");
    let migrated = program(folder.path()).env("DATABASE_URL", &url).arg("migrate").output().expect("it runs");
    assert!(migrated.status.success());
    let found = database();
    assert_eq!((&found["database"]["status"], &found["clock"]["status"]), (&json!("ok"), &json!("ok")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_server_is_looked_at() {
    let server = Server::with(&[OFTEN]);
    await_database(&server).await;
    let url = format!("http://{}", server.address());
    let look = || findings(doctor(Path::new("/")).args(["--server-only", "--url", &url]));
    let (status, found) = look();
    for check in ["ready", "dependencies", "error rate", "p95", "changes", "flags", "rollouts"] {
        assert_eq!(found[check]["status"], "ok", "{check}: {}", found[check]);
    }
    assert_eq!(status, if found["server models"]["status"] == "ok" { 0 } else { 1 }, "{found:?}");

    set(&server, "quality_mode", json!({"enabled": true, "rollout_percentage": 25})).await;
    let body = json!({"flag": "caching", "steps": [10, 100], "every": "1h"});
    assert_eq!(server.post_json(ROLLOUTS, &body).await.status(), 201);
    assert_eq!(server.post(&format!("{ROLLOUTS}/caching/pause")).send().await.expect("an answer").status(), 200);
    let (status, found) = look();
    assert_eq!((status, &found["rollouts"]["status"]), (1, &json!("warning")));
    let flags = found["flags"]["found"].as_str().expect("text");
    assert!(flags.contains("`quality_mode` is on for 25 % and no rollout of it is running"), "{flags}");

    drop(server);
    let (status, found) = look();
    assert_eq!((status, &found["ready"]["status"]), (2, &json!("error")));
}
