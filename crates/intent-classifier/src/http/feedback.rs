//! `POST /api/v1/intents/feedback` and `GET /api/v1/intents/feedback/stats`: what users say about answers.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension, Json,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
};
use intent_engine::Flag;
use intent_model::OUT_OF_SCOPE;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    App,
    body::{JsonBody, JsonRequest},
    caller::Caller,
    classify::{self, check_text, subject},
    error::{FeedbackProblems, FieldError, Kind, Problem, StorageProblems},
    request_id::RequestId,
    suspicions::Screener,
    user_id::{check_user_id, optional_user_id_schema},
};
use crate::{
    config::InputSettings,
    feedback::{Accepted, IntakeError},
    serving::ServedPack,
    spool::SpoolError,
    storage::{Feedback, FeedbackKind, FeedbackTotals},
    telemetry::labels::{FeedbackResult, FeedbackType, Verdict},
};

/// Names a feedback when its body does not: the same key, from the same user, is the same feedback.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest `Idempotency-Key`, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// The longest comment, in characters.
const MAX_COMMENT_CHARS: usize = 2_000;
/// How many pairs of intents the statistics list.
const MAX_PAIRS: u32 = 100;

/// What a user says about an answer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "request_id": "0199d2f4-5b7c-7cc3-98c4-dc0c0c07398f", "text": "Summarise this article in French",
    "original_intent": "summarization", "correct_intent": "translation", "feedback_type": "correction"
}))]
pub(crate) struct FeedbackBody {
    /// Names the feedback, so that it can be sent again safely; made up when it is missing. `Idempotency-Key` does the
    /// same for clients that have no UUID.
    feedback_id: Option<Uuid>,
    /// The `request_id` of the answer.
    request_id: Option<Uuid>,
    /// The text that was classified.
    #[schema(inline, schema_with = classify::text_schema)]
    text: String,
    /// What it was taken for: an intent of the pack, or `out_of_scope`.
    #[schema(example = "summarization")]
    original_intent: String,
    /// What it should have been taken for.
    #[schema(example = "translation")]
    correct_intent: String,
    /// How sure the service was.
    #[schema(minimum = 0, maximum = 1)]
    original_confidence: Option<f64>,
    /// `correction` when the intents differ, `confirmation` when they are the same.
    #[schema(schema_with = kind_schema)]
    feedback_type: FeedbackKind,
    /// Who says so.
    #[schema(inline, schema_with = optional_user_id_schema)]
    user_id: Option<String>,
    /// Anything else.
    #[schema(max_length = 2000)]
    comment: Option<String>,
}

/// The feedback was accepted and will not be lost.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedbackAnswer {
    /// Names the feedback.
    feedback_id: Uuid,
    /// `stored`, or `spooled` while the database takes no changes.
    #[schema(example = "stored")]
    status: &'static str,
}

/// What users said so far.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FeedbackStats {
    /// How many feedbacks are stored.
    total: u64,
    /// How many of each type.
    by_type: KindCounts,
    /// The share of confirmations, 0 to 1; null without any feedback.
    agreement_rate: Option<f64>,
    /// The most frequent corrections, the most frequent first.
    by_intent_pair: Vec<IntentPairCount>,
    /// By the model that answered; `unknown` where the feedback named no request that is known.
    by_model: BTreeMap<String, ModelCounts>,
    /// How many wait in the spool of the process that answers.
    spooled: u64,
}

/// How many of each type.
#[derive(Debug, Serialize, ToSchema)]
struct KindCounts {
    /// The answer was wrong.
    correction: u64,
    /// The answer was right.
    confirmation: u64,
}

/// How often an intent was corrected to another.
#[derive(Debug, Serialize, ToSchema)]
struct IntentPairCount {
    /// What texts were taken for.
    #[schema(example = "summarization")]
    original_intent: String,
    /// What they should have been taken for.
    #[schema(example = "translation")]
    correct_intent: String,
    /// How often.
    count: u64,
}

/// What users said of a model.
#[derive(Debug, Serialize, ToSchema)]
struct ModelCounts {
    /// How many feedbacks.
    total: u64,
    /// How many of each type.
    by_type: KindCounts,
    /// The share of confirmations, 0 to 1; null without any feedback.
    agreement_rate: Option<f64>,
}

/// Takes what a user says about an answer. Once accepted it is not lost; sent again it changes nothing.
#[utoipa::path(
    post, path = "/api/v1/intents/feedback", tag = "feedback",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        pattern = "^[!-~]([ -~]*[!-~])?$", description = "Names the feedback for its user when `feedback_id` is missing: 1 to 255 visible ASCII characters")),
    request_body = FeedbackBody,
    responses(
        (status = 201, description = "It is in the database.", body = FeedbackAnswer),
        (status = 202, description = "It is on disk and goes to the database later.", body = FeedbackAnswer),
        FeedbackProblems
    )
)]
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<FeedbackBody>,
) -> Result<(StatusCode, Json<FeedbackAnswer>), Problem> {
    let serving = app.serving()?;
    let key = idempotency_key(&headers)?;
    let kind = body.feedback_type;
    let screener = Screener { app: &app, request_id, caller: &caller };
    let feedback = body.into_feedback(screener, &serving.pack(), key).inspect_err(|_| {
        app.metrics.feedback(kind.into(), FeedbackResult::Rejected);
    })?;
    let (feedback_id, confidence) = (feedback.id, feedback.original_confidence);
    let judged = judged_by(&app, &feedback);
    let corrected = (feedback.learn && kind == FeedbackKind::Correction).then(|| feedback.text.clone());
    let accepted = app.feedback.accept(feedback).await;
    app.metrics.feedback(kind.into(), result_of(&accepted));
    let accepted = accepted?;
    if let (Accepted::Stored | Accepted::Spooled, Some(confidence)) = (accepted, confidence) {
        app.metrics.judged(kind.into(), confidence);
    }
    if let (Accepted::Stored | Accepted::Spooled, Some((user_id, request_id))) = (accepted, judged) {
        let id = request_id.to_string();
        let subject = subject(user_id.as_deref(), &id);
        app.rollouts.observer.judged(subject, request_id, kind == FeedbackKind::Confirmation);
    }
    if let Some(text) = corrected {
        app.forget_text(&text);
    }
    let (code, status) = match accepted {
        Accepted::Stored | Accepted::Repeated => (StatusCode::CREATED, "stored"),
        Accepted::Spooled => (StatusCode::ACCEPTED, "spooled"),
    };
    Ok((code, Json(FeedbackAnswer { feedback_id, status })))
}

/// Adds up what users said so far.
#[utoipa::path(
    get, path = "/api/v1/intents/feedback/stats", tag = "feedback",
    responses((status = 200, body = FeedbackStats), StorageProblems)
)]
pub(super) async fn stats(State(app): State<Arc<App>>) -> Result<Json<FeedbackStats>, Problem> {
    let storage = &app.storage;
    let totals = storage.feedback_totals().await?;
    let pairs = storage.feedback_by_intents(MAX_PAIRS).await?;
    let models = storage.feedback_by_models().await?;
    let by_model = models.into_iter().map(|found| {
        let counts = ModelCounts {
            total: total(&found.totals),
            agreement_rate: agreement_rate(&found.totals),
            by_type: counts(&found.totals),
        };
        (found.model.unwrap_or_else(|| "unknown".to_owned()), counts)
    });
    Ok(Json(FeedbackStats {
        total: total(&totals),
        by_type: counts(&totals),
        agreement_rate: agreement_rate(&totals),
        by_intent_pair: pairs
            .into_iter()
            .map(|pair| IntentPairCount {
                original_intent: pair.original_intent,
                correct_intent: pair.correct_intent,
                count: pair.count,
            })
            .collect(),
        by_model: by_model.collect(),
        spooled: app.feedback.spooled(),
    }))
}

impl FeedbackBody {
    /// Checks all of it and adds what the service knows of the request.
    fn into_feedback(self, screener: Screener<'_>, pack: &ServedPack, key: Option<&str>) -> Result<Feedback, Problem> {
        let (app, mut errors) = (screener.app, Vec::new());
        check_text("text", &self.text, &app.input, &mut errors);
        check_user_id(self.user_id.as_deref(), &mut errors);
        let known = |intent: &str| intent == OUT_OF_SCOPE || pack.intents.iter().any(|known| known.name == intent);
        for (field, intent) in [("original_intent", &self.original_intent), ("correct_intent", &self.correct_intent)] {
            if !known(intent) {
                let message = format!("is no intent of the pack `{}`; `/api/v1/intents/types` lists them", pack.name);
                errors.push(FieldError::new(field, message));
            }
        }
        let differs = self.original_intent != self.correct_intent;
        match self.feedback_type {
            FeedbackKind::Correction if !differs => {
                errors.push(FieldError::new("correct_intent", "must differ from `original_intent` in a correction"));
            }
            FeedbackKind::Confirmation if differs => {
                errors.push(FieldError::new("correct_intent", "must be `original_intent` in a confirmation"));
            }
            _ => {}
        }
        if self.original_confidence.is_some_and(|confidence| !(0.0..=1.0).contains(&confidence)) {
            errors.push(FieldError::new("original_confidence", "must be 0 to 1"));
        }
        if self.comment.as_ref().is_some_and(|comment| comment.chars().count() > MAX_COMMENT_CHARS) {
            errors.push(FieldError::new("comment", format!("must have at most {MAX_COMMENT_CHARS} characters")));
        }
        if self.comment.as_ref().is_some_and(|comment| comment.contains('\0')) {
            errors.push(FieldError::new("comment", "must not hold the character NUL (U+0000)"));
        }
        // The same form as that of the text that was classified, by which its answers are cached.
        let text = if errors.is_empty() { screener.screen("text", self.text, &mut errors) } else { self.text };
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }

        let user_id = screener.caller.user_id(self.user_id);
        let id = self.feedback_id.unwrap_or_else(|| match key {
            Some(key) => id_of_key(user_id.as_deref(), key),
            None => Uuid::now_v7(),
        });
        let decision = self.request_id.and_then(|request_id| app.known_decisions.of(request_id));
        let subject = user_id.clone().unwrap_or_else(|| id.to_string());
        let learn = app.serving()?.engine().flags().evaluate(Flag::FeedbackLearning, &subject).enabled;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Feedback {
            id,
            request_id: self.request_id,
            text,
            original_intent: self.original_intent,
            correct_intent: self.correct_intent,
            original_confidence: self.original_confidence,
            kind: self.feedback_type,
            user_id,
            comment: self.comment,
            context: decision.as_ref().and_then(|decision| decision.context.as_deref()).map(str::to_owned),
            model: decision.as_ref().map(|decision| decision.model.to_owned()),
            model_version: decision.as_ref().map(|decision| decision.model_version.to_string()),
            experiment_group: decision.map(|decision| decision.experiment_group.to_owned()),
            learn,
            received_at_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        })
    }
}

/// Returns the user and the request that a feedback is about, for rollouts; `None` when that is not certain: of a request
/// that another replica answered only its user tells whether he has a feature.
fn judged_by(app: &App, feedback: &Feedback) -> Option<(Option<Box<str>>, Uuid)> {
    let request_id = feedback.request_id?;
    match app.known_decisions.of(request_id) {
        Some(known) => Some((known.user_id, request_id)),
        None => feedback.user_id.as_deref().map(|user_id| (Some(Box::from(user_id)), request_id)),
    }
}

impl JsonRequest for FeedbackBody {
    fn max_bytes(input: &InputSettings) -> usize {
        input.max_body_bytes()
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Contradicted => Self::new(
                Kind::IdempotencyKeyReused,
                "another feedback was accepted under this `feedback_id` or `Idempotency-Key`; use a new one",
            ),
            IntakeError::Refused(error) => error.into(),
            IntakeError::NoPlace(SpoolError::Limit { .. } | SpoolError::DiskFull { .. }) => {
                Self::new(Kind::InsufficientStorage, "there is no space left to keep feedback in; it was not accepted")
            }
            IntakeError::NoPlace(SpoolError::Io { .. }) => {
                Self::storage_unavailable("neither the database nor the disk takes feedback; it was not accepted")
            }
        }
    }
}

/// Reads the header, if it is there.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) && !key.contains('\t') => Ok(Some(key)),
        _ => {
            let message = format!("must have 1 to {MAX_KEY_BYTES} visible ASCII characters");
            Err(Problem::invalid(vec![FieldError::new("Idempotency-Key", message)]))
        }
    }
}

/// Makes the id of a key: the same on every replica, and for each user his own.
fn id_of_key(user_id: Option<&str>, key: &str) -> Uuid {
    let user = user_id.unwrap_or_default();
    let digest = Sha256::new().chain_update((user.len() as u64).to_le_bytes()).chain_update(user).chain_update(key);
    let bytes = digest.finalize();
    uuid::Builder::from_custom_bytes(*bytes.first_chunk().expect("SHA-256 has 32 bytes")).into_uuid()
}

fn result_of(accepted: &Result<Accepted, IntakeError>) -> FeedbackResult {
    match accepted {
        Ok(Accepted::Stored) => FeedbackResult::Stored,
        Ok(Accepted::Repeated) => FeedbackResult::Duplicate,
        Ok(Accepted::Spooled) => FeedbackResult::Spooled,
        Err(IntakeError::Contradicted) => FeedbackResult::Rejected,
        Err(_) => FeedbackResult::Failed,
    }
}

impl From<FeedbackKind> for FeedbackType {
    fn from(kind: FeedbackKind) -> Self {
        match kind {
            FeedbackKind::Correction => Self::Correction,
            FeedbackKind::Confirmation => Self::Confirmation,
        }
    }
}

impl From<FeedbackKind> for Verdict {
    fn from(kind: FeedbackKind) -> Self {
        match kind {
            FeedbackKind::Correction => Self::Wrong,
            FeedbackKind::Confirmation => Self::Right,
        }
    }
}

fn total(totals: &FeedbackTotals) -> u64 {
    totals.corrections + totals.confirmations
}

fn counts(totals: &FeedbackTotals) -> KindCounts {
    KindCounts { correction: totals.corrections, confirmation: totals.confirmations }
}

fn agreement_rate(totals: &FeedbackTotals) -> Option<f64> {
    let total = total(totals);
    (total > 0).then(|| totals.confirmations as f64 / total as f64)
}

/// Describes [`FeedbackKind`], whose module knows no OpenAPI.
fn kind_schema() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
    let names = FeedbackKind::ALL.map(FeedbackKind::as_str);
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).build())
}
