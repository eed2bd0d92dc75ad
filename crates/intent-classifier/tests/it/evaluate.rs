//! `evaluate` on models that are trained here, without an encoder.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{desk_pack, program, transcript};

/// The program in a folder with labelled texts, `rows.jsonl`.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().expect("there is room for a folder");
        let rows: String = (0..12)
            .flat_map(|at| {
                [
                    format!("{{\"text\": \"refund order {at} please, I want my money\", \"intent\": \"refund\"}}\n"),
                    format!("{{\"text\": \"where is parcel {at} of mine\", \"intent\": \"delivery\"}}\n"),
                    format!("{{\"text\": \"hello to you, number {at}\", \"intent\": \"greeting\"}}\n"),
                ]
            })
            .collect();
        fs::write(folder.path().join("rows.jsonl"), rows).expect("a file can be written");
        fs::write(folder.path().join("foreign.csv"), "text\nqwerty uiop\n;;;\nzzz 9 9\n")
            .expect("a file can be written");
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program(self.path());
        command.args(arguments).env("INTENT_PACK", desk_pack());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.program(arguments).output().expect("the program runs")
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
        serde_json::from_slice(&output.stdout).expect("it writes JSON")
    }

    fn train(&self, out: &str) {
        let pack = desk_pack();
        let output =
            self.run(&["train", "--pack", pack.to_str().expect("UTF-8"), "--data", "rows.jsonl", "--out", out]);
        assert_eq!(output.status.code(), Some(0), "{}", transcript(&output));
    }
}

#[test]
fn models_are_measured_and_compared_on_the_same_rows_with_those_of_another_directory() {
    let desk = Desk::new();
    desk.train("new");
    desk.train("old");
    let report = desk.json(&[
        "evaluate",
        "--data",
        "rows.jsonl",
        "--out-of-scope",
        "foreign.csv",
        "--model-dir",
        "new",
        "--model",
        "linear",
        "--model",
        "rules",
        "--baseline",
        "old",
        "--report",
        "report.html",
        "--errors",
        "errors.jsonl",
    ]);
    assert_eq!((report["rows"].as_u64(), report["out_of_scope_rows"].as_u64()), (Some(36), Some(3)));
    let models: Vec<&String> = report["models"].as_object().expect("models by name").keys().collect();
    assert_eq!(models, ["baseline/linear", "baseline/rules", "linear", "rules"]);
    let linear = &report["models"]["linear"];
    assert_eq!(linear["accuracy"], 1.0);
    for figure in ["macro_f1", "ece", "auroc", "brier", "latency_ms", "per_intent", "risk_coverage", "threshold_sweep"]
    {
        assert!(!linear[figure].is_null(), "`{figure}` is missing: {linear}");
    }
    let comparisons = report["comparisons"].as_array().expect("every two models");
    assert_eq!(comparisons.len(), 6);
    let same = comparisons.iter().find(|pair| pair["better"] == "linear" && pair["worse"] == "baseline/linear");
    assert_eq!(same.expect("both linear models")["p_value"], 1.0, "they are the same");

    let page = fs::read_to_string(desk.path().join("report.html")).expect("the report is there");
    let leaves = ["src=", "href=\"http", "url(", "<script", "<link", "@import"];
    assert_eq!(leaves.map(|foreign| page.contains(foreign)), [false; 6], "it opens offline");
    assert_eq!(page.matches("<svg").count(), 4 * 4, "four plots for each model");

    let errors = fs::read_to_string(desk.path().join("errors.jsonl")).expect("the errors are there");
    let wrong: Vec<Value> = errors.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    let by_rules = wrong.iter().filter(|row| row["model"] == "rules" && row["intent"] == "delivery").count();
    assert_eq!(by_rules, 0, "rules know parcels: {errors}");
}

#[test]
fn rows_are_cross_validated_without_a_trained_version() {
    let desk = Desk::new();
    let pack = desk_pack();
    let pack = pack.to_str().expect("UTF-8");
    let report = desk.json(&["evaluate", "--cross-validate", "3", "--pack", pack, "--data", "rows.jsonl"]);
    assert_eq!((report["folds"].as_u64(), report["rows"].as_u64()), (Some(3), Some(36 + 9)));
    let models: Vec<&String> = report["models"].as_object().expect("models by name").keys().collect();
    assert_eq!(models, ["linear"], "there is no encoder");
    assert!(report["models"]["linear"]["accuracy"].as_f64() > Some(0.5), "{report}");
    assert!(!desk.path().join("models").exists(), "nothing is trained to stay");
}

#[test]
fn what_cannot_be_evaluated_is_said_with_what_was_expected() {
    let desk = Desk::new();
    desk.train("models");
    let fails = |arguments: &[&str], expected: &str| {
        let output = desk.run(arguments);
        let shown = transcript(&output);
        assert_eq!(output.status.code(), Some(1), "{shown}");
        assert!(shown.contains(expected), "expected `{expected}`: {shown}");
    };
    fails(&["evaluate", "--data", "missing.jsonl"], "missing.jsonl: cannot be read");
    fails(&["evaluate", "--data", "rows.jsonl", "--model", "hybrid"], "`hybrid` is not there in `./models`");
    let cross = ["evaluate", "--data", "rows.jsonl", "--cross-validate"];
    fails(&[&cross[..], &["1"]].concat(), "1 fold(s) leave no rows to train on, expected at least 2");
    fails(&[&cross[..], &["3", "--model", "rules"]].concat(), "`rules` cannot be cross-validated");
    fails(&[&cross[..], &["3", "--model", "hybrid"]].concat(), "`hybrid` needs the sentence encoder");
    fs::write(desk.path().join("one.csv"), "text,intent\nhi,greeting\nrefund,refund\nhello,greeting\n")
        .expect("written");
    fails(&["evaluate", "--data", "one.csv", "--cross-validate", "2"], "intent `refund` has 1 row(s)");
    fs::write(desk.path().join("foreign.jsonl"), "{\"text\": \"hi\", \"intent\": \"greting\"}\n").expect("written");
    fails(&["evaluate", "--data", "foreign.jsonl"], "foreign.jsonl:1: intent `greting` is not one of the 3 intents");
    for usage in [&["evaluate"][..], &["evaluate", "--pack", "x"], &["evaluate", "--data", "rows.jsonl", "--seed", "2"]]
    {
        assert_eq!(desk.run(usage).status.code(), Some(2), "{usage:?}");
    }
}
