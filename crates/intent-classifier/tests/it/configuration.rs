//! Settings: where they come from, and what happens when they are wrong.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{program, transcript};

fn folder() -> TempDir {
    TempDir::new().expect("there is room for a folder")
}

#[test]
fn later_sources_win_and_are_named() {
    let folder = folder();
    fs::write(
        folder.path().join("intent-classifier.toml"),
        "[server]\nport = 1\nhost = \"0.0.0.0\"\n[log]\nlevel = \"debug\"\n",
    )
    .expect("a file can be written");
    fs::write(folder.path().join(".env"), "PORT=2\nLOG_FORMAT=pretty\n").expect("a file can be written");
    let output = program(folder.path())
        .args(["config", "show"])
        .env("PORT", "3")
        .env("LOG_LEVEL", "warn")
        .output()
        .expect("the program runs");
    insta::assert_snapshot!(transcript(&output));
}

#[test]
fn the_settings_are_also_json() {
    let output = program(folder().path()).args(["config", "show", "--format", "json"]).output().expect("it runs");
    let settings: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(settings["server"]["port"], serde_json::json!({"value": 8001, "variable": "PORT", "from": "default"}));
}

#[test]
fn what_cannot_be_used_stops_the_start_with_status_78_and_the_variable() {
    let cases = [
        ("PORT", "http", "environment variable `PORT`"),
        ("PORT", "65536", "environment variable `PORT`"),
        ("HOST", "localhost", "environment variable `HOST`"),
        ("MAX_TEXT_CHARS", "0", "the longest text must be 1 to 1000000 characters"),
        ("PREWARM_MODELS", "maybe", "environment variable `PREWARM_MODELS`"),
        ("ENCODER_PRECISION", "fp16", "environment variable `ENCODER_PRECISION`"),
        ("MAX_WORKERS", "0", "environment variable `MAX_WORKERS`"),
        ("LOG_LEVEL", "loud", "environment variable `LOG_LEVEL`"),
        ("LOG_FORMAT", "xml", "environment variable `LOG_FORMAT`"),
        ("REQUEST_TIMEOUT_MS", "0", "environment variable `REQUEST_TIMEOUT_MS`"),
        ("INTENT_PACK", "./missing", "`INTENT_PACK`: `./missing` does not exist"),
        ("ENCODER_DIR", "./missing", "`ENCODER_DIR`: `./missing` does not exist"),
        ("CONFIG_FILE", "./missing.toml", "./missing.toml"),
    ];
    for (variable, value, message) in cases {
        for command in [&["config", "check"][..], &["serve"], &[]] {
            let output =
                program(folder().path()).args(command).env(variable, value).output().expect("the program runs");
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{variable}={value} {command:?}: {stderr}");
            assert!(stderr.contains(message), "{variable}={value}: {stderr}");
            assert!(output.stdout.is_empty(), "{variable}={value}");
        }
    }
}

#[test]
fn an_unknown_key_or_a_broken_file_stops_the_start() {
    let cases = [
        ("[server]\nprot = 1\n", "unknown field `prot`"),
        ("[sever]\nport = 1\n", "unknown field `sever`"),
        ("[server]\nport = \"1\"\n", "invalid type: string \"1\", expected u16"),
        ("[server\n", "TOML parse error"),
    ];
    for (file, message) in cases {
        let folder = folder();
        fs::write(folder.path().join("settings.toml"), file).expect("a file can be written");
        let output = program(folder.path())
            .args(["config", "check", "--config", "settings.toml"])
            .output()
            .expect("the program runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(message) && stderr.contains("settings.toml"), "{stderr}");
    }
}

#[test]
fn a_broken_pack_or_dot_env_stops_the_start() {
    let folder = folder();
    fs::write(folder.path().join("pack.toml"), "name = 1\n").expect("a file can be written");
    let output = program(folder.path()).env("INTENT_PACK", "pack.toml").output().expect("the program runs");
    assert_eq!(output.status.code(), Some(78));
    insta::assert_snapshot!("a_broken_pack", transcript(&output));

    fs::write(folder.path().join(".env"), "PORT\n").expect("a file can be written");
    let output = program(folder.path()).args(["config", "check"]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`.env`"));
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let output = program(folder().path())
        .args(["config", "check"])
        .env("PORT", "")
        .env("MODEL_DIR", "")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", transcript(&output));
}
