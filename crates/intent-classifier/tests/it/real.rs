//! The encoder and the default pack as `make test` prepares them: run by `make test-real`, which sets `MODEL_DIR` and
//! `ENCODER_DIR`.

use std::{env, process::Command};

use serde_json::Value;

use crate::program::{program, repository};

/// The program with the prepared models.
fn prepared() -> Command {
    let mut command = program(repository());
    for variable in ["MODEL_DIR", "ENCODER_DIR"] {
        command.env(variable, env::var_os(variable).expect("`make test-real` says where the models are"));
    }
    command
}

fn json_of(command: &mut Command) -> Value {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("it writes JSON")
}

#[test]
#[ignore = "needs the encoder and the trained default pack"]
fn real_models_of_every_kind_answer_a_text_that_leaves_no_doubt() {
    for model in ["rules", "linear", "zero_shot", "hybrid"] {
        let text = "Translate this sentence into French: where is the station?";
        let answer = json_of(prepared().args(["classify", "--model", model, text]));
        assert_eq!((answer["intent"].as_str(), answer["model_used"].as_str()), (Some("translation"), Some(model)));
    }
}

#[test]
#[ignore = "needs the encoder and the trained default pack"]
fn real_texts_of_the_test_split_are_told_apart_and_foreign_ones_noticed() {
    let report = json_of(prepared().args([
        "evaluate",
        "--data",
        "packs/prompt-tasks/test.jsonl",
        "--out-of-scope",
        "packs/prompt-tasks/out_of_scope_test.jsonl",
        "--format",
        "json",
    ]));
    let of = |model: &str, figure: &str| report["models"][model][figure].as_f64().expect("it is measured");
    // Well under what is measured, well over what a broken model or a wrong label order would reach.
    for (model, accuracy) in [("linear", 0.80), ("zero_shot", 0.80), ("hybrid", 0.88)] {
        assert!(of(model, "accuracy") >= accuracy, "{model}: {}", of(model, "accuracy"));
    }
    assert!(of("hybrid", "accuracy") > of("linear", "accuracy"), "the embedding helps");
    assert!(of("hybrid", "auroc") >= 0.80, "{}", of("hybrid", "auroc"));
}
