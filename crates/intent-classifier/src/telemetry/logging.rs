//! Log lines on standard error.

use std::{fs::File, io, panic, sync::Arc};

use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, Registry,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

use super::traces::Traces;
use crate::config::{LogFormat, LogLevel, LogSettings};

/// The target of lines about subjects who have `enhanced_logging`: the flag is their log level.
pub(super) const ENHANCED_TARGET: &str = "intent_classifier::enhanced";

/// Starts logging for the life of the process. A second call changes nothing.
pub(crate) fn start(settings: &LogSettings, traces: Option<&Traces>) {
    let lines = lines(settings, io::stderr);
    if tracing_subscriber::registry().with(lines).with(traces.map(Traces::layer)).try_init().is_ok() {
        panic::set_hook(Box::new(|panic| {
            let location = panic.location().map(ToString::to_string);
            error!(location, message = panic.payload_as_str().unwrap_or("a value that is not text"), "panicked");
        }));
    }
}

/// Starts logging to nowhere: lines cost what they cost, the system call included, and are not seen. Returns a switch
/// that turns all logging off and on again.
///
/// # Errors
/// When there is no `/dev/null`.
pub(crate) fn start_unseen(settings: &LogSettings) -> io::Result<impl Fn(bool)> {
    let lines = lines(settings, Arc::new(File::options().write(true).open("/dev/null")?));
    let (gate, handle) = reload::Layer::new(LevelFilter::TRACE);
    // Where somebody else has started logging there is nothing to switch.
    let _ = tracing_subscriber::registry().with(lines).with(gate).try_init();
    Ok(move |is_on| {
        let _ = handle.reload(if is_on { LevelFilter::TRACE } else { LevelFilter::OFF });
    })
}

/// Returns what writes log lines as the settings say.
fn lines(
    settings: &LogSettings,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> Box<dyn Layer<Registry> + Send + Sync> {
    let level = LevelFilter::from(settings.level);
    // Dependencies are heard when they warn; at `trace` everything is.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let of_flag = if level == LevelFilter::OFF { level } else { level.max(LevelFilter::INFO) };
    let filter = ["intent_classifier", "intent_engine", "intent_model", "intent_training"]
        .into_iter()
        .fold(Targets::new().with_default(others), |filter, own| filter.with_target(own, level))
        .with_target(ENHANCED_TARGET, of_flag);

    let lines = fmt::layer().with_writer(writer);
    match settings.format {
        LogFormat::Json => {
            lines.json().flatten_event(true).with_span_list(false).with_current_span(false).with_filter(filter).boxed()
        }
        LogFormat::Pretty => lines.with_filter(filter).boxed(),
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

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        sync::{Mutex, PoisonError},
    };

    use tracing::{info, warn};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_flag_is_the_log_level_of_those_who_have_it() {
        for (level, expected) in [
            (LogLevel::Info, &["usual", "enhanced", "trouble"][..]),
            (LogLevel::Warn, &["enhanced", "trouble"]),
            (LogLevel::Error, &["enhanced"]),
            (LogLevel::Off, &[]),
        ] {
            let kept = Kept::default();
            let writer = {
                let kept = kept.clone();
                move || kept.clone()
            };
            let settings = LogSettings { level, format: LogFormat::Json };
            let subscriber = tracing_subscriber::registry().with(lines(&settings, writer));
            tracing::subscriber::with_default(subscriber, || {
                info!(target: "intent_classifier::decision", "usual");
                info!(target: ENHANCED_TARGET, "enhanced");
                warn!(target: "intent_classifier", "trouble");
            });
            let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let text = String::from_utf8(bytes).expect("lines are UTF-8");
            let message = |line: &str| {
                let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
                line["message"].as_str().map(str::to_owned)
            };
            let messages: Vec<String> = text.lines().filter_map(message).collect();
            assert_eq!(messages, expected, "{level:?}");
        }
    }
}
