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
fn the_reference_of_metrics_is_up_to_date() {
    assert_document("docs/metrics.md", &["metrics"]);
}

#[test]
fn the_openapi_document_describes_every_operation_completely() {
    let document: Value = serde_json::from_str(&output_of(&["openapi"])).expect("JSON");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{name} says what it does");
            let responses = operation["responses"].as_object().expect("responses");
            let succeeds = responses.keys().any(|status| status.starts_with('2'));
            assert!(succeeds && responses.contains_key("500"), "{name}: {:?}", responses.keys());
            for (status, response) in responses {
                let problem = &response["content"]["application/problem+json"];
                if status.starts_with('4') || status == "500" {
                    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/ProblemBody", "{name} {status}");
                    assert!(problem["examples"].is_object(), "{name} {status} has an example");
                }
            }
            if operation["requestBody"].is_object() {
                // OpenFeature clients expect 400 for whatever is wrong with a request, and need no models.
                let others: &[&str] = if path.starts_with("/ofrep/") { &[] } else { &["422", "503"] };
                for status in ["400", "408", "413", "415"].iter().chain(others).copied() {
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

#[test]
fn the_overview_of_the_interface_lists_every_operation_and_every_kind_of_error() {
    let document: Value = serde_json::from_str(&output_of(&["openapi"])).expect("JSON");
    let overview = fs::read_to_string(repository().join("docs/http-api.md")).expect("the overview is there");
    let column = |prefix: &str| -> BTreeSet<String> {
        let cells = overview.lines().filter_map(|line| line.strip_prefix("| "));
        cells
            .filter_map(|row| row.split('`').nth(1))
            .filter(|cell| cell.starts_with(prefix))
            .map(str::to_owned)
            .collect()
    };
    let operations: BTreeSet<String> = document["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let listed: BTreeSet<String> = ["GET ", "POST ", "PUT ", "DELETE "].into_iter().flat_map(column).collect();
    assert_eq!(listed, operations);

    let kinds: BTreeSet<String> = strings(&document, &|text| text.starts_with("urn:intent-classifier:problem:"));
    let of_no_operation =
        ["method-not-allowed", "not-found"].map(|code| format!("urn:intent-classifier:problem:{code}"));
    assert_eq!(column("urn:"), kinds.into_iter().chain(of_no_operation).collect());
}

/// Collects the strings of a document that are of interest.
fn strings(value: &Value, wanted: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
    match value {
        Value::String(text) if wanted(text) => BTreeSet::from([text.clone()]),
        Value::Object(map) => map.values().flat_map(|value| strings(value, wanted)).collect(),
        Value::Array(items) => items.iter().flat_map(|value| strings(value, wanted)).collect(),
        _ => BTreeSet::new(),
    }
}

#[tokio::test]
async fn every_documented_path_is_served_and_the_documents_are_whole() {
    let server = crate::server::Server::start();
    let served = server.get("/openapi.json").send().await.expect("the server answers");
    assert_eq!(served.headers()["content-type"], "application/json");
    let document = crate::server::json(served).await;
    let printed: Value = serde_json::from_str(&output_of(&["openapi"])).expect("JSON");
    assert_eq!(document, printed);
    for path in document["paths"].as_object().expect("paths").keys() {
        let response = server.get(path).send().await.expect("the server answers");
        // A resource that is not there is another matter.
        if response.status() == 404 {
            let problem = crate::server::json(response).await;
            assert_ne!(problem["type"], "urn:intent-classifier:problem:not-found", "{path}");
        }
    }

    let page = server.get("/docs/").send().await.expect("the server answers");
    assert_eq!(page.status(), 200);
    let page = page.text().await.expect("text");
    for (at, _) in page.match_indices("src=\"").chain(page.match_indices("href=\"")) {
        let link = page[at..].split('"').nth(1).expect("an attribute has a value");
        assert!(!link.contains("//"), "{link} is not served from here");
        let part = server.get(&format!("/docs/{}", link.trim_start_matches("./"))).send().await.expect("an answer");
        assert_eq!(part.status(), 200, "{link}");
    }
}
