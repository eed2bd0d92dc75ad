//! Writes a pack as TOML.

use std::fmt::Write;

use serde::Serialize;
use toml::ser::ValueSerializer;

use super::{Pack, Pattern};

/// Returns a readable file: one example a line, keys in the order of the format, the same bytes for equal packs.
pub(super) fn to_toml(pack: &Pack) -> String {
    let mut file = String::new();
    line(&mut file, "name", &pack.name);
    line(&mut file, "version", &pack.version);
    if let Some(description) = &pack.description {
        line(&mut file, "description", description);
    }
    if let Some(language) = &pack.language {
        line(&mut file, "language", language);
    }
    for intent in &pack.intents {
        file.push_str("\n[[intents]]\n");
        line(&mut file, "name", &intent.name);
        line(&mut file, "description", &intent.description);
        if !intent.attributes.is_empty() {
            line(&mut file, "attributes", &without_nulls(&intent.attributes));
        }
        if !intent.examples.is_empty() {
            lines(&mut file, "examples", &intent.examples);
        }
        for rule in &intent.rules {
            file.push_str("\n[[intents.rules]]\n");
            line(&mut file, "name", &rule.name);
            match &rule.pattern {
                Pattern::Phrases(entries) => lines(&mut file, "phrases", entries),
                Pattern::Keywords(entries) => lines(&mut file, "keywords", entries),
                Pattern::Regex(entries) => lines(&mut file, "regex", entries),
            }
            line(&mut file, "weight", &rule.weight);
        }
    }
    file
}

fn line(file: &mut String, key: &str, value: &(impl Serialize + ?Sized)) {
    writeln!(file, "{key} = {}", toml_value(value)).expect("writing to a string does not fail");
}

fn lines(file: &mut String, key: &str, entries: &[String]) {
    writeln!(file, "{key} = [").expect("writing to a string does not fail");
    for entry in entries {
        writeln!(file, "    {},", toml_value(entry)).expect("writing to a string does not fail");
    }
    file.push_str("]\n");
}

fn toml_value(value: &(impl Serialize + ?Sized)) -> String {
    let mut text = String::new();
    value.serialize(ValueSerializer::new(&mut text)).expect("strings, numbers and tables of them are TOML");
    text
}

/// TOML has no null; a pack that was loaded has none either.
fn without_nulls(map: &serde_json::Map<String, serde_json::Value>) -> serde_json::Map<String, serde_json::Value> {
    fn keep(value: &serde_json::Value) -> Option<serde_json::Value> {
        use serde_json::Value;
        match value {
            Value::Null => None,
            Value::Array(items) => Some(items.iter().filter_map(keep).collect()),
            Value::Object(map) => Some(Value::Object(without_nulls(map))),
            other => Some(other.clone()),
        }
    }
    map.iter().filter_map(|(key, value)| Some((key.clone(), keep(value)?))).collect()
}
