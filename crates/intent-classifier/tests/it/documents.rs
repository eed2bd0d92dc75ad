//! Documents that follow from the program, compared with it.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::program::{program, repository};

fn output_of(arguments: &[&str]) -> String {
    let output = program(Path::new("/")).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Compares a file with what a command prints; `UPDATE_DOCUMENTS=1` writes it instead.
fn assert_document(path: &str, arguments: &[&str]) {
    let expected = output_of(arguments);
    let file = repository().join(path);
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() {
        fs::write(&file, expected).expect("the document can be written");
        return;
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(found, expected, "{path} is out of date: run `UPDATE_DOCUMENTS=1 cargo test -p intent-classifier`");
}

#[test]
fn the_reference_of_settings_is_up_to_date() {
    assert_document("docs/configuration.md", &["config", "docs"]);
}

#[test]
fn the_default_configuration_is_up_to_date() {
    assert_document("config/default.toml", &["config", "template"]);
}

#[test]
fn the_openapi_document_describes_every_operation_completely() {
    let document: Value = serde_json::from_str(&output_of(&["openapi"])).expect("JSON");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{name} says what it does");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.contains_key("200") && responses.contains_key("500"), "{name}: {:?}", responses.keys());
            for (status, response) in responses {
                let problem = &response["content"]["application/problem+json"];
                if status.starts_with('4') || status == "500" {
                    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/ProblemBody", "{name} {status}");
                    assert!(problem["examples"].is_object(), "{name} {status} has an example");
                }
            }
            if operation["requestBody"].is_object() {
                for status in ["400", "408", "413", "415", "422", "503"] {
                    assert!(responses.contains_key(status), "{name} documents {status}");
                }
            }
        }
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for reference in references(&document) {
        let name = reference.rsplit('/').next().expect("a reference has parts");
        assert!(schemas.contains_key(name), "`{reference}` leads nowhere");
    }
}

fn references(value: &Value) -> BTreeSet<String> {
    match value {
        Value::Object(map) => {
            let own = map.get("$ref").and_then(Value::as_str).map(str::to_owned);
            map.values().flat_map(references).chain(own).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => BTreeSet::new(),
    }
}
