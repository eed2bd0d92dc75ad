//! `train`: what becomes of good data, and what is said of bad data.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use intent_model::tiny;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{program, transcript};

const REFUND: [&str; 6] = ["refund", "money back", "return money", "send back", "cancel order", "charge back"];
const WEATHER: [&str; 6] = ["weather", "weather today", "will it", "weather tomorrow", "how is weather", "this week"];
const FRAMES: [&str; 5] = ["please {}", "{}", "tell me about {}", "i need help, {}", "{} now"];

/// A folder with data, a model directory with a tiny encoder, and a tiny model to start from.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        let place = Self(TempDir::new().expect("there is room for a folder"));
        let frames = |frames: &[&str]| -> String {
            let row = |frame: &str, text: &str, intent: &str| format!("\"{}\",{intent}\n", frame.replace("{}", text));
            let rows = frames.iter().flat_map(|frame| {
                let refund = REFUND.iter().map(|text| row(frame, text, "refund"));
                refund.chain(WEATHER.iter().map(|text| row(frame, text, "weather"))).collect::<Vec<_>>()
            });
            std::iter::once("text,intent\n".to_owned()).chain(rows).collect()
        };
        place.write("train.csv", frames(&FRAMES[..4]));
        place.write("validation.csv", frames(&FRAMES[4..]));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a file can be written");
    }

    fn run(&self, arguments: &str) -> Command {
        let mut command = program(self.0.path());
        command.args(arguments.split_whitespace());
        command
    }

    /// Runs a command that must succeed.
    fn done(&self, arguments: &str) -> Output {
        let output = self.run(arguments).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", transcript(&output));
        output
    }

    fn json(&self, arguments: &str) -> Value {
        serde_json::from_slice(&self.done(arguments).stdout).expect("it writes JSON")
    }

    /// Prepares what fine-tuning needs and returns the command for it, less its options.
    fn fine_tuning(&self) -> String {
        tiny::write_hugging_face_dir(&self.path("base"), &tiny::Spec::encoder(tiny::Family::Bert));
        "train --data train.csv --validation validation.csv --fine-tune --base base --learning-rate 0.01 \
         --batch-size 8 --format json"
            .to_owned()
    }
}

#[test]
fn a_fine_tuned_model_stands_beside_the_others_and_is_classified_and_evaluated_with() {
    let place = Workplace::new();
    tiny::write_encoder(&place.path("models/encoder"));
    let manifest = place.json(&format!("{} --epochs 8 --in-scope-retention 0.9", place.fine_tuning()));
    let models: Vec<&String> = manifest["models"].as_object().expect("an object").keys().collect();
    assert_eq!(models, ["distilbert", "hybrid", "linear", "zero_shot"]);
    let metrics = &manifest["models"]["distilbert"]["metrics"];
    assert_eq!((metrics["measured_on"].as_str(), metrics["rows"].as_u64()), (Some("validation"), Some(12)));
    assert!(metrics["accuracy"].as_f64() >= Some(0.9), "it has learnt: {metrics}");
    assert_eq!(manifest["training"]["in_scope_retention"], 0.9);

    let version = place.path("models/versions").join(manifest["version"].as_str().expect("a name"));
    for file in ["model.int8.onnx", "huggingface/model.safetensors", "huggingface/config.json"] {
        assert!(version.join("distilbert").join(file).is_file(), "{file}");
    }
    assert!(!place.path("models/fine-tune").exists(), "nothing is left of the work");
    place.done("models verify");

    let output = place.run("classify --model distilbert").arg("please refund").output().expect("the program runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((answer["intent"].as_str(), answer["model_used"].as_str()), (Some("refund"), Some("distilbert")));
    let report = place.json("evaluate --data validation.csv --model distilbert --format json");
    assert_eq!(report["models"]["distilbert"]["accuracy"], metrics["accuracy"]);
}

#[test]
fn without_validation_rows_zero_shot_is_not_measured_but_serves_what_was_computed() {
    let place = Workplace::new();
    tiny::write_encoder(&place.path("models/encoder"));
    let manifest = place.json("train --data train.csv --format json");
    assert!(manifest["models"]["zero_shot"].is_null() && manifest["files"]["zero_shot.bin"].is_object());
    let answer: Value = serde_json::from_slice(&place.done("classify --model zero_shot refund").stdout).expect("JSON");
    assert_eq!((answer["intent"].as_str(), answer["model_used"].as_str()), (Some("refund"), Some("zero_shot")));
}

#[test]
fn a_fine_tuning_that_was_killed_goes_on_from_its_checkpoint_to_the_same_model() {
    let place = Workplace::new();
    let fine_tuning = place.fine_tuning();
    let train = format!("{fine_tuning} --threads 1 --epochs 60 --option patience=60");
    let weights = |manifest: &Value| manifest["files"]["distilbert/huggingface/model.safetensors"]["sha256"].clone();
    let unbroken = weights(&place.json(&train));

    let mut child = place.run(&train).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    wait_for(&place.path("models/fine-tune/checkpoint.safetensors"));
    child.kill().expect("it runs for 59 more epochs");
    child.wait().expect("it was started");

    let resumed = place.done(&format!("{train} --resume"));
    let said = String::from_utf8_lossy(&resumed.stderr);
    assert!(said.contains("going on after step "), "{said}");
    let manifest: Value = serde_json::from_slice(&resumed.stdout).expect("it writes JSON");
    assert_eq!(weights(&manifest), unbroken);

    let anew = place.done(&format!("{fine_tuning} --epochs 1 --resume"));
    assert!(String::from_utf8_lossy(&anew.stderr).contains("there is no checkpoint in"), "{}", transcript(&anew));
}

/// Waits for a file to be there.
fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() {
        assert!(Instant::now() < deadline, "there is no `{}`", path.display());
        thread::yield_now();
    }
}

#[test]
fn fine_tuning_without_a_usable_base_says_what_to_do() {
    let place = Workplace::new();
    let fails = |arguments: &str| {
        let output = place.run(&format!("train --data train.csv --fine-tune {arguments}")).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{}", transcript(&output));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(fails("").contains("there is no model to start from in `target/encoder-source`"), "{}", fails(""));
    fs::create_dir(place.path("base")).expect("a folder can be made");
    let empty = fails("--base base");
    assert!(empty.contains("cannot start from this model: cannot access `base/config.json`"), "{empty}");
    assert!(fails("--base base --option depth=3").contains("there is no option `depth`"));
    let alone = place.run("train --data train.csv --epochs 3").output().expect("it runs");
    assert_eq!(alone.status.code(), Some(2), "an option of fine-tuning needs `--fine-tune`");
}

#[test]
fn thresholds_and_what_they_buy_are_in_the_output_and_in_the_version() {
    let place = Workplace::new();
    let ambiguous = "text,intent\nrefund now,refund\nweather now,weather\nmoney today,refund\nreturn this week,weather\n\
                     cancel tomorrow,weather\nback it now,refund\n";
    place.write("held-out.csv", ambiguous);
    let output = place.done("train --data train.csv --validation held-out.csv --target-error 0.1");
    let shown = String::from_utf8_lossy(&output.stdout);
    let shown: Vec<&str> = shown.lines().skip(1).collect();
    insta::assert_snapshot!("the_table_of_a_training", shown.join("\n"));
    let manifest = place.json("models show");
    let linear = &manifest["models"]["linear"];
    for figure in ["coverage", "accepted_error", "ece", "brier"] {
        assert!(linear["metrics"][figure].is_f64(), "{figure}: {linear}");
    }
    assert!(linear["calibration"]["accept_threshold"].is_f64() && manifest["training"]["target_error"] == 0.1);
    for wrong in ["--target-error 2", "--in-scope-retention -1", "--target-error few"] {
        let output = place.run(&format!("train --data train.csv {wrong}")).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
}

/// What is said of a file of training rows, and of one of validation rows.
fn said_of(training: (&str, &[u8]), validation: Option<&str>) -> String {
    let place = Workplace::new();
    place.write(training.0, training.1);
    let mut arguments = format!("train --data {}", training.0);
    if let Some(rows) = validation {
        place.write("held-out.csv", rows);
        arguments += " --validation held-out.csv";
    }
    let output = place.run(&arguments).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("there is no sentence encoder")).collect();
    format!("exit status {}\n{}", output.status.code().expect("it ends by itself"), said.join("\n"))
}

const TWO_CLASSES: &str = "text,intent\nplay a song,music\nplay jazz,music\nwill it rain,weather\nis it cold,weather\n";

#[test]
fn data_that_cannot_be_trained_on_is_refused_by_name_and_line() {
    let latin_1 = b"text,intent\ncaf\xe9 nearby,food\nplay a song,music\n";
    let utf_16: Vec<u8> = TWO_CLASSES.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let broken = "{\"text\": \"a\", \"intent\": \"x\"}\n{\"text\": \"b\"\n{\"intent\": \"x\"}\n{\"text\": 7, \"intent\": \"x\"}\n";
    let cases: [(&str, &str, &[u8]); 7] = [
        ("an empty file", "a.jsonl", b""),
        ("a header alone", "a.csv", b"text,intent\n"),
        ("one class", "a.csv", b"text,intent\nplay a song,music\nplay jazz,music\n"),
        ("broken lines", "a.jsonl", broken.as_bytes()),
        ("Latin-1", "a.csv", latin_1),
        ("UTF-16", "a.csv", &utf_16),
        ("another kind of file", "a.xlsx", b"PK"),
    ];
    let said = cases.map(|(what, name, content)| format!("# {what}\n{}\n", said_of((name, content), None)));
    insta::assert_snapshot!("data_that_is_refused", said.join("\n"));
}

#[test]
fn labels_that_the_pack_lacks_are_refused_by_name_and_line() {
    let place = Workplace::new();
    place.done("pack new desk");
    let output = place.run("train --pack desk --data train.csv").output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("train.csv:3: intent `refund` is not one of the "), "{said}");
    assert!(!place.path("models").exists(), "nothing is written");
}

#[test]
fn data_that_can_be_trained_on_but_should_be_looked_at_is_warned_of() {
    let cases = [
        ("one example in a class", "text,intent\nplay a song,music\nplay jazz,music\nwill it rain,weather\n", None),
        ("a text with two intents", &format!("{TWO_CLASSES}Play a Song,weather\n"), None),
        ("a class without validation rows", TWO_CLASSES, Some("text,intent\nplay it loud,music\n")),
        ("a validation text that is trained on", TWO_CLASSES, Some("text,intent\nplay jazz,music\nrain,weather\n")),
    ];
    let said = cases.map(|(what, training, validation)| {
        format!("# {what}\n{}\n", said_of(("a.csv", training.as_bytes()), validation))
    });
    insta::assert_snapshot!("data_that_is_warned_of", said.join("\n"));
}

#[test]
fn a_validation_file_with_an_intent_that_is_not_trained_is_refused() {
    let said = said_of(("a.csv", TWO_CLASSES.as_bytes()), Some("text,intent\nread the news,news\n"));
    assert!(said.contains("held-out.csv:2: intent `news` is not one of the 2 intents: `music`, `weather`"), "{said}");
}
