//! The public keys that an identity provider publishes, kept fresh without ever becoming a burden to it.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{Algorithm, Header};
use reqwest::{Client, Url, redirect::Policy};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::{AuthError, key::VerificationKey};

/// How old keys may be before they are asked for again.
const FRESH_FOR: Duration = Duration::from_secs(300);
/// How long after one question the next may follow, whatever tokens claim.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// How long an answer may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer that is read, in bytes.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// A published key set.
#[derive(Debug)]
pub(super) struct KeySet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    url: Url,
    client: Client,
    current: ArcSwapOption<Fetched>,
    /// When the provider was last asked; whoever holds the lock asks.
    asked: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Fetched {
    keys: Vec<VerificationKey>,
    at: Instant,
}

impl KeySet {
    /// Names a key set; it is fetched when the first token arrives.
    ///
    /// # Errors
    /// What is wrong with the address, in words.
    pub(super) fn new(url: &str) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        let is_local = url.host_str().is_some_and(|host| {
            host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        });
        if url.scheme() != "https" && !(url.scheme() == "http" && is_local) {
            return Err(format!("`{url}` is not safe from changes on the way, expected `https://…`"));
        }
        // Another part of the program may have chosen it already; it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // What an address on the list redirects to is not on the list.
        let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(Policy::none()).build();
        let client = client.map_err(|error| format!("no HTTP client for `{url}`: {error}"))?;
        let shared = Shared { url, client, current: ArcSwapOption::empty(), asked: Mutex::new(None) };
        Ok(Self(Arc::new(shared)))
    }

    /// Finds the key of a token. A key that is not known makes the provider be asked, at most once in the cool-down,
    /// however many tokens claim however many keys.
    ///
    /// # Errors
    /// [`AuthError::UnknownKey`], or [`AuthError::KeysUnavailable`] while there never was an answer.
    pub(super) async fn find(&self, header: &Header) -> Result<VerificationKey, AuthError> {
        if let Some(fetched) = self.0.current.load().as_deref()
            && let Some(key) = fetched.find(header)
        {
            if fetched.at.elapsed() > FRESH_FOR {
                self.refresh_in_background();
            }
            return Ok(key.clone());
        }
        self.0.refresh(true).await;
        match self.0.current.load().as_deref() {
            None => Err(AuthError::KeysUnavailable),
            Some(fetched) => fetched.find(header).cloned().ok_or(AuthError::UnknownKey),
        }
    }

    fn refresh_in_background(&self) {
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move { shared.refresh(false).await });
    }
}

impl Shared {
    /// Asks the provider unless it was asked just now. With `wait` callers queue behind the one who asks.
    async fn refresh(&self, wait: bool) {
        let mut asked = if wait {
            self.asked.lock().await
        } else {
            let Ok(asked) = self.asked.try_lock() else { return };
            asked
        };
        if asked.is_some_and(|asked| asked.elapsed() < COOL_DOWN) {
            return;
        }
        *asked = Some(Instant::now());
        match self.fetch().await {
            Ok(keys) => {
                info!(url = %self.url, keys = keys.len(), "public keys fetched");
                self.current.store(Some(Arc::new(Fetched { keys, at: Instant::now() })));
            }
            Err(reason) => warn!(url = %self.url, reason, "public keys not fetched; those known go on"),
        }
    }

    async fn fetch(&self) -> Result<Vec<VerificationKey>, String> {
        let mut response = self.client.get(self.url.clone()).send().await.map_err(|error| error.to_string())?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| error.to_string())? {
            if document.len() + chunk.len() > MAX_DOCUMENT_BYTES {
                return Err(format!("it has more than {MAX_DOCUMENT_BYTES} bytes"));
            }
            document.extend_from_slice(&chunk);
        }
        match VerificationKey::from_key_set(&document)? {
            keys if keys.is_empty() => Err("it has no key for RS256, ES256 or EdDSA".to_owned()),
            keys => Ok(keys),
        }
    }
}

impl Fetched {
    /// Finds the key that a token names; one that names none can only mean the only key of its algorithm.
    fn find(&self, header: &Header) -> Option<&VerificationKey> {
        let mut of_algorithm = self.keys.iter().filter(|key| is_for(key, header.alg));
        match &header.kid {
            Some(id) => of_algorithm.find(|key| key.id.as_ref() == Some(id)),
            None => of_algorithm.next().filter(|_| of_algorithm.next().is_none()),
        }
    }
}

fn is_for(key: &VerificationKey, algorithm: Algorithm) -> bool {
    key.algorithm == algorithm
}
