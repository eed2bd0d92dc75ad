//! Tokens as issuers make them, right and wrong, without the library that verifies them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

/// The secret of the servers that the tests start.
pub(crate) const SECRET: &str = "bX9/7Zq0w1kP3vT5uR8yN2mC4dF6gH1jL0sA";

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// Claims of somebody with these scopes, for the next hour.
pub(crate) fn claims(subject: &str, scopes: &str) -> Value {
    json!({"sub": subject, "scope": scopes, "exp": now() + 3600})
}

/// A token that is valid where [`SECRET`] is the secret.
pub(crate) fn token(subject: &str, scopes: &str) -> String {
    signed(&json!({"alg": "HS256", "typ": "JWT"}), &claims(subject, scopes), |message| {
        hs256(SECRET.as_bytes(), message)
    })
}

/// Puts a token together.
pub(crate) fn signed(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", part(signature))
}

/// Signs with HMAC-SHA256.
pub(crate) fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// Writes a part of a token.
pub(crate) fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
