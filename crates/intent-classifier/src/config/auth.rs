//! Who may call.

use std::path::PathBuf;

use confique::Config;
use serde::{Deserialize, Serialize};

use super::{ConfigError, Secret};
use crate::auth::TokenVerifier;

/// Who may call. `docs/security.md` tells how to choose.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct AuthSettings {
    /// Whether callers must show who they are: a JWT or an API key with the scope of the route.
    #[config(env = "AUTH_ENABLED", default = false)]
    pub(crate) enabled: bool,

    /// Secret of tokens signed with HS256, at least 32 bytes. `openssl rand -base64 48` makes one.
    #[config(env = "JWT_SECRET")]
    pub(crate) jwt_secret: Option<Secret>,

    /// PEM file of the public key of tokens: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.
    #[config(env = "JWT_PUBLIC_KEY_FILE")]
    pub(crate) jwt_public_key_file: Option<PathBuf>,

    /// Where an identity provider publishes its public keys (JSON Web Key Set); `https`, or `http` on this machine.
    #[config(env = "JWT_JWKS_URL")]
    pub(crate) jwt_jwks_url: Option<String>,

    /// Issuer (`iss`) that tokens must name. Unset: any.
    #[config(env = "JWT_ISSUER")]
    pub(crate) jwt_issuer: Option<String>,

    /// Audience (`aud`) that tokens must name. Unset: tokens must name none.
    #[config(env = "JWT_AUDIENCE")]
    pub(crate) jwt_audience: Option<String>,

    /// How far the clocks of issuer and server may differ, in seconds.
    #[config(env = "JWT_LEEWAY_SECONDS", default = 30)]
    #[config(validate(*jwt_leeway_seconds <= 300, "the leeway may be at most 300 seconds"))]
    pub(crate) jwt_leeway_seconds: u64,

    /// Health paths that need no authentication: `all`, `probes` (`/health`, `/health/live`, `/health/ready`) or `none`.
    #[config(env = "AUTH_OPEN_HEALTH", default = "probes")]
    pub(crate) open_health: OpenHealth,

    /// Whether `/metrics` needs no authentication.
    #[config(env = "AUTH_OPEN_METRICS", default = true)]
    pub(crate) open_metrics: bool,

    /// Whether `/docs` and `/openapi.json` need no authentication.
    #[config(env = "AUTH_OPEN_DOCS", default = true)]
    pub(crate) open_docs: bool,
}

/// Health paths that need no authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OpenHealth {
    All,
    Probes,
    None,
}

/// The shortest secret of HS256, in bytes (RFC 7518, section 3.2).
const MIN_SECRET_BYTES: usize = 32;
/// A secret with fewer different bytes than this was typed, not drawn.
const MIN_DIFFERENT_BYTES: usize = 10;
/// What examples on the web use as secrets; compared without regard to case, `-` and `_`.
const WELL_KNOWN: [&str; 8] =
    ["changeme", "changethis", "yoursecret", "secretkey", "supersecret", "your256bitsecret", "example", "mysecret"];

impl AuthSettings {
    /// Checks that tokens can be verified, whether or not they have to be shown yet.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(secret) = &self.jwt_secret {
            check_secret(secret.reveal())
                .map_err(|reason| ConfigError::Invalid { variable: "JWT_SECRET", reason: reason.to_owned() })?;
        }
        let ways = [
            ("JWT_SECRET", self.jwt_secret.is_some()),
            ("JWT_PUBLIC_KEY_FILE", self.jwt_public_key_file.is_some()),
            ("JWT_JWKS_URL", self.jwt_jwks_url.is_some()),
        ];
        let mut named = ways.iter().filter(|(_, is_set)| *is_set).map(|(variable, _)| variable);
        if let (Some(first), Some(second)) = (named.next(), named.next()) {
            let reason = format!("`{first}` is set too; tokens are verified in one way only, so unset one of them");
            return Err(ConfigError::Invalid { variable: second, reason });
        }
        TokenVerifier::new(self).map(drop)
    }
}

fn check_secret(secret: &str) -> Result<(), &'static str> {
    const ADVICE_EMPTY: &str = "is empty; unset it, or set the output of `openssl rand -base64 48`";
    const ADVICE_SHORT: &str =
        "has fewer than 32 bytes and can be guessed; set the output of `openssl rand -base64 48`";
    const ADVICE_KNOWN: &str =
        "is an example or repeats itself, so it can be guessed; set the output of `openssl rand -base64 48`";
    if secret.trim().is_empty() {
        return Err(ADVICE_EMPTY);
    }
    if secret.len() < MIN_SECRET_BYTES {
        return Err(ADVICE_SHORT);
    }
    let plain: String = secret.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    let mut bytes = secret.as_bytes().to_vec();
    bytes.sort_unstable();
    bytes.dedup();
    if bytes.len() < MIN_DIFFERENT_BYTES || WELL_KNOWN.iter().any(|known| plain.contains(known)) {
        return Err(ADVICE_KNOWN);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        for weak in [
            "",
            "   ",
            "secret",
            "0123456789012345678901234567890",
            "00000000000000000000000000000000",
            "abcabcabcabcabcabcabcabcabcabcabcabc",
            "your-secret-key-change-in-production",
            "CHANGE_ME_CHANGE_ME_CHANGE_ME_1234567890",
            "my-super-secret-key-that-is-long-enough",
        ] {
            assert!(check_secret(weak).is_err(), "{weak}");
        }
        for strong in ["bX9/7Zq0w1kP3vT5uR8yN2mC4dF6gH1jL0sA", "8f14e45fceea167a5a36dedd4bea2543"] {
            assert_eq!(check_secret(strong), Ok(()), "{strong}");
        }
    }
}
