//! The text formats that metrics are scraped in.

use std::fmt::Write;

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exposition {
    /// The classic one, version 0.0.4, which everything reads.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// Chooses by the `Accept` header: OpenMetrics for those who name it and like it at least as much as text.
    pub(crate) fn accepted(accept: Option<&str>) -> Self {
        let (mut open_metrics, mut text): (f32, f32) = (0.0, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            match kind {
                "application/openmetrics-text" => open_metrics = open_metrics.max(quality),
                "text/plain" | "text/*" => text = text.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Returns the content type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Turns a page in OpenMetrics format into this one.
    pub(crate) fn of_open_metrics(self, page: String) -> String {
        match self {
            Self::Prometheus => to_prometheus(&page),
            Self::OpenMetrics => page,
        }
    }
}

/// The samples are the same in both formats; the classic one names the family of a counter with its `_total`, and knows
/// neither units nor an end.
fn to_prometheus(page: &str) -> String {
    let mut classic = String::with_capacity(page.len());
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let written = if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap_or((help, ""));
            let kind = lines.next_if(|next| next.starts_with("# TYPE ")).and_then(|next| next.rsplit(' ').next());
            let suffix = if kind == Some("counter") { "_total" } else { "" };
            let kind = kind.unwrap_or("untyped");
            writeln!(classic, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}")
        } else if line.starts_with("# UNIT ") || line == "# EOF" {
            Ok(())
        } else {
            writeln!(classic, "{line}")
        };
        written.expect("a string takes any text");
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Exposition::accepted(Some(prometheus)), Exposition::OpenMetrics);
        for accept in [None, Some("*/*"), Some("text/plain"), Some("text/html, */*;q=0.8"), Some("")] {
            assert_eq!(Exposition::accepted(accept), Exposition::Prometheus, "{accept:?}");
        }
        let rather_text = "application/openmetrics-text;q=0.2, text/plain;version=0.0.4";
        assert_eq!(Exposition::accepted(Some(rather_text)), Exposition::Prometheus);
        assert_eq!(Exposition::accepted(Some("application/openmetrics-text;q=0")), Exposition::Prometheus);
    }

    #[test]
    fn only_names_of_counters_units_and_the_end_differ() {
        let page = "# HELP cpu_seconds Time.\n# TYPE cpu_seconds counter\n# UNIT cpu_seconds seconds\n\
                    cpu_seconds_total 1.5\n# HELP up Up.\n# TYPE up gauge\nup 1\n# EOF\n";
        let classic = "# HELP cpu_seconds_total Time.\n# TYPE cpu_seconds_total counter\ncpu_seconds_total 1.5\n\
                       # HELP up Up.\n# TYPE up gauge\nup 1\n";
        assert_eq!(Exposition::Prometheus.of_open_metrics(page.to_owned()), classic);
        assert_eq!(Exposition::OpenMetrics.of_open_metrics(page.to_owned()), page);
    }
}
