//! Log lines as JSON, one object a line, written as the fields come: every decision is a line, so that what a line costs is
//! most of what observing the service costs.

use std::{
    fmt::{self, Debug, Write},
    time::SystemTime,
};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The bytes of the line of a decision, about.
const USUAL_BYTES: usize = 512;
const STRINGS_GROW: &str = "a string takes all that is written to it";

/// Writes `timestamp`, `level`, the fields of the event with `message` first, and `target`.
#[derive(Debug)]
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        // The writer is behind a pointer; many small writes are far cheaper here.
        let mut line = String::with_capacity(USUAL_BYTES);
        line.push_str(r#"{"timestamp":""#);
        write!(line, "{}", humantime::format_rfc3339_micros(SystemTime::now()))?;
        line.push_str(r#"","level":""#);
        line.push_str(metadata.level().as_str());
        line.push('"');
        event.record(&mut Fields { line: &mut line });
        line.push_str(r#","target":""#);
        line.push_str(metadata.target());
        line.push_str("\"}\n");
        writer.write_str(&line)
    }
}

/// The fields of a line.
struct Fields<'a> {
    line: &'a mut String,
}

impl Fields<'_> {
    fn name(&mut self, field: &Field) {
        self.line.push_str(",\"");
        self.line.push_str(field.name());
        self.line.push_str("\":");
    }

    /// Writes a name, and its value as it stands.
    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.name(field);
        self.line.write_fmt(value).expect(STRINGS_GROW);
    }

    /// Writes a name, and its value as a string.
    fn quoted(&mut self, field: &Field, write: impl FnOnce(&mut Escaping<'_>) -> fmt::Result) {
        self.name(field);
        self.line.push('"');
        // A value that cannot be shown is cut where it fails; the line goes on.
        let _ = write(&mut Escaping(self.line));
        self.line.push('"');
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for the others.
        if value.is_finite() {
            self.plain(field, format_args!("{value:?}"));
        } else {
            self.plain(field, format_args!("null"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        self.line.push_str(if value { "true" } else { "false" });
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.quoted(field, |escaping| escaping.write_str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.quoted(field, |escaping| write!(escaping, "{value:?}"));
    }
}

/// Escapes what may not stand in a JSON string (RFC 8259, section 7).
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            self.0.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                other => write!(self.0, "\\u{other:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}
