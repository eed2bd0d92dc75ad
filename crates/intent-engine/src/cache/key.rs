//! What an answer depends on.

use std::{fmt, sync::Arc};

use intent_model::ModelKind;
use sha2::{Digest, Sha256};

use crate::StrategyName;

/// Stands for a text, the blanks around it aside, where the text itself must not or need not go.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TextDigest([u8; 32]);

impl TextDigest {
    /// Digests a text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text.trim()).into())
    }

    /// Takes a digest that was made elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest, SHA-256.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TextDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Everything an answer depends on. A change of models or settings changes the key, so that a stale answer cannot be
/// addressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) text: TextDigest,
    pub(crate) model_version: Arc<str>,
    /// [`crate::RoutingConfig::digest`].
    pub(crate) routing: [u8; 32],
    pub(crate) strategy: StrategyName,
    pub(crate) first: Option<ModelKind>,
    pub(crate) excluded: Vec<ModelKind>,
    pub(crate) top_k: usize,
}

/// A `CacheKey` that means the same in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SharedKey {
    /// The text.
    pub text: TextDigest,
    /// Everything else the answer depends on.
    pub conditions: [u8; 32],
}

impl CacheKey {
    pub(crate) fn shared(&self) -> SharedKey {
        let Self { text, model_version, routing, strategy, first, excluded, top_k } = self;
        let mut digest = Sha256::new();
        digest.update(routing);
        // Names have no line ends, so that two different lists never look alike.
        let models =
            |kinds: &mut dyn Iterator<Item = &ModelKind>| kinds.map(|kind| kind.as_str()).collect::<Vec<_>>().join(",");
        let (first, excluded) = (models(&mut first.iter()), models(&mut excluded.iter()));
        digest.update(format!("{model_version}\n{strategy}\n{first}\n{excluded}\n{top_k}"));
        SharedKey { text: *text, conditions: digest.finalize().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CacheKey {
        CacheKey {
            text: TextDigest::of("hello"),
            model_version: "v1".into(),
            routing: [1; 32],
            strategy: StrategyName::Control,
            first: None,
            excluded: vec![ModelKind::Distilbert],
            top_k: 3,
        }
    }

    #[test]
    fn the_digest_of_a_text_is_the_same_on_every_machine_and_ignores_blanks_around_it() {
        // `printf hello | sha256sum`
        let expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        assert_eq!(format!("{:?}", TextDigest::of(" hello\n")), expected);
        assert_ne!(TextDigest::of("Hello"), TextDigest::of("hello"));
    }

    #[test]
    fn everything_an_answer_depends_on_changes_the_shared_key() {
        let changes: [fn(&mut CacheKey); 7] = [
            |key| key.text = TextDigest::of("goodbye"),
            |key| key.model_version = "v2".into(),
            |key| key.routing = [2; 32],
            |key| key.strategy = StrategyName::Balanced,
            |key| key.first = Some(ModelKind::Distilbert),
            |key| key.excluded = Vec::new(),
            |key| key.top_k = 4,
        ];
        let mut keys = vec![key().shared()];
        for change in changes {
            let mut changed = key();
            change(&mut changed);
            keys.push(changed.shared());
        }
        for (index, one) in keys.iter().enumerate() {
            assert!(keys[index + 1..].iter().all(|other| other != one), "change {index}");
        }
        assert_eq!(key().shared(), key().shared());
    }
}
