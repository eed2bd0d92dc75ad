//! What a rollout must not make worse.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// The longest latency that a guard may name.
const MAX_LATENCY_MS: f64 = 3_600_000.0;
/// The shortest: what is finer is not observed.
const MIN_LATENCY_MS: f64 = 0.001;

/// What a guard looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Metric {
    /// Share of the texts that got no decision.
    ErrorRate,
    /// Share of the decisions on the way to which a model was stepped over.
    FallbackRate,
    /// Share of the decisions that were degraded.
    DegradedRate,
    /// Share of the feedback that confirms.
    Accuracy,
    /// Mean latency of the decisions.
    MeanLatency,
    /// The latency that half of the decisions stay below.
    P50,
    /// … that 95 % stay below.
    P95,
    /// … that 99 % stay below.
    P99,
}

/// What is observed of each text, so that a guard can be tested. Higher is worse, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// 1 for a text that got no decision.
    Error,
    /// 1 for a decision with a fallback.
    Fallback,
    /// 1 for a degraded decision.
    Degraded,
    /// 1 for a correction, 0 for a confirmation.
    Wrong,
    /// Milliseconds.
    LatencyMs,
    /// 1 for a decision that took longer.
    SlowerThan(Duration),
}

/// What became of one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No decision.
    Failed,
    /// A decision.
    Decided {
        /// How long it took.
        latency: Duration,
        /// Whether a model was stepped over.
        fell_back: bool,
        /// Whether a model, cache or store that was wanted was not used.
        degraded: bool,
    },
    /// A user's word on a decision.
    Judged {
        /// Whether it was confirmed.
        right: bool,
    },
}

/// A bound on a metric of those who have the feature.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    metric: Metric,
    limit: Limit,
}

/// Where a guard draws the line, in the unit of its metric: percent or milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// At a value.
    Value(f64),
    /// So much worse than those who do not have the feature.
    Control {
        /// How much worse is still well.
        margin: f64,
    },
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 8] = [
        Self::ErrorRate,
        Self::FallbackRate,
        Self::DegradedRate,
        Self::Accuracy,
        Self::MeanLatency,
        Self::P50,
        Self::P95,
        Self::P99,
    ];

    /// Returns the name in guards.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ErrorRate => "error_rate",
            Self::FallbackRate => "fallback_rate",
            Self::DegradedRate => "degraded_rate",
            Self::Accuracy => "accuracy",
            Self::MeanLatency => "mean_latency",
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// Returns the share of the decisions that may be slower than the bound; `None` for what is no quantile.
    pub(super) fn share_above(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P95 => Some(0.05),
            Self::P99 => Some(0.01),
            _ => None,
        }
    }

    fn is_latency(self) -> bool {
        matches!(self, Self::MeanLatency | Self::P50 | Self::P95 | Self::P99)
    }

    fn is_better_when_higher(self) -> bool {
        self == Self::Accuracy
    }
}

impl Guard {
    /// Tells whether errors become more frequent; part of every rollout.
    pub const ERRORS_LIKE_CONTROL: Self = Self { metric: Metric::ErrorRate, limit: Limit::Control { margin: 0.0 } };
    /// Tells whether users find more answers wrong; part of every rollout.
    pub const ACCURACY_LIKE_CONTROL: Self = Self { metric: Metric::Accuracy, limit: Limit::Control { margin: 0.0 } };

    /// Returns what it looks at.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Tells whether it compares those who have the feature with those who do not.
    pub fn compares(&self) -> bool {
        matches!(self.limit, Limit::Control { .. })
    }

    /// Tells whether two guards draw a line of the same kind for the same metric.
    pub(super) fn is_of_the_kind_of(&self, other: &Self) -> bool {
        self.metric == other.metric && self.compares() == other.compares()
    }

    /// Returns what has to be observed to test it.
    pub fn measure(&self) -> Measure {
        match (self.metric, self.limit) {
            (Metric::ErrorRate, _) => Measure::Error,
            (Metric::FallbackRate, _) => Measure::Fallback,
            (Metric::DegradedRate, _) => Measure::Degraded,
            (Metric::Accuracy, _) => Measure::Wrong,
            (Metric::P50 | Metric::P95 | Metric::P99, Limit::Value(limit_ms)) => {
                Measure::SlowerThan(Duration::from_micros((limit_ms * 1e3).round() as u64))
            }
            (Metric::MeanLatency | Metric::P50 | Metric::P95 | Metric::P99, _) => Measure::LatencyMs,
        }
    }

    /// Returns what the mean of its measure may be, or the difference of the means when it compares.
    pub(super) fn harm_limit(&self) -> f64 {
        let value = match self.limit {
            Limit::Value(value) => value,
            Limit::Control { margin } => margin,
        };
        match self.metric {
            Metric::ErrorRate | Metric::FallbackRate | Metric::DegradedRate => value / 100.0,
            Metric::Accuracy if self.compares() => value / 100.0,
            Metric::Accuracy => 1.0 - value / 100.0,
            Metric::MeanLatency => value,
            Metric::P50 | Metric::P95 | Metric::P99 => self.metric.share_above().unwrap_or(value),
        }
    }
}

impl Measure {
    /// Returns what an outcome adds; `None` when it says nothing about this.
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        let one_if = |condition: bool| Some(f64::from(u8::from(condition)));
        match (self, *outcome) {
            (Self::Error, Outcome::Failed) => Some(1.0),
            (Self::Error, Outcome::Decided { .. }) => Some(0.0),
            (Self::Fallback, Outcome::Decided { fell_back, .. }) => one_if(fell_back),
            (Self::Degraded, Outcome::Decided { degraded, .. }) => one_if(degraded),
            (Self::LatencyMs, Outcome::Decided { latency, .. }) => Some(latency.as_secs_f64() * 1e3),
            (Self::SlowerThan(limit), Outcome::Decided { latency, .. }) => one_if(latency > limit),
            (Self::Wrong, Outcome::Judged { right }) => one_if(!right),
            _ => None,
        }
    }

    /// Tells whether it is 0 or 1 for every text.
    pub(super) fn is_share(self) -> bool {
        self != Self::LatencyMs
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error => f.write_str("error"),
            Self::Fallback => f.write_str("fallback"),
            Self::Degraded => f.write_str("degraded"),
            Self::Wrong => f.write_str("wrong"),
            Self::LatencyMs => f.write_str("latency_ms"),
            Self::SlowerThan(limit) => write!(f, "slower_than_{}_us", limit.as_micros()),
        }
    }
}

impl FromStr for Measure {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = [Self::Error, Self::Fallback, Self::Degraded, Self::Wrong, Self::LatencyMs];
        if let Some(measure) = plain.into_iter().find(|measure| measure.to_string() == text) {
            return Ok(measure);
        }
        let limit = text.strip_prefix("slower_than_").and_then(|rest| rest.strip_suffix("_us"));
        let limit = limit.and_then(|limit| limit.parse().ok()).map(Duration::from_micros);
        limit.map(Self::SlowerThan).ok_or_else(|| format!("unknown measure `{text}`"))
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.metric.is_latency() { "ms" } else { "%" };
        let (sign, worse) = if self.metric.is_better_when_higher() { (">", "-") } else { ("<", "+") };
        write!(f, "{}{sign}", self.metric)?;
        match self.limit {
            Limit::Value(value) => write!(f, "{value}{unit}"),
            Limit::Control { margin: 0.0 } => f.write_str("=control"),
            Limit::Control { margin } => write!(f, "=control{worse}{margin}{unit}"),
        }
    }
}

impl FromStr for Guard {
    type Err = String;

    /// Reads `error_rate<1%`, `p95<200ms`, `accuracy>90%`, `error_rate<=control`, `mean_latency<=control+10ms`.
    ///
    /// # Errors
    /// A sentence for the user: what was found and what was expected.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let explained = |problem: String| format!("guard `{text}`: {problem}");
        let Some(at) = text.find(['<', '>', '=']) else {
            return Err(explained("expected a metric, `<` or `>`, and a bound, as in `error_rate<1%`".to_owned()));
        };
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let bound_at = rest.find(|character| !['<', '>', '='].contains(&character)).unwrap_or(rest.len());
        let (sign, bound) = (&rest[..bound_at], rest[bound_at..].trim());
        let metric = Metric::ALL.into_iter().find(|metric| metric.as_str() == name).ok_or_else(|| {
            let known = Metric::ALL.map(|metric| format!("`{metric}`")).join(", ");
            explained(format!("unknown metric `{name}`, expected one of {known}"))
        })?;
        let expected = if metric.is_better_when_higher() { ['>', '<'] } else { ['<', '>'] };
        if !matches!(sign, "<" | "<=" | ">" | ">=") {
            return Err(explained(format!("`{sign}` is no comparison, expected `{}`", expected[0])));
        }
        if !sign.starts_with(expected[0]) {
            let better = if metric.is_better_when_higher() { "higher" } else { "lower" };
            return Err(explained(format!(
                "{better} is better for `{metric}`, so expected `{metric}{}…`",
                expected[0]
            )));
        }
        let Some(margin) = bound.strip_prefix("control") else {
            return Ok(Self { metric, limit: Limit::Value(value(metric, bound).map_err(explained)?) });
        };
        if metric.share_above().is_some() {
            let instead = format!("`{metric}<200ms`, or `mean_latency<=control+10ms`");
            return Err(explained(format!("a quantile is compared with a bound, not with `control`: {instead}")));
        }
        let worse = if metric.is_better_when_higher() { '-' } else { '+' };
        let margin = match margin.trim() {
            "" => 0.0,
            margin => {
                let Some(margin) = margin.strip_prefix(worse) else {
                    return Err(explained(format!("expected `control`, or `control{worse}` and a margin")));
                };
                value(metric, margin.trim()).map_err(explained)?
            }
        };
        Ok(Self { metric, limit: Limit::Control { margin } })
    }
}

/// Reads a value in the unit of a metric: percent or milliseconds.
fn value(metric: Metric, text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim_end().parse::<f64>().ok().filter(|number| number.is_finite());
    if metric.is_latency() {
        let in_ms = text.strip_suffix("ms").and_then(number);
        let in_seconds = || text.strip_suffix('s').and_then(number).map(|seconds| seconds * 1e3);
        return match in_ms.or_else(in_seconds) {
            Some(limit_ms) if (MIN_LATENCY_MS..=MAX_LATENCY_MS).contains(&limit_ms) => Ok(limit_ms),
            Some(_) => Err(format!("`{text}` is no bound of a latency, expected more than 0 and at most an hour")),
            None => Err(format!("`{text}` is no latency, expected a number with its unit, as in `200ms` or `1.5s`")),
        };
    }
    match text.strip_suffix('%').and_then(number) {
        Some(percent) if percent > 0.0 && percent < 100.0 => Ok(percent),
        Some(_) => Err(format!("`{text}` is no bound of a share, expected more than 0 % and less than 100 %")),
        None => Err(format!("`{text}` is no share, expected a percentage, as in `1%`")),
    }
}

impl Serialize for Guard {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guard {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guard(text: &str) -> Guard {
        text.parse().expect("a valid guard")
    }

    #[test]
    fn guards_are_read_as_people_write_them() {
        for (text, canonical, measure, limit) in [
            ("error_rate<1%", "error_rate<1%", Measure::Error, 0.01),
            (" error_rate <= 0.5 % ", "error_rate<0.5%", Measure::Error, 0.005),
            ("fallback_rate<5%", "fallback_rate<5%", Measure::Fallback, 0.05),
            ("degraded_rate<5%", "degraded_rate<5%", Measure::Degraded, 0.05),
            ("accuracy>75%", "accuracy>75%", Measure::Wrong, 0.25),
            ("p95<200ms", "p95<200ms", Measure::SlowerThan(Duration::from_millis(200)), 0.05),
            ("p99<1.5s", "p99<1500ms", Measure::SlowerThan(Duration::from_millis(1500)), 0.01),
            ("p50<2.5ms", "p50<2.5ms", Measure::SlowerThan(Duration::from_micros(2500)), 0.5),
            ("mean_latency<20ms", "mean_latency<20ms", Measure::LatencyMs, 20.0),
            ("error_rate<=control", "error_rate<=control", Measure::Error, 0.0),
            ("error_rate<control+0.5%", "error_rate<=control+0.5%", Measure::Error, 0.005),
            ("accuracy>=control-2%", "accuracy>=control-2%", Measure::Wrong, 0.02),
            ("mean_latency<=control+10ms", "mean_latency<=control+10ms", Measure::LatencyMs, 10.0),
        ] {
            let guard = guard(text);
            assert_eq!((guard.to_string().as_str(), guard.measure()), (canonical, measure), "{text}");
            assert!((guard.harm_limit() - limit).abs() < 1e-12, "{text}: {}", guard.harm_limit());
        }
    }

    #[test]
    fn what_is_no_guard_is_refused_with_what_was_expected() {
        for (text, message) in [
            ("", "expected a metric, `<` or `>`, and a bound"),
            ("error_rate", "expected a metric, `<` or `>`, and a bound"),
            ("errors<1%", "unknown metric `errors`, expected one of `error_rate`"),
            ("error_rate>1%", "lower is better for `error_rate`"),
            ("accuracy<90%", "higher is better for `accuracy`"),
            ("error_rate=1%", "`=` is no comparison, expected `<`"),
            ("error_rate<<1%", "`<<` is no comparison"),
            ("error_rate<1", "`1` is no share, expected a percentage"),
            ("error_rate<0%", "expected more than 0 % and less than 100 %"),
            ("error_rate<NaN%", "`NaN%` is no share"),
            ("error_rate<100%", "expected more than 0 % and less than 100 %"),
            ("p95<200", "`200` is no latency, expected a number with its unit"),
            ("p95<-1ms", "expected more than 0"),
            ("p95<=control", "a quantile is compared with a bound"),
            ("error_rate<=control-1%", "expected `control`, or `control+` and a margin"),
            ("accuracy>=control+1%", "expected `control`, or `control-` and a margin"),
        ] {
            let error = text.parse::<Guard>().expect_err(text);
            assert!(error.contains(message) && error.contains(&format!("`{text}`")), "{text}: {error}");
        }
    }

    #[test]
    fn outcomes_count_for_what_they_say_something_about() {
        let slow = Outcome::Decided { latency: Duration::from_millis(300), fell_back: true, degraded: false };
        let of = |measure: Measure| (measure.of(&slow), measure.of(&Outcome::Failed));
        assert_eq!(of(Measure::Error), (Some(0.0), Some(1.0)));
        assert_eq!(of(Measure::Fallback), (Some(1.0), None));
        assert_eq!(of(Measure::Degraded), (Some(0.0), None));
        assert_eq!(of(Measure::LatencyMs), (Some(300.0), None));
        assert_eq!(of(Measure::SlowerThan(Duration::from_millis(299))), (Some(1.0), None));
        assert_eq!(of(Measure::SlowerThan(Duration::from_millis(300))), (Some(0.0), None));
        assert_eq!(Measure::Wrong.of(&Outcome::Judged { right: false }), Some(1.0));
        assert_eq!(Measure::Wrong.of(&slow), None);
        for measure in [Measure::Wrong, Measure::LatencyMs, Measure::SlowerThan(Duration::from_micros(7))] {
            assert_eq!(measure.to_string().parse(), Ok(measure));
        }
        assert!("slower_than_x_us".parse::<Measure>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_guard_that_reads_the_same_again_or_an_error(text in "[a-z_0-9<>=.%+ -]{0,24}|.*") {
            if let Ok(guard) = text.parse::<Guard>() {
                prop_assert_eq!(guard.to_string().parse(), Ok(guard));
            }
        }

        #[test]
        fn a_guard_survives_being_written(
            metric in prop::sample::select(Metric::ALL.to_vec()), value in 0.001..99.9_f64, compares in any::<bool>(),
        ) {
            let limit = if compares && metric.share_above().is_none() {
                Limit::Control { margin: value }
            } else {
                Limit::Value(value)
            };
            let guard = Guard { metric, limit };
            prop_assert_eq!(guard.to_string().parse(), Ok(guard));
        }
    }
}
