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

/// Writes `timestamp`, `level`, the fields of the event with `message` first, and `target`.
#[derive(Debug)]
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let (metadata, now) = (event.metadata(), humantime::format_rfc3339_micros(SystemTime::now()));
        write!(writer, r#"{{"timestamp":"{now}","level":"{}""#, metadata.level())?;
        let mut fields = Fields { writer: writer.by_ref(), outcome: Ok(()) };
        event.record(&mut fields);
        fields.outcome?;
        write!(writer, r#","target":"{}"}}"#, metadata.target())?;
        writer.write_char('\n')
    }
}

struct Fields<'a> {
    writer: Writer<'a>,
    outcome: fmt::Result,
}

impl Fields<'_> {
    /// Writes a name, and its value as it stands.
    fn plain(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.outcome.is_ok() {
            self.outcome = write!(self.writer, r#","{}":{value}"#, field.name());
        }
    }

    /// Writes a name, and its value as a string.
    fn quoted(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if self.outcome.is_ok() {
            self.outcome = write!(self.writer, r#","{}":""#, field.name())
                .and_then(|()| Escaping(&mut self.writer).write_fmt(value))
                .and_then(|()| self.writer.write_char('"'));
        }
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
        self.plain(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.quoted(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.quoted(field, format_args!("{value:?}"));
    }
}

/// Escapes what may not stand in a JSON string (RFC 8259, section 7).
struct Escaping<'a, 'b>(&'a mut Writer<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(|char: char| char < ' ' || char == '"' || char == '\\') {
            self.0.write_str(&rest[..at])?;
            match rest.as_bytes()[at] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                other => write!(self.0, "\\u{other:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.write_str(rest)
    }
}
