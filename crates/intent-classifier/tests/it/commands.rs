//! The command line.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{desk_pack, program, run_with_input, transcript},
    server::Server,
};

#[test]
fn wrong_usage_is_status_2() {
    for arguments in
        [&["nonsense"][..], &["config"], &["flags"], &["config", "show", "--format", "xml"], &["--nonsense"]]
    {
        let output = program(Path::new("/")).args(arguments).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_version_is_printed() {
    let output = program(Path::new("/")).arg("--version").output().expect("the program runs");
    assert_eq!(output.stdout, format!("intent-classifier {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn every_command_has_help_with_what_it_is_for() {
    let help = program(Path::new("/")).arg("--help").output().expect("the program runs");
    insta::assert_snapshot!(transcript(&help));
}

#[tokio::test]
async fn healthcheck_says_whether_the_server_is_ready() {
    let mut server = Server::start();
    let port = server.address().port().to_string();
    let check = |arguments: &[&str]| {
        let mut command = program(Path::new("/"));
        command.arg("healthcheck").args(arguments).env("PORT", &port).env("HOST", "0.0.0.0");
        command.output().expect("the program runs")
    };
    for arguments in [&[][..], &["--live"]] {
        let output = check(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
        assert!(output.stdout.starts_with(b"{\"status\":"), "{}", transcript(&output));
    }
    server.signal("TERM");
    assert!(server.ended().await.success());
    let output = check(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", transcript(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no answer from http://127.0.0.1:"));
}

#[test]
fn a_text_is_classified_without_a_server() {
    let output = program(Path::new("/"))
        .args(["classify", "please refund me"])
        .env("INTENT_PACK", desk_pack())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&answer["intent"], &answer["model_used"]), (&json!("refund"), &json!("rules")));
}

#[test]
fn a_file_gets_one_line_for_each_of_its_lines() {
    let folder = TempDir::new().expect("there is room for a folder");
    let lines = "{\"text\": \"my money back\"}\n{\"text\": \"hello\", \"intent\": \"greeting\"}\nnot json\n{\"text\": \" \"}\n{}\n\
                 {\"text\": \"where is the parcel\"}";
    fs::write(folder.path().join("texts.jsonl"), lines).expect("a file can be written");
    for from_file in [true, false] {
        let mut command = program(folder.path());
        command
            .args(["classify", "--file", if from_file { "texts.jsonl" } else { "-" }])
            .env("INTENT_PACK", desk_pack());
        let output = run_with_input(&mut command, if from_file { "" } else { lines });
        assert_eq!(output.status.code(), Some(1), "{}", transcript(&output));
        let answers: Vec<Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON lines"))
            .collect();
        let shown: Vec<String> = answers
            .iter()
            .map(|answer| answer["intent"].as_str().map_or_else(|| answer.to_string(), str::to_owned))
            .collect();
        insta::assert_snapshot!("lines_of_a_file", shown.join("\n"));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "error: 3 of 6 lines could not be classified\n");
    }
}

#[test]
fn a_text_needs_a_model_that_is_there_and_known() {
    let classify = |arguments: &[&str]| {
        let mut command = program(Path::new("/"));
        command.arg("classify").args(arguments).env("INTENT_PACK", desk_pack());
        command.output().expect("the program runs")
    };
    let missing = classify(&["refund", "--model", "linear"]);
    assert_eq!(missing.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&missing.stderr), "error: the model `linear` is not loaded\n");
    for wrong in [&["refund", "--model", "gpt"][..], &["refund", "--strategy", "best"], &[], &["a", "--file", "b"]] {
        assert_eq!(classify(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn a_new_pack_is_free_of_mistakes() {
    let folder = TempDir::new().expect("there is room for a folder");
    let new = program(folder.path()).args(["pack", "new", "support-desk"]).output().expect("the program runs");
    assert_eq!(transcript(&new), "exit status: 0\n--- standard output\nsupport-desk/pack.toml\n--- standard error\n");
    let check = program(folder.path()).args(["pack", "check", "support-desk"]).output().expect("the program runs");
    assert_eq!(check.status.code(), Some(0), "{}", transcript(&check));
    let again = program(folder.path()).args(["pack", "new", "support-desk"]).output().expect("the program runs");
    assert_eq!(again.status.code(), Some(1), "it is not overwritten");
    let elsewhere = program(folder.path()).args(["pack", "new", "a/b"]).output().expect("the program runs");
    assert!(String::from_utf8_lossy(&elsewhere.stderr).contains("`--out`"), "{}", transcript(&elsewhere));
}

#[test]
fn the_mistakes_of_a_pack_are_named_for_people_and_for_programs() {
    let folder = TempDir::new().expect("there is room for a folder");
    let pack =
        "name = \"p\"\nversion = \"1\"\n[[intents]]\nname = \"a\"\ndescription = \"A.\"\nexamples = []\ncolor = 1\n";
    fs::write(folder.path().join("pack.toml"), pack).expect("a file can be written");
    let text = program(folder.path()).args(["pack", "check", "pack.toml"]).output().expect("the program runs");
    insta::assert_snapshot!("mistakes_for_people", transcript(&text));
    let json = program(folder.path())
        .args(["pack", "check", "pack.toml", "--format", "json"])
        .output()
        .expect("the program runs");
    assert_eq!(json.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&json.stdout).expect("JSON");
    let codes: Vec<&Value> = report["problems"].as_array().into_iter().flatten().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["too_few_intents", "unknown_key"]);
}

#[test]
fn an_empty_model_directory_says_what_to_do() {
    let folder = TempDir::new().expect("there is room for a folder");
    let models = |arguments: &[&str]| program(folder.path()).arg("models").args(arguments).output().expect("it runs");
    let list = models(&["list", "--format", "json"]);
    assert_eq!(transcript(&list), "exit status: 0\n--- standard output\n[]\n--- standard error\n");
    assert_eq!(models(&["verify"]).status.code(), Some(0), "nothing is wrong with nothing");
    for arguments in [&["show"][..], &["show", "x"], &["verify", "x"], &["promote", "x"], &["rollback"]] {
        let output = models(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stderr.starts_with(b"error: "), "{arguments:?}");
    }
}
