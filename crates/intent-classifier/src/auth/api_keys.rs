//! API keys: made at random, known to their owners alone, found again by their hash.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest,
    rand::{SecureRandom, SystemRandom},
};
use tokio::sync::Mutex;
use tracing::{debug, warn};
use uuid::Uuid;

use super::{AuthError, Authenticated, Identity, Scopes};
use crate::storage::{Storage, StorageError, Topic};

/// What every key begins with, so that people and scanners of leaked secrets know one when they see it.
const PREFIX: &str = "ick_";
/// Random bytes of a key: nobody guesses 256 bits, so a plain hash is as good as a slow one.
const SECRET_BYTES: usize = 32;
/// How long after one look into the database for an unknown key the next may follow.
const COOL_DOWN: Duration = Duration::from_secs(1);
/// How long to wait for news of a database that cannot be read.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The keys that are valid, in memory: a check asks no database, and works while that is away.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    storage: Storage,
    known: ArcSwapOption<HashMap<Uuid, Known>>,
    /// When the database was asked last. Held while it is asked, so that no older answer replaces a newer one.
    asked: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    hash: String,
    scopes: Scopes,
}

/// A key that was just made.
#[derive(Debug)]
pub(crate) struct NewKey {
    /// Names it in lists and logs.
    pub(crate) id: Uuid,
    /// The key itself, shown once.
    pub(crate) key: String,
    /// What is stored of it.
    pub(crate) hash: String,
}

impl NewKey {
    /// Makes a key.
    pub(crate) fn generate() -> Self {
        let id = Uuid::now_v7();
        let mut secret = [0; SECRET_BYTES];
        SystemRandom::new().fill(&mut secret).expect("the operating system has random numbers");
        let key = format!("{PREFIX}{}_{}", id.simple(), URL_SAFE_NO_PAD.encode(secret));
        let hash = hash(&key);
        Self { id, key, hash }
    }
}

impl ApiKeys {
    /// Prepares for the keys of a database.
    pub(crate) fn new(storage: Storage) -> Self {
        Self { storage, known: ArcSwapOption::empty(), asked: Mutex::new(None) }
    }

    /// Reads the keys now, and again whenever they were changed, here or by another replica.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut revisions = self.storage.watch_revisions();
        let mut status = self.storage.watch_status();
        let mut read = None;
        loop {
            let revision = revisions.borrow_and_update().as_ref().map(|revisions| revisions.of(Topic::ApiKeys));
            if read.is_none() || read != revision {
                if !self.read_now().await {
                    // A server that starts has its keys as soon as its database can be used.
                    let _ = tokio::time::timeout(RETRY_AFTER, status.changed()).await;
                    continue;
                }
                read = revision;
            }
            if revisions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Tells whether a credential looks like an API key rather than a token.
    pub(super) fn is_one(credential: &str) -> bool {
        credential.starts_with(PREFIX)
    }

    /// Tells who has a key.
    ///
    /// # Errors
    /// [`AuthError::UnknownApiKey`], or [`AuthError::KeysUnavailable`] while the database was never read.
    pub(super) async fn find(&self, key: &str) -> Result<Authenticated, AuthError> {
        let id = id_of(key).ok_or(AuthError::UnknownApiKey)?;
        if let Some(found) = self.look_up(id, key) {
            return found;
        }
        // It may have been made on another replica just now.
        self.read_once_in_a_while().await;
        match self.look_up(id, key) {
            Some(found) => found,
            None if self.known.load().is_none() => Err(AuthError::KeysUnavailable),
            None => Err(AuthError::UnknownApiKey),
        }
    }

    fn look_up(&self, id: Uuid, key: &str) -> Option<Result<Authenticated, AuthError>> {
        let known = self.known.load();
        let found = known.as_deref()?.get(&id)?;
        if !is_equal(found.hash.as_bytes(), hash(key).as_bytes()) {
            return Some(Err(AuthError::UnknownApiKey));
        }
        let identity = Identity::ApiKey { id, name: Arc::clone(&found.name) };
        Some(Ok(Authenticated { identity, scopes: found.scopes }))
    }

    /// Reads the keys, which have just changed; returns whether that could be done. Until then those known go on.
    pub(crate) async fn read_now(&self) -> bool {
        let mut asked = self.asked.lock().await;
        *asked = Some(Instant::now());
        let read = self.read().await;
        if let Err(error) = &read
            && self.known.load().is_some()
        {
            warn!(%error, "API keys not read; those known go on");
        }
        read.is_ok()
    }

    async fn read_once_in_a_while(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|asked| asked.elapsed() >= COOL_DOWN) {
            *asked = Some(Instant::now());
            if let Err(error) = self.read().await {
                debug!(%error, "API keys not read");
            }
        }
    }

    async fn read(&self) -> Result<(), StorageError> {
        let keys = self.storage.api_keys().await?;
        let valid = keys.into_iter().filter(|key| key.revoked_at.is_none());
        let known = valid.map(|key| {
            let scopes = Scopes::from_names(key.scopes.iter().map(String::as_str));
            (key.id, Known { name: Arc::from(key.name), hash: key.hash, scopes })
        });
        self.known.store(Some(Arc::new(known.collect())));
        Ok(())
    }
}

/// Reads the id in a key.
fn id_of(key: &str) -> Option<Uuid> {
    let (id, secret) = key.strip_prefix(PREFIX)?.split_once('_')?;
    let is_whole = URL_SAFE_NO_PAD.decode(secret).is_ok_and(|secret| secret.len() == SECRET_BYTES);
    Uuid::try_parse(id).ok().filter(|_| is_whole && id.len() == 32)
}

fn hash(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, key.as_bytes()))
}

/// Compares in a time that tells nothing about where the difference is.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_id_and_keeps_its_secret() {
        let (first, second) = (NewKey::generate(), NewKey::generate());
        assert_eq!(id_of(&first.key), Some(first.id));
        assert_ne!(first.key, second.key);
        assert_eq!(first.hash, hash(&first.key));
        assert!(!first.key.contains(&first.hash) && !first.hash.contains(&first.key[40..]));
        for broken in ["", "ick_", "ick_a_b", &first.key[1..], &first.key[..first.key.len() - 1], "ick_☃_☃"] {
            assert_eq!(id_of(broken), None, "{broken}");
        }
    }

    #[test]
    fn only_the_same_is_equal() {
        assert!(is_equal(b"abc", b"abc") && !is_equal(b"abc", b"abd") && !is_equal(b"abc", b"ab"));
    }
}
