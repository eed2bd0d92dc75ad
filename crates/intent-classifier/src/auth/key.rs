//! Public keys and secrets, each with the one algorithm it is for.

use std::{fs, path::Path};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// A key, and the algorithm that goes with it: the token never chooses (RFC 8725, section 3.1).
#[derive(Clone, Debug)]
pub(super) struct VerificationKey {
    /// The only algorithm it verifies.
    pub(super) algorithm: Algorithm,
    /// The key itself.
    pub(super) key: DecodingKey,
    /// Its name in a key set.
    pub(super) id: Option<String>,
}

/// The largest key file, in bytes.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;
/// The most keys that are taken from a key set.
const MAX_KEYS: usize = 64;

impl VerificationKey {
    /// Makes the key of tokens signed with HS256.
    pub(super) fn from_secret(secret: &str) -> Self {
        Self { algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret.as_bytes()), id: None }
    }

    /// Reads a public key: RSA, P-256 or Ed25519, in PEM.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub(super) fn from_file(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let size_bytes = fs::metadata(path).map_err(|error| format!("cannot read `{shown}`: {error}"))?.len();
        if size_bytes > MAX_KEY_FILE_BYTES {
            return Err(format!("`{shown}` has {size_bytes} bytes, expected a public key in PEM"));
        }
        let pem = fs::read(path).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
        if String::from_utf8_lossy(&pem).contains("PRIVATE KEY") {
            return Err(format!(
                "`{shown}` holds a private key, which only the issuer of tokens may have; \
                 write its public half with `openssl pkey -in PRIVATE.pem -pubout`"
            ));
        }
        let parsed = DecodingKey::from_ed_pem(&pem)
            .map(|key| (Algorithm::EdDSA, key))
            .or_else(|_| DecodingKey::from_ec_pem(&pem).map(|key| (Algorithm::ES256, key)))
            .or_else(|_| DecodingKey::from_rsa_pem(&pem).map(|key| (Algorithm::RS256, key)));
        let expected = "expected a public key in PEM: RSA of 2048 to 8192 bits, P-256 or Ed25519";
        let (algorithm, key) = parsed.map_err(|_| format!("`{shown}` cannot be read, {expected}"))?;
        match (algorithm, key.try_get_as_bytes().map_or(0, <[u8]>::len)) {
            (Algorithm::EdDSA, 32) | (Algorithm::ES256, 65) => {}
            // The DER of a modulus of 2048 bits has 270 bytes, that of 1024 bits 140.
            (Algorithm::RS256, 260..=1100) => {}
            _ => return Err(format!("`{shown}` is of a kind or size that is not taken, {expected}")),
        }
        Ok(Self { algorithm, key, id: None })
    }

    /// Reads a JSON Web Key Set; keys that cannot verify a token's signature here are left out, symmetric ones always.
    ///
    /// # Errors
    /// What is wrong with the document, in words.
    pub(super) fn from_key_set(document: &[u8]) -> Result<Vec<Self>, String> {
        #[derive(Deserialize)]
        struct KeySet {
            keys: Vec<Value>,
        }
        let set: KeySet =
            serde_json::from_slice(document).map_err(|error| format!("it is not a JSON Web Key Set: {error}"))?;
        Ok(set.keys.into_iter().take(MAX_KEYS).filter_map(Self::from_jwk).collect())
    }

    fn from_jwk(document: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(document).ok()?;
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let (algorithm, name) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        if jwk.common.key_algorithm.as_ref().is_some_and(|stated| *stated != name) {
            return None;
        }
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { algorithm, key, id: jwk.common.key_id })
    }
}
