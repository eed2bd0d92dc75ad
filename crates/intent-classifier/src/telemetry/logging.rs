//! Log lines on standard error.

use std::{fs::File, io, panic, sync::Arc};

use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use super::traces::Traces;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// Starts logging for the life of the process. A second call changes nothing.
pub(crate) fn start(settings: &LogSettings, traces: Option<&Traces>) {
    start_with(settings, io::stderr, traces);
}

/// Starts logging to nowhere: lines cost what they cost, the system call included, and are not seen.
///
/// # Errors
/// When there is no `/dev/null`.
pub(crate) fn start_unseen(settings: &LogSettings) -> io::Result<()> {
    start_with(settings, Arc::new(File::options().write(true).open("/dev/null")?), None);
    Ok(())
}

fn start_with(
    settings: &LogSettings,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    traces: Option<&Traces>,
) {
    let level = LevelFilter::from(settings.level);
    // Dependencies are heard when they warn; at `trace` everything is.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let filter = ["intent_classifier", "intent_engine", "intent_model", "intent_training"]
        .into_iter()
        .fold(Targets::new().with_default(others), |filter, own| filter.with_target(own, level));

    let lines = fmt::layer().with_writer(writer);
    let lines = match settings.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_span_list(false).with_current_span(false).with_filter(filter).boxed()
        }
        LogFormat::Pretty => lines.with_filter(filter).boxed(),
    };
    if tracing_subscriber::registry().with(lines).with(traces.map(Traces::layer)).try_init().is_ok() {
        panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            error!(location, message = panic.payload_as_str().unwrap_or("a value that is not text"), "panicked");
        }));
    }
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}
