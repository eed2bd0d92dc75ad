//! The one place that counts and logs a decision.

use intent_engine::{Decision, EngineError, Flag};
use tracing::{info, warn};

use super::{metrics::Metrics, traces};
use crate::http::RequestId;

/// The most characters of a text that are logged.
const MAX_EXCERPT_CHARS: usize = 200;

/// Counts a decision, or that there was none, and writes its log line. Of the text the line has the beginning, and only
/// when the subject has `enhanced_logging`; such a line is marked.
pub(crate) fn record(metrics: &Metrics, request_id: RequestId, decision: Result<&Decision, &EngineError>, text: &str) {
    match decision {
        Ok(decision) => {
            metrics.decided(decision);
            metrics.routing().record(decision);
            let best = decision.best();
            let enhanced = decision.flags.contains(Flag::EnhancedLogging).then(|| Enhanced::of(decision, text));
            let enhanced = enhanced.as_ref();
            info!(
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
                enhanced_logging = enhanced.map(|_| true),
                text = enhanced.map(|enhanced| enhanced.text.as_str()),
                text_truncated = enhanced.map(|enhanced| enhanced.is_truncated),
                reasons = enhanced.map(|enhanced| enhanced.reasons.as_str()),
                fallbacks = enhanced.map(|enhanced| enhanced.fallbacks.as_str()),
                models_ms = enhanced.map(|enhanced| enhanced.models_ms.as_str()),
                "classified"
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
    text: String,
    is_truncated: bool,
    reasons: String,
    fallbacks: String,
    models_ms: String,
}

impl Enhanced {
    fn of(decision: &Decision, text: &str) -> Self {
        let (text, is_truncated) = beginning(text);
        let fallbacks = decision.fallbacks.iter().map(|step| format!("{} -> {}: {}", step.from, step.to, step.reason));
        let models = decision.timings.models.iter();
        let models_ms = models.map(|(kind, took)| format!("{kind} {:.3}", took.as_secs_f64() * 1000.0));
        Self {
            text,
            is_truncated,
            reasons: decision.reasons.join("; "),
            fallbacks: fallbacks.collect::<Vec<_>>().join("; "),
            models_ms: models_ms.collect::<Vec<_>>().join("; "),
        }
    }
}

/// Returns the beginning of a text, and whether there is more of it.
fn beginning(text: &str) -> (String, bool) {
    match text.char_indices().nth(MAX_EXCERPT_CHARS) {
        Some((end, _)) => (format!("{}…", &text[..end]), true),
        None => (text.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_marked() {
        assert_eq!(beginning("hello"), ("hello".to_owned(), false));
        assert_eq!(beginning(&"漢".repeat(200)), ("漢".repeat(200), false));
        assert_eq!(beginning(&"漢".repeat(201)), (format!("{}…", "漢".repeat(200)), true));
    }
}
