//! `GET /api/v1/intents/low-confidence`: what no model was sure of lately.

use std::sync::Arc;

use axum::{Json, extract::State};
use intent_engine::Flag;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    classify::{Alternative, six_decimals},
    error::AnyProblem,
    request_id::RequestId,
    time::Timestamp,
};
use crate::telemetry::low_confidence::UnsureDecision;

/// The latest texts that no model was sure of, at most 200, in the memory of this process only: no model reached its
/// threshold, or the confidence is below 0.5.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LowConfidenceAnswer {
    /// Whether texts are kept: of users who have the flag `enhanced_logging`. Off, the texts kept before are forgotten.
    #[schema(example = true)]
    keeps_texts: bool,
    /// The latest first. A text that comes again is listed once.
    decisions: Vec<LowConfidenceDecision>,
}

/// A text that no model was sure of.
#[derive(Debug, Serialize, ToSchema)]
struct LowConfidenceDecision {
    /// When it came last.
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    at: Timestamp,
    /// The request that it came with last.
    #[schema(value_type = uuid::Uuid)]
    request_id: RequestId,
    /// How often it came since it is listed.
    #[schema(example = 3)]
    times: u64,
    /// Its first 200 characters; null when the user does not have `enhanced_logging`.
    #[schema(example = "something about bananas and trains")]
    text: Option<String>,
    /// Whether `text` is not all of it.
    text_truncated: bool,
    /// How long it is, in characters.
    #[schema(example = 34)]
    chars: usize,
    /// The answer.
    #[schema(example = "conversation")]
    intent: String,
    /// Its confidence, 0 to 1.
    #[schema(example = 0.41)]
    #[serde(serialize_with = "six_decimals")]
    confidence: f32,
    /// The second best intent; null when only one was asked for.
    runner_up: Option<Alternative<'static>>,
    /// The model that decided.
    #[schema(example = "hybrid")]
    model: &'static str,
    /// Why that one: `most_accurate` when none was sure, `fallback` when all that were planned failed, and so on.
    #[schema(example = "most_accurate")]
    selection: &'static str,
}

/// Lists the latest texts that no model was sure of: what to teach it next.
#[utoipa::path(
    get, path = "/api/v1/intents/low-confidence", tag = "intents",
    responses((status = 200, body = LowConfidenceAnswer), AnyProblem)
)]
pub(super) async fn low_confidence(State(app): State<Arc<App>>) -> Json<LowConfidenceAnswer> {
    let keeps_texts = app.flags.snapshot().state(Flag::EnhancedLogging).enabled;
    if !keeps_texts {
        app.low_confidence.forget_texts();
    }
    let decisions = app.low_confidence.latest().into_iter().map(LowConfidenceDecision::from).collect();
    Json(LowConfidenceAnswer { keeps_texts, decisions })
}

impl From<UnsureDecision> for LowConfidenceDecision {
    fn from(unsure: UnsureDecision) -> Self {
        let text_truncated = unsure.text.as_ref().is_some_and(|text| text.is_truncated);
        Self {
            at: Timestamp(unsure.at),
            request_id: unsure.request_id,
            times: unsure.times,
            text: unsure.text.map(|text| text.text),
            text_truncated,
            chars: unsure.chars,
            intent: unsure.best.intent.to_string(),
            confidence: unsure.best.confidence,
            runner_up: unsure.runner_up.map(Alternative::from),
            model: unsure.model,
            selection: unsure.selection,
        }
    }
}
