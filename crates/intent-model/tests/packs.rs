//! The packs of the repository are what they promise to be.

use std::path::{Path, PathBuf};

use intent_model::{Pack, Rules};

/// The intents that clients of the default pack may rely on.
const PROMPT_TASKS: [&str; 12] = [
    "question_answering",
    "explanation",
    "creative_writing",
    "code_generation",
    "data_analysis",
    "reasoning",
    "summarization",
    "translation",
    "conversation",
    "task_planning",
    "problem_solving",
    "general_assistance",
];

fn packs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packs")
}

fn load(name: &str) -> Pack {
    Pack::load(&packs().join(name)).unwrap_or_else(|errors| panic!("pack `{name}` loads:\n{errors}"))
}

#[test]
fn every_pack_loads_without_a_warning_about_its_rules() {
    for entry in std::fs::read_dir(packs()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let report = load(&name).report();
        let about_rules = report.warnings.iter().filter(|warning| warning.starts_with("rule "));
        assert_eq!(about_rules.count(), 0, "pack `{name}`:\n{report}");
    }
}

#[test]
fn the_default_pack_has_the_promised_intents_and_enough_of_everything() {
    let pack = load("prompt-tasks");
    assert_eq!(pack.labels().iter().collect::<Vec<_>>(), PROMPT_TASKS);
    for (label, intent) in pack.intents.iter().enumerate() {
        let rows = |rows: &[intent_model::pack::LabelledText]| rows.iter().filter(|row| row.label == label).count();
        let name = &intent.name;
        assert!(intent.examples.len() >= 150, "`{name}` has {} examples", intent.examples.len());
        assert!(rows(&pack.validation) >= 30, "`{name}` has {} validation texts", rows(&pack.validation));
        assert!(rows(&pack.test) >= 30, "`{name}` has {} test texts", rows(&pack.test));
        assert!((10..=20).contains(&intent.rules.len()), "`{name}` has {} rules", intent.rules.len());
        assert!(!intent.attributes.is_empty(), "`{name}` has attributes");
    }
    assert!(pack.out_of_scope_validation.len() >= 100 && pack.out_of_scope_test.len() >= 100);
}

#[test]
fn the_rules_of_the_default_pack_alone_answer_a_quarter_of_the_validation_texts_and_are_right() {
    let coverage = load("prompt-tasks").report().rules_on_validation.unwrap();
    let (answered, correct) = (coverage.answered as f64, coverage.correct as f64);
    assert!(answered >= 0.25 * coverage.texts as f64, "{coverage}");
    assert!(correct >= 0.95 * answered, "{coverage}");
    assert!(coverage.out_of_scope_answered <= 2, "{coverage}");
}

#[test]
fn the_support_pack_is_small_and_its_rules_are_right() {
    let pack = load("support");
    let coverage = pack.report().rules_on_validation.unwrap();
    assert!(pack.intents.len() <= 12 && coverage.correct == coverage.answered, "{coverage}");
}

#[test]
fn a_rule_of_the_default_pack_is_named_in_the_answer() {
    let pack = load("prompt-tasks");
    let rules = Rules::compile(&pack).unwrap();
    let names: Vec<&str> = rules
        .matches("Write a Python function to reverse a string")
        .into_iter()
        .map(|index| rules.name(index))
        .collect();
    assert!(names.contains(&"code_generation/write-a-function"), "{names:?}");
}
