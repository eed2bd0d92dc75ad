//! The cache that all replicas share.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use confique::Config;
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates,
};

use super::{ConfigError, Secret};
use crate::tls;

/// Redis, the cache that all replicas share. Unset `url` and `host`: each process has its own cache only.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct RedisSettings {
    /// Where Redis is: `redis://[user:password@]host[:port][/database]`, `rediss://` the same encrypted, or
    /// `redis+unix:///path/to/socket`. Wins over `host`, `port`, `password` and `tls`.
    #[config(env = "REDIS_URL")]
    pub(crate) url: Option<Secret>,

    /// Host of Redis, where there is no `url`.
    #[config(env = "REDIS_HOST")]
    pub(crate) host: Option<String>,

    /// Port of Redis.
    #[config(env = "REDIS_PORT", default = 6379)]
    pub(crate) port: u16,

    /// Password of Redis.
    #[config(env = "REDIS_PASSWORD")]
    pub(crate) password: Option<Secret>,

    /// Whether the way to Redis is encrypted, where there is no `url`.
    #[config(env = "REDIS_TLS", default = false)]
    pub(crate) tls: bool,

    /// PEM file of the authorities that may have issued Redis' certificate. Unset: those that the system trusts.
    #[config(env = "REDIS_TLS_CA_FILE")]
    pub(crate) tls_ca_file: Option<PathBuf>,

    /// PEM file of the certificate that is shown to Redis, which asks for one unless it is told not to
    /// (`tls-auth-clients no`).
    #[config(env = "REDIS_TLS_CERT_FILE")]
    pub(crate) tls_cert_file: Option<PathBuf>,

    /// PEM file of that certificate's private key.
    #[config(env = "REDIS_TLS_KEY_FILE")]
    pub(crate) tls_key_file: Option<PathBuf>,

    /// How long a look-up may take, in milliseconds. A request never waits longer for Redis, and not at all while it
    /// keeps failing.
    #[config(env = "REDIS_TIMEOUT_MS", default = 20)]
    #[config(validate((1..=1000).contains(timeout_ms), "a look-up in Redis may take 1 to 1000 milliseconds"))]
    pub(crate) timeout_ms: u64,
}

impl RedisSettings {
    /// Returns how long a look-up may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Returns how to reach Redis; `None` when none is configured.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when `REDIS_URL` is none that can be used, or a certificate cannot be read. The message does
    /// not repeat the URL, as it may hold a password.
    pub(crate) fn client(&self) -> Result<Option<Client>, ConfigError> {
        let Some(redis) = self.connection_info()? else { return Ok(None) };
        let client = match redis.addr() {
            ConnectionAddr::TcpTls { insecure: true, .. } => {
                let reason = "certificates are always checked; name who issued that of Redis by `REDIS_TLS_CA_FILE`";
                return Err(invalid("REDIS_URL", reason));
            }
            ConnectionAddr::TcpTls { .. } => Client::build_with_tls(redis, self.certificates()?),
            _ if self.tls_ca_file.is_some() || self.tls_cert_file.is_some() => {
                let variable = if self.tls_ca_file.is_some() { "REDIS_TLS_CA_FILE" } else { "REDIS_TLS_CERT_FILE" };
                let reason =
                    "is of no use without encryption: set a `REDIS_URL` that begins with `rediss://`, or `REDIS_TLS`";
                return Err(invalid(variable, reason));
            }
            _ => Client::open(redis),
        };
        client.map(Some).map_err(|error| invalid("REDIS_URL", error.to_string()))
    }

    fn connection_info(&self) -> Result<Option<ConnectionInfo>, ConfigError> {
        match (self.url.as_ref().map(Secret::reveal), &self.host) {
            (Some(url), _) => url.into_connection_info().map(Some).map_err(|error| {
                invalid("REDIS_URL", format!("{error}; expected `redis[s]://[user:password@]host[:port][/database]`"))
            }),
            (None, Some(host)) => {
                let (host, port) = (host.clone(), self.port);
                let address = match self.tls {
                    true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
                    false => ConnectionAddr::Tcp(host, port),
                };
                let mut login = RedisConnectionInfo::default();
                if let Some(password) = &self.password {
                    login = login.set_password(password.reveal());
                }
                let info = address.into_connection_info().map_err(|error| invalid("REDIS_HOST", error.to_string()))?;
                Ok(Some(info.set_redis_settings(login)))
            }
            (None, None) => Ok(None),
        }
    }

    /// Reads the certificates that go with an encrypted connection.
    fn certificates(&self) -> Result<TlsCertificates, ConfigError> {
        let read = |variable, file: &Path| {
            fs::read(file).map_err(|error| invalid(variable, format!("cannot read `{}`: {error}", file.display())))
        };
        let read_certificates = |variable, file: &Path| {
            tls::certificates(file).map_err(|reason| invalid(variable, reason))?;
            read(variable, file)
        };
        let authorities = self.tls_ca_file.as_deref().map(|file| read_certificates("REDIS_TLS_CA_FILE", file));
        let client_tls = match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: read_certificates("REDIS_TLS_CERT_FILE", certificate)?,
                client_key: read("REDIS_TLS_KEY_FILE", key)?,
            }),
            (None, None) => None,
            (Some(_), None) => return Err(invalid("REDIS_TLS_CERT_FILE", "needs `REDIS_TLS_KEY_FILE` beside it")),
            (None, Some(_)) => return Err(invalid("REDIS_TLS_KEY_FILE", "needs `REDIS_TLS_CERT_FILE` beside it")),
        };
        Ok(TlsCertificates { client_tls, root_cert: authorities.transpose()? })
    }
}

fn invalid(variable: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { variable, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: Option<&str>, host: Option<&str>) -> RedisSettings {
        let secret = |text: &str| serde_json::from_value(text.into()).expect("any text is one");
        RedisSettings {
            url: url.map(secret),
            host: host.map(str::to_owned),
            port: 6380,
            password: Some(secret("pass/word")),
            tls: false,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            timeout_ms: 20,
        }
    }

    fn client(settings: &RedisSettings) -> Client {
        settings.client().expect("it can be used").expect("it is configured")
    }

    fn address(settings: &RedisSettings) -> String {
        client(settings).get_connection_info().addr().to_string()
    }

    fn is_encrypted(settings: &RedisSettings) -> bool {
        matches!(client(settings).get_connection_info().addr(), ConnectionAddr::TcpTls { insecure: false, .. })
    }

    #[test]
    fn redis_is_named_by_url_or_by_host_and_the_url_wins() {
        assert!(settings(None, None).client().expect("it can be used").is_none());
        assert_eq!(address(&settings(None, Some("cache"))), "cache:6380");
        assert_eq!(address(&settings(Some("redis://other:7000/2"), Some("cache"))), "other:7000");
        let by_host = client(&settings(None, Some("cache")));
        assert_eq!(by_host.get_connection_info().redis_settings().password(), Some("pass/word"));
    }

    #[test]
    fn it_is_encrypted_when_the_url_or_the_setting_says_so() {
        assert!(is_encrypted(&settings(Some("rediss://cache"), None)));
        assert!(is_encrypted(&RedisSettings { tls: true, ..settings(None, Some("cache")) }));
        assert!(!is_encrypted(&settings(None, Some("cache"))));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_repeating_its_password() {
        let urls =
            ["cache:6379", "http://:hunter2@cache", "rediss://:hunter2@cache/#insecure", "redis://:hunter2@cache/x"];
        for url in urls {
            let message = settings(Some(url), None).client().expect_err(url).to_string();
            assert!(message.starts_with("`REDIS_URL`: ") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn certificates_that_cannot_be_used_are_refused_by_the_name_of_their_setting() {
        let folder = tempfile::TempDir::new().expect("there is room for a folder");
        let missing = || Some(folder.path().join("missing.pem"));
        let empty = folder.path().join("empty.pem");
        fs::write(&empty, "no certificate").expect("a file can be written");
        let encrypted = || settings(Some("rediss://cache"), None);
        let cases = [
            (RedisSettings { tls_ca_file: missing(), ..encrypted() }, "`REDIS_TLS_CA_FILE`: cannot read"),
            (RedisSettings { tls_ca_file: Some(empty), ..encrypted() }, "`REDIS_TLS_CA_FILE`: "),
            (
                RedisSettings { tls_cert_file: missing(), ..encrypted() },
                "`REDIS_TLS_CERT_FILE`: needs `REDIS_TLS_KEY_FILE`",
            ),
            (
                RedisSettings { tls_key_file: missing(), ..encrypted() },
                "`REDIS_TLS_KEY_FILE`: needs `REDIS_TLS_CERT_FILE`",
            ),
            (
                RedisSettings { tls_ca_file: missing(), ..settings(Some("redis://cache"), None) },
                "`REDIS_TLS_CA_FILE`: is of no use without encryption",
            ),
        ];
        for (settings, expected) in cases {
            let message = settings.client().expect_err(expected).to_string();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
