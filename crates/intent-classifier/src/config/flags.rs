//! Where feature flags come from.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use confique::Config;

use super::ConfigError;
use crate::flags;

/// Where feature flags come from. Flags are set by the file named here, by `FEATURE_FLAG_<NAME>_ENABLED` and
/// `FEATURE_FLAG_<NAME>_ROLLOUT` in the environment, and over HTTP, see [feature-flags.md](feature-flags.md).
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct FlagSettings {
    /// TOML or JSON file of feature flags. It is read again when it changes.
    #[config(env = "FEATURE_FLAGS_FILE")]
    #[config(validate = not_empty)]
    pub(crate) file: Option<PathBuf>,

    /// How often to look whether that file has changed, in milliseconds; 0 for never.
    #[config(env = "FEATURE_FLAGS_POLL_MS", default = 2000)]
    #[config(validate(*poll_ms == 0 || (10..=3_600_000).contains(poll_ms), "expected 0, or 10 to 3600000 milliseconds"))]
    pub(crate) poll_ms: u64,

    /// How often guarded rollouts are looked at, in milliseconds: what was observed is stored, guards are tested, steps taken.
    #[config(env = "ROLLOUT_CHECK_INTERVAL_MS", default = 5000)]
    #[config(validate((50..=3_600_000).contains(rollout_check_interval_ms), "expected 50 to 3600000 milliseconds"))]
    pub(crate) rollout_check_interval_ms: u64,

    /// Share of the traffic that takes part in the experiment on routing strategies, 0 to 1. It needs the flag
    /// `ab_testing`. Unset: 0.
    #[config(env = "AB_TEST_PERCENTAGE")]
    #[config(validate((0.0..=1.0).contains(experiment_share), "the share of the traffic must be 0 to 1"))]
    pub(crate) experiment_share: Option<f64>,
}

impl FlagSettings {
    /// Returns how often to look at the file; `None` for never.
    pub(crate) fn poll_interval(&self) -> Option<Duration> {
        (self.poll_ms > 0).then(|| Duration::from_millis(self.poll_ms))
    }

    /// Returns how often to look at guarded rollouts.
    pub(crate) fn rollout_check_interval(&self) -> Duration {
        Duration::from_millis(self.rollout_check_interval_ms)
    }

    /// Reads file and environment, to find out whether they can be used.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        flags::read_environment()?;
        flags::read_file(self)?;
        Ok(())
    }
}

fn not_empty(path: &impl AsRef<Path>) -> Result<(), &'static str> {
    if path.as_ref().as_os_str().is_empty() { Err("the path must not be empty") } else { Ok(()) }
}
