//! What is logged.

use confique::Config;
use serde::{Deserialize, Serialize};

/// What is logged. Log lines go to standard error and never hold a user's text.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct LogSettings {
    /// Least severe line that is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    #[config(env = "LOG_LEVEL", default = "info")]
    pub(crate) level: LogLevel,

    /// `json`, one object a line, or `pretty` for people.
    #[config(env = "LOG_FORMAT", default = "json")]
    pub(crate) format: LogFormat,
}

/// How severe a line must be to be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    Json,
    Pretty,
}
