//! The model server that computes `distilbert` in place of this process.

use std::{fmt, path::PathBuf, time::Duration};

use confique::Config;
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// The model server that computes `distilbert` in place of this process: TorchServe, or any that speaks the Open
/// Inference Protocol.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct RemoteSettings {
    /// Whether `distilbert` is asked of a model server. It also turns the flag `distilbert_model` on.
    #[config(env = "USE_TORCHSERVE", default = false)]
    pub(crate) enabled: bool,

    /// What the model server speaks: `torchserve`, or `open_inference` (version 2 over REST, as MLServer, Triton and
    /// KServe do).
    #[config(env = "REMOTE_PROTOCOL", default = "torchserve")]
    pub(crate) protocol: RemoteProtocol,

    /// `http` or `https`.
    #[config(env = "TORCHSERVE_SCHEME", default = "http")]
    pub(crate) scheme: Scheme,

    /// Host of the model server.
    #[config(env = "TORCHSERVE_HOST", default = "127.0.0.1")]
    pub(crate) host: String,

    /// Port for inference.
    #[config(env = "TORCHSERVE_PORT", default = 8080)]
    pub(crate) port: u16,

    /// Port on which TorchServe tells how many workers are ready. Health does without when it cannot be reached.
    #[config(env = "TORCHSERVE_MANAGEMENT_PORT", default = 8081)]
    pub(crate) management_port: u16,

    /// Name of the model on the model server.
    #[config(env = "TORCHSERVE_MODEL_NAME", default = "intent_classifier")]
    pub(crate) model_name: String,

    /// Version of the model on the model server. Unset: the default version there.
    #[config(env = "TORCHSERVE_MODEL_VERSION")]
    pub(crate) model_version: Option<String>,

    /// How long a call may take, in milliseconds; what is left of the request's latency budget counts as well.
    #[config(env = "TORCHSERVE_TIMEOUT_MS", default = 1000)]
    #[config(validate((1..=600_000).contains(timeout_ms), "a call may take 1 to 600000 milliseconds"))]
    pub(crate) timeout_ms: u64,

    /// Most calls at once; further texts wait for their turn. Stay below the model server's queue (100 in TorchServe).
    #[config(env = "TORCHSERVE_MAX_IN_FLIGHT", default = 64)]
    #[config(validate((1..=10_000).contains(max_in_flight), "there must be 1 to 10000 calls at once"))]
    pub(crate) max_in_flight: usize,

    /// File with the bearer token: the token alone, or TorchServe's `key_file.json`. Read again when the token is
    /// refused.
    #[config(env = "TORCHSERVE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// What a model server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RemoteProtocol {
    Torchserve,
    OpenInference,
}

/// How a model server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl fmt::Display for RemoteProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchserve => "torchserve",
            Self::OpenInference => "open_inference",
        })
    }
}

impl RemoteSettings {
    /// Returns how long a call may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Returns where inference is.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when `TORCHSERVE_HOST` is no host.
    pub(crate) fn inference_url(&self) -> Result<Url, ConfigError> {
        self.url(self.port)
    }

    /// Returns where management is.
    ///
    /// # Errors
    /// As [`RemoteSettings::inference_url`].
    pub(crate) fn management_url(&self) -> Result<Url, ConfigError> {
        self.url(self.management_port)
    }

    fn url(&self, port: u16) -> Result<Url, ConfigError> {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let is_bare_ipv6 = self.host.contains(':') && !self.host.starts_with('[');
        let host = if is_bare_ipv6 { format!("[{}]", self.host) } else { self.host.clone() };
        let is_host =
            |url: &Url| url.path() == "/" && url.username().is_empty() && url.port_or_known_default() == Some(port);
        Url::parse(&format!("{scheme}://{host}:{port}/")).ok().filter(is_host).ok_or_else(|| ConfigError::Invalid {
            variable: "TORCHSERVE_HOST",
            reason: format!("`{}` is no host; expected a name or an address, without scheme or port", self.host),
        })
    }

    /// Checks what no field can check alone.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.inference_url()?;
        let is_name = |name: &str| {
            let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
            name.chars().all(allowed) && name.chars().any(|character| character != '.')
        };
        let names = [
            ("TORCHSERVE_MODEL_NAME", Some(&self.model_name)),
            ("TORCHSERVE_MODEL_VERSION", self.model_version.as_ref()),
        ];
        for (variable, name) in names {
            if let Some(name) = name.filter(|name| !is_name(name)) {
                let reason = format!("`{name}` is no name; expected letters, digits, `.`, `_` and `-`");
                return Err(ConfigError::Invalid { variable, reason });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn with(change: impl FnOnce(&mut RemoteSettings)) -> RemoteSettings {
        let mut settings = Settings::defaults().remote;
        change(&mut settings);
        settings
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for (host, url) in [
            ("torchserve-prod", "http://torchserve-prod:8080/"),
            ("10.0.0.7", "http://10.0.0.7:8080/"),
            ("::1", "http://[::1]:8080/"),
            ("[::1]", "http://[::1]:8080/"),
        ] {
            let settings = with(|settings| settings.host = host.to_owned());
            assert_eq!(settings.inference_url().expect("it is a host").as_str(), url);
        }
        for host in ["", "http://x", "x:80", "x/y", "user@x", "a b", "x?y", "x#y"] {
            let message = with(|settings| settings.host = host.to_owned()).check().expect_err(host).to_string();
            assert!(message.starts_with("`TORCHSERVE_HOST`: "), "{message}");
        }
    }

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        for name in ["", "..", "a/b", "a b", "../predictions", "ä", "a?b"] {
            assert!(with(|settings| settings.model_name = name.to_owned()).check().is_err(), "{name}");
            assert!(with(|settings| settings.model_version = Some(name.to_owned())).check().is_err(), "{name}");
        }
        assert!(with(|settings| settings.model_version = Some("1.0".to_owned())).check().is_ok());
    }
}
