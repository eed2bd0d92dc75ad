//! The cache of answers.

use std::{path::PathBuf, time::Duration};

use confique::Config;
use intent_engine::CacheOptions;

use super::{ConfigError, models::must_exist};

/// The cache of answers in this process.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct CacheSettings {
    /// How long an answer is kept, in seconds.
    #[config(env = "CACHE_TTL", default = 3600)]
    #[config(validate((1..=31_536_000).contains(ttl_seconds), "answers must be kept for 1 to 31536000 seconds"))]
    pub(crate) ttl_seconds: u64,

    /// The most memory that answers take, in megabytes; 0 keeps none.
    #[config(env = "CACHE_MAX_MB", default = 32)]
    #[config(validate(*max_megabytes <= 65_536, "the cache may take at most 65536 megabytes"))]
    pub(crate) max_megabytes: u64,

    /// File of texts to answer at start, so that their answers are in the cache: one text per line, or JSON lines with
    /// `text`. Requests are answered meanwhile.
    #[config(env = "CACHE_WARM_FILE")]
    pub(crate) warm_file: Option<PathBuf>,
}

impl CacheSettings {
    /// Checks that the file that is named exists.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match &self.warm_file {
            Some(path) => must_exist("CACHE_WARM_FILE", path),
            None => Ok(()),
        }
    }

    /// Returns how the cache is bounded.
    pub(crate) fn options(&self) -> CacheOptions {
        CacheOptions { max_bytes: self.max_megabytes << 20, time_to_live: Duration::from_secs(self.ttl_seconds) }
    }
}
