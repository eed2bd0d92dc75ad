//! Encryption on the way.

use std::path::PathBuf;

use confique::Config;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// Encryption on the way. Without a certificate the server speaks plain HTTP, for a proxy in front of it to encrypt.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct TlsSettings {
    /// PEM file of the certificate, intermediate certificates after it. A changed file is taken within seconds, without a
    /// restart.
    #[config(env = "TLS_CERT_FILE")]
    pub(crate) cert_file: Option<PathBuf>,

    /// PEM file of the certificate's private key.
    #[config(env = "TLS_KEY_FILE")]
    pub(crate) key_file: Option<PathBuf>,

    /// PEM file of the authorities whose certificates clients must show. Unset: clients show none.
    #[config(env = "TLS_CLIENT_CA_FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,

    /// Oldest version of TLS that is spoken: `1.2` or `1.3`.
    #[config(env = "TLS_MIN_VERSION", default = "1.2")]
    pub(crate) min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum TlsVersion {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

impl TlsSettings {
    /// Checks that certificate and key are named together and can be used.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        crate::tls::Tls::load(self).map(drop)
    }
}
