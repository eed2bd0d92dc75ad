//! From feedback to a new version: review, rejection, training, comparison.

use std::{fs, process::Output};

use intent_model::tiny;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    feedback::store,
    program::{desk_pack, program, transcript},
    server::Server,
};

const VALIDATION: [(&str, &str); 6] = [
    ("please i want my money back", "refund"),
    ("refund my order please", "refund"),
    ("where is my package", "delivery"),
    ("track my parcel", "delivery"),
    ("hello you", "greeting"),
    ("good morning to you", "greeting"),
];

/// A folder with a database, a model directory, and rows that no model learns from.
struct Workplace(TempDir);

impl Workplace {
    fn new() -> Self {
        let place = Self(TempDir::new().expect("there is room for a folder"));
        let row = |(text, intent)| format!("{}\n", json!({"text": text, "intent": intent}));
        let rows: String = VALIDATION.into_iter().map(row).collect();
        fs::write(place.0.path().join("validation.jsonl"), rows).expect("a file can be written");
        place
    }

    /// Lets a server take feedback: id, text, what it was taken for, what it should have been, who says so.
    async fn say(&self, feedback: &[(u128, &str, &str, &str, &str)]) {
        let data = self.0.path().join("data");
        let server = Server::with(&[("DATA_DIR", data.to_str().expect("a path in UTF-8"))]);
        for (id, text, original, correct, user) in feedback {
            let kind = if original == correct { "confirmation" } else { "correction" };
            let body = json!({
                "feedback_id": Uuid::from_u128(*id), "text": text, "original_intent": original,
                "correct_intent": correct, "feedback_type": kind, "user_id": user,
            });
            store(&server, &body).await;
        }
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = program(self.0.path());
        command.env("INTENT_PACK", desk_pack()).args(arguments.split_whitespace());
        command.output().expect("the program runs")
    }

    fn current(&self) -> String {
        fs::read_to_string(self.0.path().join("models/CURRENT")).expect("a version serves").trim().to_owned()
    }
}

#[tokio::test]
async fn a_review_lists_what_to_look_at_and_what_is_rejected_is_gone_from_it() {
    let place = Workplace::new();
    place
        .say(&[
            (1, "the wrong colour arrived", "out_of_scope", "refund", "ada"),
            (2, "the wrong colour arrived", "out_of_scope", "delivery", "grace"),
            (3, "refund please", "refund", "greeting", "ada"),
            (4, "hello", "greeting", "greeting", "ada"),
            (5, "hello", "greeting", "greeting", "grace"),
        ])
        .await;
    insta::assert_snapshot!("review", transcript(&place.run("feedback review")));
    let ids = |output: &Output| -> Vec<String> {
        let review: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let outliers = review["outliers"].as_array().expect("a list").iter();
        outliers.flat_map(|outlier| outlier["feedback"].as_array().expect("ids")).map(ToString::to_string).collect()
    };
    let outlier = Uuid::from_u128(3);
    assert_eq!(ids(&place.run("feedback review --format json")), [format!("\"{outlier}\"")]);
    insta::assert_snapshot!("rejection", transcript(&place.run(&format!("feedback reject {outlier}"))));
    assert_eq!(ids(&place.run("feedback review --format json")), [""; 0]);
    let unknown = place.run(&format!("feedback reject {}", Uuid::from_u128(99)));
    assert_eq!(unknown.status.code(), Some(1));
    insta::assert_snapshot!("rejection_of_nothing", transcript(&unknown));
}

#[tokio::test]
async fn a_version_that_learnt_from_feedback_serves_only_when_it_is_no_worse() {
    let place = Workplace::new();
    let train = "train --validation validation.jsonl --format json";
    let first = place.run(train);
    assert!(first.status.success(), "{}", transcript(&first));
    let first = place.current();

    place
        .say(&[
            (1, "give me back what i paid", "out_of_scope", "refund", "ada"),
            (2, "it is late again", "out_of_scope", "refund", "ada"),
            (3, "it is late again", "out_of_scope", "delivery", "grace"),
            (4, "Track my parcel", "delivery", "delivery", "grace"),
        ])
        .await;
    let output = place.run(&format!("{train} --feedback"));
    assert!(output.status.success(), "{}", transcript(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("feedback: 1 texts are learnt, 1 with conflicts and 1 held-out ones are not"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["data"]["training_rows"], 10, "nine examples of the pack and one of the feedback");
    let comparison = &report["comparison"];
    assert_eq!((&comparison["old_version"], &comparison["held_out_rows"]), (&json!(first), &json!(6)));
    assert!(comparison["models"]["linear"]["old"]["accuracy"].as_f64() > Some(0.5), "{comparison}");
    assert_eq!(comparison["worse"], false, "{comparison}");
    let second = place.current();
    assert_eq!(report["version"], second);

    // Somebody teaches nonsense, insistently.
    let nonsense: Vec<String> = (0..40).map(|number| format!("{} {number}", VALIDATION[number % 4].0)).collect();
    let nonsense: Vec<(u128, &str, &str, &str, &str)> = nonsense
        .iter()
        .enumerate()
        .map(|(number, text)| (100 + number as u128, text.as_str(), "refund", "greeting", "mallory"))
        .collect();
    place.say(&nonsense).await;
    let output = place.run(&format!("{train} --feedback"));
    assert!(output.status.success(), "{}", transcript(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["comparison"]["worse"], true, "{}", report["comparison"]);
    assert_eq!(place.current(), second, "the old version goes on serving");
    let third = report["version"].as_str().expect("a name");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("`models promote {third}` takes it anyway")), "{said}");
    assert!(place.run(&format!("models promote {third}")).status.success());
    assert_eq!(place.current(), third);
}

#[tokio::test]
async fn a_fine_tuned_model_is_taken_over_compared_and_trained_again_only_when_asked() {
    let place = Workplace::new();
    tiny::write_hugging_face_dir(&place.0.path().join("base"), &tiny::Spec::encoder(tiny::Family::Bert));
    let train = "train --validation validation.jsonl --format json";
    let fine_tune = "--fine-tune --base base --learning-rate 0.01 --batch-size 8 --epochs 2";
    let run = |arguments: &str| -> (Value, String) {
        let output = place.run(&format!("{train} {arguments}"));
        assert!(output.status.success(), "{}", transcript(&output));
        let report = serde_json::from_slice(&output.stdout).expect("JSON");
        (report, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let weights = |report: &Value| report["files"]["distilbert/huggingface/model.safetensors"]["sha256"].clone();
    let (first, _) = run(fine_tune);
    let first_version = first["version"].as_str().expect("a name");
    place.say(&[(1, "give me back what i paid", "out_of_scope", "refund", "ada")]).await;

    let (second, said) = run("--feedback");
    assert!(
        said.contains(&format!("`distilbert` is that of `{first_version}`, which has not seen this feedback")),
        "{said}"
    );
    assert!(weights(&first).is_string());
    assert_eq!((weights(&second), &second["models"]["distilbert"]), (weights(&first), &first["models"]["distilbert"]));
    let compared = second["comparison"]["models"]["distilbert"].clone();
    assert!(compared["taken_over"] == true && compared["old"].is_object(), "{compared}");
    assert_eq!(compared["old"], compared["new"]);
    assert!(place.run("models verify").status.success());
    let answer = place.run("classify --model distilbert hello");
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("one JSON object");
    assert_eq!(answer["model_used"], "distilbert");

    let (third, _) = run(&format!("--feedback {fine_tune}"));
    assert_ne!(weights(&third), weights(&first), "it has learnt from one more text");
    let compared = third["comparison"]["models"]["distilbert"].clone();
    assert!(
        compared["taken_over"] == false && compared["old"].is_object() && compared["new"].is_object(),
        "{compared}"
    );

    let serving = place.current();
    let (_, said) = run("");
    assert!(said.contains(&format!("`{serving}` has a fine-tuned `distilbert`, the new version has none")), "{said}");
}

#[test]
fn tables_are_made_once() {
    let place = Workplace::new();
    insta::assert_snapshot!("first_migration", transcript(&place.run("migrate")));
    insta::assert_snapshot!("second_migration", transcript(&place.run("migrate --format json")));
}
