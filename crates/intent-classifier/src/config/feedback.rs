//! How feedback is kept.

use confique::Config;

/// How feedback is kept, and for how long.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct FeedbackSettings {
    /// Most bytes of feedback that wait on disk while the database takes no changes; more is refused with 507.
    #[config(env = "FEEDBACK_SPOOL_MAX_BYTES", default = 1073741824)]
    pub(crate) spool_max_bytes: u64,

    /// Days after which feedback is deleted. Unset: it is kept.
    #[config(env = "FEEDBACK_RETENTION_DAYS")]
    #[config(validate(*retention_days > 0, "feedback must be kept for at least a day"))]
    pub(crate) retention_days: Option<u32>,

    /// Days after which what experiments recorded of single requests is deleted. Unset: it is kept.
    #[config(env = "EXPOSURE_RETENTION_DAYS")]
    #[config(validate(*exposure_retention_days > 0, "exposures must be kept for at least a day"))]
    pub(crate) exposure_retention_days: Option<u32>,
}
