//! `flags`: feature flags of a running server, from the command line.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::{
    flags::{await_database, set},
    program::{program, transcript},
    server::Server,
};

fn flags(server: &Server) -> Command {
    let mut command = program(Path::new("/"));
    command.env("INTENT_CLASSIFIER_URL", format!("http://{}", server.address())).arg("flags");
    command
}

fn run(server: &Server, arguments: &[&str]) -> Output {
    flags(server).args(arguments).output().expect("the program runs")
}

/// Shows an outcome without what differs from run to run.
fn shown(server: &Server, output: &Output) -> String {
    without_times(&transcript(output).replace(&server.address().to_string(), "127.0.0.1:8001"))
}

/// Replaces every time by one of the same length.
pub(crate) fn without_times(text: &str) -> String {
    const TIME: &str = "2026-01-02T03:04:05.678Z";
    let is_time = |candidate: &str| {
        candidate.bytes().zip(TIME.bytes()).all(|(found, known)| match known {
            b'0'..=b'9' => found.is_ascii_digit(),
            _ => found == known,
        })
    };
    let mut rest = text;
    let mut shown = String::new();
    while let Some(first) = rest.chars().next() {
        let (replacement, length) = match rest.get(..TIME.len()) {
            Some(candidate) if is_time(candidate) => (TIME, TIME.len()),
            _ => (&rest[..first.len_utf8()], first.len_utf8()),
        };
        shown.push_str(replacement);
        rest = &rest[length..];
    }
    shown
}

#[test]
fn help_has_examples() {
    for (name, arguments) in [("help", &["flags", "--help"][..]), ("help_set", &["flags", "set", "--help"])] {
        let help = program(Path::new("/")).args(arguments).output().expect("the program runs");
        insta::assert_snapshot!(name, transcript(&help));
    }
}

#[tokio::test]
async fn flags_are_listed_shown_and_changed() {
    let server = Server::start();
    await_database(&server).await;
    insta::assert_snapshot!("list", shown(&server, &run(&server, &["list"])));
    insta::assert_snapshot!("get", shown(&server, &run(&server, &["get", "caching"])));
    let steps: [&[&str]; 9] = [
        &["rollout", "quality_mode", "5"],
        &["set", "quality_mode", "on"],
        &["set", "quality_mode", "on", "--rollout", "12.5", "--if-revision", "2"],
        &["rollout", "quality_mode", "25%"],
        &["check", "quality_mode", "--user", "user 123"],
        &["refresh"],
        &["reset", "quality_mode"],
        &["get", "quality_mode"],
        &["history", "quality_mode", "--limit", "3"],
    ];
    let transcripts: Vec<String> = steps
        .iter()
        .map(|arguments| format!("$ flags {}\n{}", arguments.join(" "), shown(&server, &run(&server, arguments))))
        .collect();
    insta::assert_snapshot!("session", transcripts.join("\n"));
}

#[tokio::test]
async fn json_is_what_the_server_answers() {
    let server = Server::start();
    await_database(&server).await;
    for (arguments, path) in [
        (&["list"][..], "/api/v1/feature-flags"),
        (&["get", "caching"], "/api/v1/feature-flags/caching"),
        (&["check", "caching", "--user", "a b"], "/api/v1/feature-flags/check/caching?user_id=a%20b"),
        (&["history", "caching"], "/api/v1/feature-flags/caching/history"),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--format", "json"]);
        let output = run(&server, &arguments);
        let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(printed, crate::flags::get(&server, path).await);
    }
    let output = run(&server, &["set", "caching", "off", "--format", "json"]);
    let printed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(printed, crate::flags::get(&server, "/api/v1/feature-flags/caching").await);
    assert_eq!(printed["enabled"], false);
}

#[tokio::test]
async fn errors_say_what_to_do_next() {
    let server = Server::start();
    set(&server, "caching", json!({"enabled": true})).await;
    for (name, arguments) in [
        ("unknown_flag", &["get", "turbo"][..]),
        ("stale", &["set", "caching", "off", "--if-revision", "0"]),
        ("nobody_there", &["list", "--url", "http://127.0.0.1:1"]),
        ("not_ours", &["list", "--url", "http://127.0.0.1:8001/nothing/here"]),
        ("no_address", &["list", "--url", "localhost:8001"]),
    ] {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|argument| argument.replace("127.0.0.1:8001", &server.address().to_string()))
            .collect();
        let output = run(&server, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(1), "{}", transcript(&output));
        insta::assert_snapshot!(name, shown(&server, &output));
    }
    for wrong in [
        &["rollout", "caching", "101"][..],
        &["rollout", "caching", "half"],
        &["set", "caching", "maybe"],
        &["set", "caching"],
        &["list", "--token", "a", "--api-key", "b"],
    ] {
        assert_eq!(run(&server, wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn watch_prints_changes_as_they_come() {
    let server = Server::start();
    await_database(&server).await;
    for format in ["text", "json"] {
        let mut watch = flags(&server)
            .args(["watch", "--interval-ms", "10", "--changes", "2", "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdout = BufReader::new(watch.stdout.take().expect("standard output is a pipe"));
        let mut stderr = BufReader::new(watch.stderr.take().expect("standard error is a pipe"));
        let mut started = String::new();
        stderr.read_line(&mut started).expect("it says that it watches");
        assert!(started.starts_with("watching http://127.0.0.1:"), "{started}");

        let mut printed = String::new();
        let enabled = format == "text";
        set(&server, "quality_mode", json!({"enabled": enabled, "rollout_percentage": 12.5})).await;
        stdout.read_line(&mut printed).expect("it prints the change");
        set(&server, "caching", json!({"enabled": !enabled})).await;
        stdout.read_to_string(&mut printed).expect("it prints the change, and nothing more");
        assert!(watch.wait().expect("it ends after two changes").success());
        insta::assert_snapshot!(format!("watch_{format}"), without_times(&printed));
    }
}
