//! Who calls: JSON Web Tokens and API keys. Knows headers, but no routes and no responses.

mod api_keys;
mod jwks;
mod key;
mod scope;
mod signature;
mod token;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

pub(crate) use self::{
    api_keys::{ApiKeys, NewKey},
    scope::{Scope, Scopes},
    token::TokenVerifier,
};
use uuid::Uuid;

use crate::{
    config::{AuthSettings, ConfigError},
    storage::Storage,
};

/// Carries an API key.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Tells who calls.
#[derive(Debug)]
pub(crate) struct Authenticator {
    enabled: bool,
    tokens: TokenVerifier,
    api_keys: Option<Arc<ApiKeys>>,
}

/// A caller whose proof was good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authenticated {
    /// Who it is.
    pub(crate) identity: Identity,
    /// What he may do.
    pub(crate) scopes: Scopes,
}

/// Who somebody is, by the proof he showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The subject of a token.
    Token {
        /// `user_id` of the token, else its `sub`.
        subject: Arc<str>,
    },
    /// The holder of an API key.
    ApiKey {
        /// Names the key in lists and logs.
        id: Uuid,
        /// What it is for.
        name: Arc<str>,
    },
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// No proof was shown.
    #[error("this path needs a token or an API key: `Authorization: Bearer …` or `X-API-Key: …`")]
    Missing,
    /// Proofs of two kinds, or the same header twice.
    #[error("the request has more than one token or API key, expected one")]
    Ambiguous,
    /// Another scheme than `Bearer`, or not ASCII.
    #[error("the `Authorization` header is not of the form `Bearer TOKEN`")]
    Malformed,
    /// A token that is not valid, and why.
    #[error("the token is not valid: {0}")]
    InvalidToken(&'static str),
    /// A token signed with a key that the identity provider does not publish.
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    /// An API key that was never made, or is revoked.
    #[error("the API key is not valid")]
    UnknownApiKey,
    /// The identity provider never answered, or the database with the API keys.
    #[error("what is needed to check the token or API key cannot be fetched")]
    KeysUnavailable,
}

impl Authenticator {
    /// Prepares for the settings.
    ///
    /// # Errors
    /// As [`TokenVerifier::new`].
    pub(crate) fn new(settings: &AuthSettings) -> Result<Self, ConfigError> {
        Ok(Self { enabled: settings.enabled, tokens: TokenVerifier::new(settings)?, api_keys: None })
    }

    /// Takes the API keys of a database, too.
    pub(crate) fn with_api_keys(self, storage: Storage) -> Self {
        Self { api_keys: Some(Arc::new(ApiKeys::new(storage))), ..self }
    }

    /// Returns the API keys, to be followed while the server runs; nothing when nobody has to show one.
    pub(crate) fn api_keys(&self) -> Option<Arc<ApiKeys>> {
        self.api_keys.clone().filter(|_| self.enabled)
    }

    /// Tells whether callers must show who they are.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Tells whether a token can be valid at all.
    pub(crate) fn takes_tokens(&self) -> bool {
        self.tokens.has_keys()
    }

    /// Tells who sent these headers.
    ///
    /// # Errors
    /// [`AuthError`] when there is no proof, or one that is not good.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Authenticated, AuthError> {
        match (only(headers, &header::AUTHORIZATION)?, only(headers, &X_API_KEY)?) {
            (None, None) => Err(AuthError::Missing),
            (Some(_), Some(_)) => Err(AuthError::Ambiguous),
            (Some(authorization), None) => match bearer(authorization)? {
                key if ApiKeys::is_one(key) => self.find_key(key).await,
                token => self.tokens.verify(token).await,
            },
            (None, Some(key)) => self.find_key(key.to_str().map_err(|_| AuthError::UnknownApiKey)?).await,
        }
    }

    async fn find_key(&self, key: &str) -> Result<Authenticated, AuthError> {
        match &self.api_keys {
            Some(api_keys) => api_keys.find(key).await,
            None => Err(AuthError::UnknownApiKey),
        }
    }
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, AuthError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(AuthError::Ambiguous) } else { Ok(first) }
}

/// Returns the token of an `Authorization` header (RFC 6750, section 2.1).
fn bearer(authorization: &HeaderValue) -> Result<&str, AuthError> {
    let text = authorization.to_str().map_err(|_| AuthError::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(AuthError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() || token.trim().contains(' ') {
        return Err(AuthError::Malformed);
    }
    Ok(token.trim())
}
