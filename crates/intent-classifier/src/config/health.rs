//! How often the parts of the service are checked.

use std::time::Duration;

use confique::Config;

/// How often the parts of the service are checked. Health endpoints answer from the latest check.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct HealthSettings {
    /// Time between two checks of a model or a dependency, in milliseconds, give or take a tenth.
    #[config(env = "HEALTH_CHECK_INTERVAL_MS", default = 10000)]
    #[config(validate((100..=3_600_000).contains(check_interval_ms), "the time between two checks must be 100 to 3600000"))]
    pub(crate) check_interval_ms: u64,

    /// Longest time a check may take, in milliseconds; what takes longer counts as failed.
    #[config(env = "HEALTH_CHECK_TIMEOUT_MS", default = 2000)]
    #[config(validate((10..=60_000).contains(check_timeout_ms), "the time limit of a check must be 10 to 60000"))]
    pub(crate) check_timeout_ms: u64,

    /// Longest time the async runtime may run none of its tasks, in milliseconds, before `/health/live` fails.
    #[config(env = "HEALTH_MAX_STALL_MS", default = 10000)]
    #[config(validate((100..=600_000).contains(max_stall_ms), "the longest stall must be 100 to 600000"))]
    pub(crate) max_stall_ms: u64,
}

impl HealthSettings {
    /// Returns the time between two checks.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_millis(self.check_interval_ms)
    }

    /// Returns how long a check may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.check_timeout_ms)
    }

    /// Returns how long the async runtime may be stuck.
    pub(crate) fn max_stall(&self) -> Duration {
        Duration::from_millis(self.max_stall_ms)
    }
}
