//! JSON Web Tokens (RFC 7519, with the advice of RFC 8725).

use std::sync::Arc;

use jsonwebtoken::{Header, Validation, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;

use super::{AuthError, Authenticated, Identity, Scopes, jwks::KeySet, key::VerificationKey, signature};
use crate::config::{AuthSettings, ConfigError};

/// The longest token that is looked at, in bytes; real ones have a few hundred to two thousand.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The longest name of a user, in characters.
const MAX_SUBJECT_CHARS: usize = 256;

/// Verifies tokens.
#[derive(Debug)]
pub(crate) struct TokenVerifier {
    keys: Keys,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_seconds: u64,
}

/// Where keys come from.
#[derive(Debug)]
enum Keys {
    /// No token is ever valid.
    None,
    /// A secret or a file.
    One(Box<VerificationKey>),
    /// An identity provider.
    Published(KeySet),
}

/// What is read of a token besides what the library checks.
#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    scope: Option<Names>,
    #[serde(default)]
    scopes: Option<Names>,
    #[serde(default)]
    scp: Option<Names>,
}

/// Scopes as RFC 8693 writes them, or as a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Names {
    Spaced(String),
    List(Vec<String>),
}

impl TokenVerifier {
    /// Reads the key that the settings name.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when a key file or an address cannot be used.
    pub(crate) fn new(settings: &AuthSettings) -> Result<Self, ConfigError> {
        signature::install();
        let invalid = |variable| move |reason| ConfigError::Invalid { variable, reason };
        let keys = if let Some(secret) = &settings.jwt_secret {
            Keys::One(Box::new(VerificationKey::from_secret(secret.reveal())))
        } else if let Some(path) = &settings.jwt_public_key_file {
            Keys::One(Box::new(VerificationKey::from_file(path).map_err(invalid("JWT_PUBLIC_KEY_FILE"))?))
        } else if let Some(url) = &settings.jwt_jwks_url {
            Keys::Published(KeySet::new(url).map_err(invalid("JWT_JWKS_URL"))?)
        } else {
            Keys::None
        };
        Ok(Self {
            keys,
            issuer: settings.jwt_issuer.clone(),
            audience: settings.jwt_audience.clone(),
            leeway_seconds: settings.jwt_leeway_seconds,
        })
    }

    /// Tells whether a token can be valid at all.
    pub(super) fn has_keys(&self) -> bool {
        !matches!(self.keys, Keys::None)
    }

    /// Tells who a token stands for.
    ///
    /// # Errors
    /// [`AuthError`] with what is wrong; never what would have been right.
    pub(super) async fn verify(&self, token: &str) -> Result<Authenticated, AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::InvalidToken("it is too long"));
        }
        let header = decode_header(token).map_err(|_| AuthError::InvalidToken("it is not a JSON Web Token"))?;
        if header.crit.is_some() {
            return Err(AuthError::InvalidToken("it demands extensions that are not known here"));
        }
        let key = self.key(&header).await?;
        let claims =
            decode::<Claims>(token, &key.key, &self.validation(&key)).map_err(|error| explain(error.kind()))?;
        claims.claims.into_authenticated()
    }

    async fn key(&self, header: &Header) -> Result<VerificationKey, AuthError> {
        match &self.keys {
            Keys::None => Err(AuthError::InvalidToken("this server takes API keys only")),
            Keys::One(key) => Ok((**key).clone()),
            Keys::Published(set) => set.find(header).await,
        }
    }

    fn validation(&self, key: &VerificationKey) -> Validation {
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = self.leeway_seconds;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

impl Claims {
    fn into_authenticated(self) -> Result<Authenticated, AuthError> {
        let subject = self.user_id.or(self.sub).ok_or(AuthError::InvalidToken("it names nobody: `sub` is missing"))?;
        // The name goes into logs, audit trails and headers.
        let is_name = !subject.trim().is_empty()
            && subject.chars().count() <= MAX_SUBJECT_CHARS
            && !subject.chars().any(char::is_control);
        if !is_name {
            return Err(AuthError::InvalidToken("its `sub` is empty, too long or has control characters"));
        }
        let scopes = [&self.scope, &self.scopes, &self.scp].into_iter().flatten().flat_map(Names::iter);
        Ok(Authenticated {
            scopes: Scopes::from_names(scopes),
            identity: Identity::Token { subject: Arc::from(subject) },
        })
    }
}

impl Names {
    fn iter(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Self::Spaced(names) => Box::new(names.split(' ')),
            Self::List(names) => Box::new(names.iter().map(String::as_str)),
        }
    }
}

fn explain(kind: &ErrorKind) -> AuthError {
    AuthError::InvalidToken(match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidAlgorithm => "its algorithm is not the one of the key",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => "it never expires: `exp` is missing",
            "iss" => "it names no issuer: `iss` is missing",
            _ => "it names no audience: `aud` is missing",
        },
        ErrorKind::InvalidClaimFormat(_) => "one of its times is not a number",
        ErrorKind::Json(_) => "its claims are not of the expected form",
        _ => "it is not a JSON Web Token",
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Secret, Settings};

    fn verifier() -> TokenVerifier {
        let mut settings = Settings::defaults().auth;
        settings.jwt_secret = Some(Secret::from("bX9/7Zq0w1kP3vT5uR8yN2mC4dF6gH1jL0sA".to_owned()));
        TokenVerifier::new(&settings).expect("a secret needs no file")
    }

    proptest! {
        #[test]
        fn whoever_lacks_the_secret_is_refused(token in r"(ey[A-Za-z0-9_-]{0,60}|[A-Za-z0-9_.=-]{0,40})(\.[A-Za-z0-9_-]{0,80}){0,3}", any in any::<String>()) {
            for token in [token, any] {
                let verified = verifier().verify(&token).now_or_never().expect("a secret is fetched nowhere");
                prop_assert!(verified.is_err());
            }
        }
    }
}
