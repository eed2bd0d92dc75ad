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

use super::{json_line::JsonLine, traces::Traces};
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
        LogFormat::Json => lines.event_format(JsonLine).with_filter(filter).boxed(),
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

    /// Returns the lines that `log` writes, as JSON.
    fn lines_of(level: LogLevel, log: impl FnOnce()) -> Vec<serde_json::Value> {
        let kept = Kept::default();
        let writer = {
            let kept = kept.clone();
            move || kept.clone()
        };
        let settings = LogSettings { level, format: LogFormat::Json };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines(&settings, writer)), log);
        let bytes = kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let text = String::from_utf8(bytes).expect("lines are UTF-8");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    #[test]
    fn a_line_is_an_object_whatever_its_fields_hold() {
        let text = "quote \" backslash \\ line\nbreak tab\t bell\u{7} escape\u{1b}[31m \u{202e} 漢 🙂";
        let lines = lines_of(LogLevel::Info, || {
            let (text_truncated, absent) = (true, None::<&str>);
            info!(
                target: "intent_classifier",
                text,
                display = %text,
                debug = ?text,
                text_truncated,
                absent,
                whole = 3.0,
                none = f64::NAN,
                most = u64::MAX,
                least = i64::MIN,
                "{text}"
            );
        });
        let [line] = &lines[..] else { panic!("one line expected: {lines:?}") };
        let timestamp = line["timestamp"].as_str().expect("it says when");
        assert!(humantime::parse_rfc3339(timestamp).is_ok(), "{timestamp}");
        let mut expected = serde_json::json!({
            "level": "INFO", "target": "intent_classifier", "message": text, "text": text, "display": text,
            "debug": format!("{text:?}"), "text_truncated": true, "whole": 3.0, "none": null, "most": u64::MAX,
            "least": i64::MIN,
        });
        expected["timestamp"] = timestamp.into();
        assert_eq!(line, &expected);
    }

    #[test]
    fn the_flag_is_the_log_level_of_those_who_have_it() {
        for (level, expected) in [
            (LogLevel::Info, &["usual", "enhanced", "trouble"][..]),
            (LogLevel::Warn, &["enhanced", "trouble"]),
            (LogLevel::Error, &["enhanced"]),
            (LogLevel::Off, &[]),
        ] {
            let lines = lines_of(level, || {
                info!(target: "intent_classifier::decision", "usual");
                info!(target: ENHANCED_TARGET, "enhanced");
                warn!(target: "intent_classifier", "trouble");
            });
            let messages: Vec<&str> = lines.iter().filter_map(|line| line["message"].as_str()).collect();
            assert_eq!(messages, expected, "{level:?}");
        }
    }
}
