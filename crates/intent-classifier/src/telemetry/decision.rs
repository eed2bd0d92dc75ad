//! The one place that counts and logs a decision.

use intent_engine::{Decision, EngineError, Flag};
use tracing::{info, warn};

use super::{logging::ENHANCED_TARGET, metrics::Metrics, traces};
use crate::http::RequestId;

/// The most characters of a text that are logged.
const MAX_EXCERPT_CHARS: usize = 200;

/// Counts a decision, or that there was none, and writes its log line. Of the text the line has the beginning, and only
/// when the subject has `enhanced_logging`; such a line is marked, and written at every log level but `off`.
pub(crate) fn record(metrics: &Metrics, request_id: RequestId, decision: Result<&Decision, &EngineError>, text: &str) {
    match decision {
        Ok(decision) => {
            metrics.decided(decision);
            let best = decision.best();
            macro_rules! log {
                ($target:expr $(, $name:ident = $value:expr)*) => {
                    info!(
                        target: $target,
                        %request_id,
                        intent = &*best.intent,
                        confidence = f64::from(best.confidence),
                        model = decision.model.as_str(),
                        model_version = &*decision.model_version,
                        selection = decision.selection.as_str(),
                        strategy = decision.strategy.as_str(),
                        experiment_group = decision.experiment_group.as_str(),
                        cached = decision.cached,
                        degraded = decision.degraded,
                        latency_ms = decision.timings.total.as_micros() as f64 / 1000.0,
                        trace_id = traces::current_trace_id(),
                        $($name = $value,)*
                        "classified"
                    )
                };
            }
            if !decision.flags.contains(Flag::EnhancedLogging) {
                log!("intent_classifier::decision");
                return;
            }
            let enhanced = Enhanced::of(decision, text);
            log!(
                ENHANCED_TARGET,
                enhanced_logging = true,
                text = enhanced.text.text,
                text_truncated = enhanced.text.is_truncated,
                reasons = enhanced.reasons,
                fallbacks = enhanced.fallbacks,
                models_ms = enhanced.models_ms
            );
        }
        Err(error) => {
            metrics.undecided(error);
            warn!(%request_id, %error, "not classified");
        }
    }
}

/// What a line says for those who have `enhanced_logging`: the beginning of the text, and how the decision came about.
struct Enhanced {
    text: Excerpt,
    reasons: String,
    fallbacks: String,
    models_ms: String,
}

impl Enhanced {
    fn of(decision: &Decision, text: &str) -> Self {
        let fallbacks = decision.fallbacks.iter().map(|step| format!("{} -> {}: {}", step.from, step.to, step.reason));
        let models = decision.timings.models.iter();
        let models_ms = models.map(|(kind, took)| format!("{kind} {:.3}", took.as_secs_f64() * 1000.0));
        Self {
            text: Excerpt::of(text),
            reasons: decision.reasons.join("; "),
            fallbacks: fallbacks.collect::<Vec<_>>().join("; "),
            models_ms: models_ms.collect::<Vec<_>>().join("; "),
        }
    }
}

/// The beginning of a user's text: as much as is kept or logged of it where that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// At most 200 characters, and an ellipsis when there is more.
    pub(crate) text: String,
    /// Whether there is more.
    pub(crate) is_truncated: bool,
}

impl Excerpt {
    /// Takes the beginning of a text.
    pub(crate) fn of(text: &str) -> Self {
        match text.char_indices().nth(MAX_EXCERPT_CHARS) {
            Some((end, _)) => Self { text: format!("{}…", &text[..end]), is_truncated: true },
            None => Self { text: text.to_owned(), is_truncated: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_marked() {
        for (text, expected, is_truncated) in [
            ("hello".to_owned(), "hello".to_owned(), false),
            ("漢".repeat(200), "漢".repeat(200), false),
            ("漢".repeat(201), format!("{}…", "漢".repeat(200)), true),
        ] {
            assert_eq!(Excerpt::of(&text), Excerpt { text: expected, is_truncated });
        }
    }
}
