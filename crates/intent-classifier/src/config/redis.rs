//! The cache that all replicas share.

use std::time::Duration;

use confique::Config;

use super::{ConfigError, Secret};

/// Redis, the cache that all replicas share. Unset `url` and `host`: each process has its own cache only.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct RedisSettings {
    /// Where Redis is: `redis://[user:password@]host[:port][/database]`, or `redis+unix:///path/to/socket`. Wins over
    /// `host`, `port` and `password`.
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
    /// [`ConfigError::Invalid`] when `REDIS_URL` is none that can be used. The message does not repeat it, as it may hold
    /// a password.
    pub(crate) fn client(&self) -> Result<Option<redis::Client>, ConfigError> {
        let invalid = |variable, reason: String| ConfigError::Invalid { variable, reason };
        let client = match (self.url.as_ref().map(Secret::reveal), &self.host) {
            (Some(url), _) if url.starts_with("rediss://") || url.starts_with("valkeys://") => {
                let reason = "TLS to Redis is not supported; put a TLS proxy beside the service and name that";
                return Err(invalid("REDIS_URL", reason.to_owned()));
            }
            (Some(url), _) => redis::Client::open(url).map_err(|error| {
                invalid("REDIS_URL", format!("{error}; expected `redis://[user:password@]host[:port][/database]`"))
            })?,
            (None, Some(host)) => {
                let address = redis::ConnectionAddr::Tcp(host.clone(), self.port);
                let mut login = redis::RedisConnectionInfo::default();
                if let Some(password) = &self.password {
                    login = login.set_password(password.reveal());
                }
                redis::IntoConnectionInfo::into_connection_info(address)
                    .and_then(|info| redis::Client::open(info.set_redis_settings(login)))
                    .map_err(|error| invalid("REDIS_HOST", error.to_string()))?
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: Option<&str>, host: Option<&str>) -> Result<Option<redis::Client>, ConfigError> {
        let secret = |text: &str| serde_json::from_value(text.into()).expect("any text is one");
        let (url, host, password) = (url.map(secret), host.map(str::to_owned), Some(secret("pass/word")));
        RedisSettings { url, host, port: 6380, password, timeout_ms: 20 }.client()
    }

    fn address(client: Result<Option<redis::Client>, ConfigError>) -> String {
        client.expect("it can be used").expect("it is configured").get_connection_info().addr().to_string()
    }

    #[test]
    fn redis_is_named_by_url_or_by_host_and_the_url_wins() {
        assert!(client(None, None).expect("it can be used").is_none());
        assert_eq!(address(client(None, Some("cache"))), "cache:6380");
        assert_eq!(address(client(Some("redis://other:7000/2"), Some("cache"))), "other:7000");
        let by_host = client(None, Some("cache")).expect("it can be used").expect("it is configured");
        assert_eq!(by_host.get_connection_info().redis_settings().password(), Some("pass/word"));
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_without_repeating_its_password() {
        for url in ["cache:6379", "http://:hunter2@cache", "rediss://:hunter2@cache", "redis://:hunter2@cache/x"] {
            let message = client(Some(url), None).expect_err(url).to_string();
            assert!(message.starts_with("`REDIS_URL`: ") && !message.contains("hunter2"), "{message}");
        }
    }
}
