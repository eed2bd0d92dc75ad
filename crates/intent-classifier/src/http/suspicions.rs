//! `GET /api/v1/audit/suspicious-inputs`: the last texts that looked like somebody probes the service.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, extract::State};
use intent_engine::{Decision, SelectionReason};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    caller::Caller,
    error::{AnyProblem, FieldError},
    request_id::RequestId,
};
use crate::{
    limits::Source,
    screening::{Finding, Findings, Suspicion, clean, excerpt},
    telemetry::labels::AdversarialKind,
};

/// The last suspicious texts, the latest first. A sample: at most 20 of each kind in a minute and 256 in all, kept in
/// memory only.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SuspiciousInputs {
    /// The texts.
    inputs: Vec<SuspiciousInput>,
}

/// A suspicious text.
#[derive(Debug, Serialize, ToSchema)]
struct SuspiciousInput {
    /// When it came, in seconds since 1970.
    #[schema(example = 1767225600)]
    at: u64,
    /// The request.
    request_id: String,
    /// Who sent it.
    #[schema(example = "token:alice")]
    caller: String,
    /// What is suspicious: `control_characters`, `bidi_controls`, `zero_width`, `homoglyphs`, `repetition`, `encoded_payload`,
    /// `prompt_injection`, `threshold_probing`.
    kinds: Vec<&'static str>,
    /// Whether it was refused.
    refused: bool,
    /// How long the text is, in characters.
    chars: usize,
    /// Its first 120 characters, escaped.
    excerpt: String,
}

/// Lists the last suspicious texts.
#[utoipa::path(
    get, path = "/api/v1/audit/suspicious-inputs", tag = "audit",
    responses((status = 200, body = SuspiciousInputs), AnyProblem)
)]
pub(super) async fn suspicious_inputs(State(app): State<Arc<App>>) -> Json<SuspiciousInputs> {
    let inputs = app.screening.audit.entries().into_iter().map(SuspiciousInput::from).collect();
    Json(SuspiciousInputs { inputs })
}

/// Looks at the texts of one request.
#[derive(Clone, Copy)]
pub(super) struct Screener<'a> {
    /// What is shared.
    pub(super) app: &'a App,
    /// The request.
    pub(super) request_id: RequestId,
    /// Who sent it.
    pub(super) caller: &'a Caller,
}

impl Screener<'_> {
    /// Cleans a valid text before it is classified and counts what is suspicious about it; notes when it is refused.
    pub(super) fn screen(self, field: &str, text: String, errors: &mut Vec<FieldError>) -> String {
        let (text, findings) = clean(text);
        if !findings.is_empty() {
            let refused = self.app.screening.refused(findings);
            if let Some(kind) = refused.iter().next() {
                let message = format!("looks like `{kind}`, which this server does not take (`REFUSE_SUSPICIOUS`)");
                errors.push(FieldError::new(field, message));
            }
            self.note(findings, !refused.is_empty(), &text);
        }
        text
    }

    /// Looks at the answer: many texts of one source that no model was sure about are suspicious.
    pub(super) fn decided(self, decision: &Decision, text: &str) {
        if decision.selection != SelectionReason::MostAccurate {
            return;
        }
        let source = self.caller.counted_as().unwrap_or_else(|| Source::address(self.caller.source()));
        if self.app.screening.is_flood(&source) {
            self.note(Findings::from_iter([Finding::ThresholdProbing]), false, text);
        }
    }

    fn note(self, findings: Findings, refused: bool, text: &str) {
        for finding in findings.iter() {
            self.app.metrics.adversarial_input(finding.into());
        }
        self.app.screening.audit.note(findings, || Suspicion {
            at: SystemTime::now(),
            request_id: self.request_id.to_string(),
            caller: self.caller.to_string(),
            findings,
            refused,
            chars: text.chars().count(),
            excerpt: excerpt(text),
        });
    }
}

impl From<Finding> for AdversarialKind {
    fn from(finding: Finding) -> Self {
        match finding {
            Finding::ControlCharacters => Self::ControlCharacters,
            Finding::BidiControls => Self::BidiControls,
            Finding::ZeroWidth => Self::ZeroWidth,
            Finding::Homoglyphs => Self::Homoglyphs,
            Finding::Repetition => Self::Repetition,
            Finding::EncodedPayload => Self::EncodedPayload,
            Finding::PromptInjection => Self::PromptInjection,
            Finding::ThresholdProbing => Self::ThresholdProbing,
        }
    }
}

impl From<Suspicion> for SuspiciousInput {
    fn from(suspicion: Suspicion) -> Self {
        Self {
            at: suspicion.at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            request_id: suspicion.request_id,
            caller: suspicion.caller,
            kinds: suspicion.findings.iter().map(Finding::as_str).collect(),
            refused: suspicion.refused,
            chars: suspicion.chars,
            excerpt: suspicion.excerpt,
        }
    }
}
