//! `/ofrep/v1`: feature flags for OpenFeature clients, by the OpenFeature Remote Evaluation Protocol 0.3.
//!
//! Every flag is boolean: variant `on` or `off`. A flag that is on for a share of the users needs the context's
//! `targetingKey`, which is the user; all others do without.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::HeaderMap,
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use intent_engine::flags::{Evaluation, EvaluationReason, Flag, FlagSnapshot};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    App,
    body::{JsonBody, JsonRequest},
    conditional::{self, EntityTag, KnownTag},
    error::{BulkEvaluationProblems, EvaluationProblems, FieldError, Kind, Problem},
    flags::{NamedFlag, Percentage},
    user_id::check_user_id,
};
use crate::config::InputSettings;

/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Where the context says who asks.
const TARGETING_KEY: &str = "targetingKey";

/// For whom to evaluate.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"context": {"targetingKey": "user123"}}))]
pub(crate) struct EvaluationRequest {
    /// What is known of the one who asks. `targetingKey` is the user; nothing else is read.
    #[schema(value_type = Option<Object>)]
    context: Option<Map<String, Value>>,
}

/// What a flag is for the context.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EvaluationSuccess {
    /// The flag.
    #[schema(example = "quality_mode")]
    key: &'static str,
    /// Whether it is on.
    #[schema(example = true)]
    value: bool,
    /// `STATIC` (the same for everybody), `SPLIT` (by the user's bucket) or `DISABLED`.
    #[schema(example = "SPLIT")]
    reason: &'static str,
    /// `on` or `off`.
    #[schema(example = "on")]
    variant: &'static str,
    /// More about the flag.
    metadata: FlagMetadata,
}

/// More about a flag.
#[derive(Debug, Serialize, ToSchema)]
struct FlagMetadata {
    /// Who decided: `default`, `file`, `env` or `api`.
    #[schema(value_type = String, example = "api")]
    source: intent_engine::flags::FlagSource,
    /// For which share of the users it is on.
    rollout_percentage: Percentage,
    /// The revision of all flags.
    #[schema(example = 17)]
    revision: u64,
}

/// All flags for the context.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BulkEvaluationSuccess {
    /// Each flag, or why it has no value for this context.
    flags: Vec<BulkEvaluation>,
    /// More about all of them.
    metadata: BulkMetadata,
}

/// One of all flags.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum BulkEvaluation {
    /// It has a value.
    Success(EvaluationSuccess),
    /// It has none.
    Failure(EvaluationFailure),
}

/// Why a flag has no value.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EvaluationFailure {
    /// The flag.
    #[schema(example = "quality_mode")]
    key: &'static str,
    /// An error code of OpenFeature.
    #[schema(example = "TARGETING_KEY_MISSING")]
    error_code: &'static str,
    /// What is wrong, for people.
    error_details: String,
}

/// More about all flags.
#[derive(Debug, Serialize, ToSchema)]
struct BulkMetadata {
    /// Grows with every change over HTTP.
    #[schema(example = 17)]
    revision: u64,
}

/// Returns the routes, whose errors speak OFREP besides.
pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(evaluate)).routes(routes!(evaluate_all)).layer(from_fn(explain_failures))
}

/// Evaluates one flag for a context.
#[utoipa::path(
    post, path = "/ofrep/v1/evaluate/flags/{key}", tag = "ofrep",
    params(("key" = String, Path, description = "The flag", example = "quality_mode")),
    request_body = EvaluationRequest, responses((status = 200, body = EvaluationSuccess), EvaluationProblems)
)]
async fn evaluate(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    JsonBody(request): JsonBody<EvaluationRequest>,
) -> Result<Json<EvaluationSuccess>, Problem> {
    let subject = request.subject()?;
    EvaluationSuccess::new(flag, &app.flags.snapshot(), subject)
        .map(Json)
        .ok_or_else(|| Problem::new(Kind::TargetingKeyMissing, needs_subject(flag)))
}

/// Evaluates all flags for a context.
///
/// The `ETag` changes with any flag and with the context; with `If-None-Match` nothing new is 304.
#[utoipa::path(
    post, path = "/ofrep/v1/evaluate/flags", tag = "ofrep",
    params(KnownTag),
    request_body = EvaluationRequest,
    responses(
        (status = 200, body = BulkEvaluationSuccess),
        (status = 304, description = "Neither flags nor context have changed"),
        BulkEvaluationProblems
    )
)]
async fn evaluate_all(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<EvaluationRequest>,
) -> Result<Response, Problem> {
    let subject = request.subject()?;
    let snapshot = app.flags.snapshot();
    let flags = Flag::ALL.map(|flag| match EvaluationSuccess::new(flag, &snapshot, subject) {
        Some(success) => BulkEvaluation::Success(success),
        None => BulkEvaluation::Failure(EvaluationFailure {
            key: flag.as_str(),
            error_code: "TARGETING_KEY_MISSING",
            error_details: needs_subject(flag),
        }),
    });
    let revision = snapshot.revision();
    let answer = BulkEvaluationSuccess { flags: flags.into(), metadata: BulkMetadata { revision } };
    let body = Bytes::from(serde_json::to_vec(&answer).expect("an answer is plain data"));
    let context = serde_json::to_string(&request.context).expect("it was JSON");
    Ok(conditional::tagged(&headers, &EntityTag::new(revision, &(&body, context)), body))
}

/// Says failures the way OpenFeature clients read them.
async fn explain_failures(
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let key = parameters.ok().and_then(|parameters| parameters.iter().next().map(|(_, key)| key.to_owned()));
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem.into_evaluation_failure(key).into_response(),
        None => response,
    }
}

impl EvaluationRequest {
    /// Returns who asks, when the context says so.
    fn subject(&self) -> Result<Option<&str>, Problem> {
        const FIELD: &str = "context.targetingKey";
        let invalid = |message: &str| Problem::invalid(vec![FieldError::new(FIELD, message)]);
        match self.context.as_ref().and_then(|context| context.get(TARGETING_KEY)) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(subject)) if subject.is_empty() => Ok(None),
            Some(Value::String(subject)) => {
                let mut errors = Vec::new();
                check_user_id(Some(subject), &mut errors);
                match errors.pop() {
                    None => Ok(Some(subject)),
                    Some(error) => Err(invalid(&error.message)),
                }
            }
            Some(_) => Err(invalid("must be a string")),
        }
    }
}

impl JsonRequest for EvaluationRequest {
    fn max_bytes(_: &InputSettings) -> usize {
        MAX_BODY_BYTES
    }
}

impl EvaluationSuccess {
    /// Evaluates a flag; `None` when it depends on who asks and nobody is named.
    fn new(flag: Flag, snapshot: &FlagSnapshot, subject: Option<&str>) -> Option<Self> {
        let state = snapshot.state(flag);
        let subject = match subject {
            Some(subject) => subject,
            None if state.depends_on_subject() => return None,
            None => "",
        };
        let Evaluation { enabled, reason } = snapshot.evaluate(flag, subject);
        Some(Self {
            key: flag.as_str(),
            value: enabled,
            reason: match reason {
                EvaluationReason::Disabled => "DISABLED",
                _ if !state.depends_on_subject() => "STATIC",
                EvaluationReason::FullRollout | EvaluationReason::InRollout | EvaluationReason::NotInRollout => "SPLIT",
            },
            variant: if enabled { "on" } else { "off" },
            metadata: FlagMetadata {
                source: state.source,
                rollout_percentage: Percentage(state.rollout),
                revision: snapshot.revision(),
            },
        })
    }
}

fn needs_subject(flag: Flag) -> String {
    format!("`{flag}` is on for a share of the users: give `targetingKey` in the context")
}
