//! The part of an intent pack that answers need.

use intent_model::pack::{Pack, PackErrors};
use serde_json::value::{RawValue, to_raw_value};

/// The pack in the binary: what is served when nothing else is configured.
const EMBEDDED: [(&str, &str); 4] = [
    ("pack.toml", include_str!("../../../../packs/prompt-tasks/pack.toml")),
    ("train.jsonl", include_str!("../../../../packs/prompt-tasks/train.jsonl")),
    ("validation.jsonl", include_str!("../../../../packs/prompt-tasks/validation.jsonl")),
    ("out_of_scope_validation.jsonl", include_str!("../../../../packs/prompt-tasks/out_of_scope_validation.jsonl")),
];

/// The part of an intent pack that answers need, ready to be written.
#[derive(Debug)]
pub(crate) struct ServedPack {
    /// The name of the pack.
    pub(crate) name: String,
    /// The version its author gave it.
    pub(crate) version: String,
    /// The intents, in the order of the pack.
    pub(crate) intents: Vec<ServedIntent>,
}

/// An intent as answers show it.
#[derive(Debug)]
pub(crate) struct ServedIntent {
    /// The name in answers.
    pub(crate) name: String,
    /// What belongs to it and what does not.
    pub(crate) description: String,
    /// What is attached to its answers, as JSON.
    pub(crate) attributes: Box<RawValue>,
}

/// Loads the pack in the binary.
///
/// # Errors
/// When the program was built with a pack that does not load; a test keeps that from happening.
pub(super) fn embedded() -> Result<Pack, PackErrors> {
    Pack::load_embedded(&EMBEDDED)
}

impl ServedPack {
    /// Takes from a pack what answers need.
    pub(super) fn new(pack: &Pack) -> Self {
        let intents = pack.intents.iter().map(|intent| ServedIntent {
            name: intent.name.clone(),
            description: intent.description.clone(),
            attributes: to_raw_value(&intent.attributes).expect("attributes are plain data"),
        });
        Self { name: pack.name.clone(), version: pack.version.clone(), intents: intents.collect() }
    }

    /// Returns what is attached to the answers of an intent; nothing for `out_of_scope`.
    pub(crate) fn attributes(&self, intent: &str) -> &RawValue {
        let intent = self.intents.iter().find(|candidate| candidate.name == intent);
        match intent {
            Some(intent) => &intent.attributes,
            None => serde_json::from_str("{}").expect("an empty object is JSON"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_pack_loads() {
        assert_eq!(embedded().expect("it is free of mistakes").name, "prompt-tasks");
    }
}
