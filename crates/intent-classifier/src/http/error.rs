//! The only place where a failure becomes a response.
//!
//! Handlers return a [`Problem`]; [`render`] gives it the request's id and writes it as `application/problem+json`
//! (RFC 9457). Answers of others that are errors without a body of ours get one there too.

use std::{any::Any, collections::BTreeMap, fmt, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use tracing::error;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{ContentBuilder, Ref, RefOr, Response as ResponseDoc, ResponseBuilder, example::ExampleBuilder},
};

use super::request_id::RequestId;
use crate::{
    causes::in_full,
    storage::{ChangeError, StorageError},
};

/// How soon a database that is away is worth another try.
const STORAGE_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Every kind of failure a client can see: a stable code, a status and a title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MalformedJson,
    InvalidContext,
    TargetingKeyMissing,
    InvalidCredentials,
    Unauthenticated,
    Forbidden,
    NotFound,
    UnknownFlag,
    UnknownExperiment,
    UnknownRollout,
    MethodNotAllowed,
    BodyTimeout,
    ReloadRefused,
    StaleRevision,
    RolloutConflict,
    FlagsFileRefused,
    BodyTooLarge,
    UnsupportedMediaType,
    InvalidField,
    RateLimited,
    IdempotencyKeyReused,
    Internal,
    NotReady,
    Overloaded,
    NoModel,
    KeysUnavailable,
    StorageUnavailable,
    InsufficientStorage,
}

impl Kind {
    /// All kinds, by status.
    pub(crate) const ALL: [Self; 28] = [
        Self::MalformedJson,
        Self::InvalidContext,
        Self::TargetingKeyMissing,
        Self::InvalidCredentials,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::UnknownFlag,
        Self::UnknownExperiment,
        Self::UnknownRollout,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::ReloadRefused,
        Self::StaleRevision,
        Self::RolloutConflict,
        Self::FlagsFileRefused,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidField,
        Self::RateLimited,
        Self::IdempotencyKeyReused,
        Self::Internal,
        Self::NotReady,
        Self::Overloaded,
        Self::NoModel,
        Self::KeysUnavailable,
        Self::StorageUnavailable,
        Self::InsufficientStorage,
    ];

    /// Returns the status, the code that ends the problem's type, and the title.
    pub(crate) fn describe(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::MalformedJson => (StatusCode::BAD_REQUEST, "malformed-json", "The body is not valid JSON"),
            Self::InvalidCredentials => {
                (StatusCode::BAD_REQUEST, "invalid-credentials", "The token or API key is not sent as it should be")
            }
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "Who calls is not known"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The caller may not do this"),
            Self::InvalidContext => {
                (StatusCode::BAD_REQUEST, "invalid-context", "The evaluation context is not what it should be")
            }
            Self::TargetingKeyMissing => {
                (StatusCode::BAD_REQUEST, "targeting-key-missing", "The evaluation context does not say who asks")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::UnknownFlag => (StatusCode::NOT_FOUND, "unknown-flag", "There is no such feature flag"),
            Self::UnknownExperiment => (StatusCode::NOT_FOUND, "unknown-experiment", "There is no such experiment"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The resource does not take this method")
            }
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body took too long to arrive"),
            Self::ReloadRefused => (StatusCode::CONFLICT, "reload-refused", "The models that serve were kept"),
            Self::UnknownRollout => (StatusCode::NOT_FOUND, "unknown-rollout", "The feature flag has no rollout"),
            Self::RolloutConflict => {
                (StatusCode::CONFLICT, "rollout-conflict", "The rollout is not in a state that allows this")
            }
            Self::StaleRevision => (StatusCode::CONFLICT, "stale-revision", "It was changed since"),
            Self::FlagsFileRefused => {
                (StatusCode::CONFLICT, "flags-file-refused", "The feature flags that were in force were kept")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be JSON")
            }
            Self::InvalidField => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-field", "A field is not valid"),
            Self::RateLimited => {
                (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "The caller has asked more than he may")
            }
            Self::IdempotencyKeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "The id stands for something else")
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed"),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not-ready", "The server is still starting"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "overloaded", "There is more work than can be taken"),
            Self::KeysUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "keys-unavailable", "Who calls cannot be found out")
            }
            Self::NoModel => (StatusCode::SERVICE_UNAVAILABLE, "no-model", "No model could answer"),
            Self::StorageUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "storage-unavailable", "The database cannot do this at the moment")
            }
            Self::InsufficientStorage => {
                (StatusCode::INSUFFICIENT_STORAGE, "insufficient-storage", "There is no space left")
            }
        }
    }

    /// Returns the problem's type: what it is, for programs.
    fn uri(self) -> String {
        format!("urn:intent-classifier:problem:{}", self.describe().1)
    }
}

/// A failure on its way to the client.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
    evaluation: Option<EvaluationFailure>,
}

/// What OpenFeature clients read of a failure.
#[derive(Clone, Debug)]
struct EvaluationFailure {
    key: Option<String>,
    error_code: &'static str,
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The field: `text`, `texts[3]`, `context.locale`.
    #[schema(example = "text")]
    pub(super) field: String,
    /// What was found and what was expected.
    #[schema(example = "must not be empty")]
    pub(super) message: String,
}

/// The body of every error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody<'a> {
    /// What kind of problem it is; stable.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "urn:intent-classifier:problem:invalid-field")]
    kind: String,
    /// The kind in words; stable.
    title: &'a str,
    /// The status of the response.
    #[schema(example = 422)]
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// The request, as in `X-Request-ID`.
    #[schema(value_type = uuid::Uuid)]
    request_id: RequestId,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [FieldError],
    /// The flag; under `/ofrep` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false, example = "quality_mode")]
    key: Option<&'a str>,
    /// An error code of OpenFeature; under `/ofrep` only.
    #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false, example = "FLAG_NOT_FOUND")]
    error_code: Option<&'a str>,
    /// The same as `detail`, where OpenFeature clients look for it; under `/ofrep` only.
    #[serde(rename = "errorDetails", skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    error_details: Option<&'a str>,
}

impl FieldError {
    /// Says what is wrong with a field, what was expected included.
    pub(super) fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl Problem {
    /// Makes a problem that concerns no single field.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), errors: Vec::new(), retry_after: None, evaluation: None }
    }

    /// Makes a problem of fields that are wrong.
    pub(crate) fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match &errors[..] {
            [only] => format!("`{}` {}", only.field, only.message),
            several => format!("{} fields are not valid", several.len()),
        };
        Self { errors, ..Self::new(Kind::InvalidField, detail) }
    }

    /// Names the fields that the problem is in.
    pub(super) fn in_fields(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// Makes a problem of a database that is away or takes no changes; it is looked at again soon.
    pub(crate) fn storage_unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::StorageUnavailable, detail).retry_after(STORAGE_RETRY_AFTER)
    }

    /// Says when to try again; whole seconds, at least one.
    pub(crate) fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Says it the way OpenFeature clients read it as well: what is wrong with the context is a 400, and an error code
    /// tells failures apart.
    pub(super) fn into_evaluation_failure(mut self, key: Option<String>) -> Self {
        if self.kind == Kind::InvalidField {
            self.kind = Kind::InvalidContext;
        }
        let error_code = match self.kind {
            Kind::MalformedJson => "PARSE_ERROR",
            Kind::InvalidContext => "INVALID_CONTEXT",
            Kind::TargetingKeyMissing => "TARGETING_KEY_MISSING",
            Kind::UnknownFlag => "FLAG_NOT_FOUND",
            _ => "GENERAL",
        };
        Self { evaluation: Some(EvaluationFailure { key, error_code }), ..self }
    }

    fn into_rendered(self, request_id: RequestId) -> Response {
        let (status, _, title) = self.kind.describe();
        let body = ProblemBody {
            kind: self.kind.uri(),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            request_id,
            errors: &self.errors,
            key: self.evaluation.as_ref().and_then(|evaluation| evaluation.key.as_deref()),
            error_code: self.evaluation.as_ref().map(|evaluation| evaluation.error_code),
            error_details: self.evaluation.as_ref().map(|_| self.detail.as_str()),
        };
        let body = serde_json::to_vec(&body).expect("a problem is plain data");
        let mut response = (status, Body::from(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(delay) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(delay.as_secs_f64().ceil().max(1.0) as u64));
        }
        response
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        if error.fault().is_some() {
            return Self::storage_unavailable(error.to_string());
        }
        error!(error = in_full(error), "the database refused an operation");
        Self::new(Kind::Internal, "the cause is in the log of the server, beside the id of this request")
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Stale { current } => Self::new(
                Kind::StaleRevision,
                format!("it is at revision {current}, not at the one in `If-Match`: read it again, then change it"),
            ),
            ChangeError::Invalid(impossible) => match impossible {},
            ChangeError::Storage(error) => error.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl IntoResponse for Problem {
    /// Leaves the body to [`render`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.kind.describe().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every error its body.
pub(super) fn render(mut response: Response, request_id: RequestId) -> Response {
    if !response.status().is_client_error() && !response.status().is_server_error() {
        return response;
    }
    match response.extensions_mut().remove::<Problem>() {
        Some(problem) => {
            let mut rendered = problem.into_rendered(request_id);
            // Others may have said more: the router in `Allow`, who checks the caller in `WWW-Authenticate`.
            for (name, value) in response.headers() {
                if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
                    rendered.headers_mut().append(name, value.clone());
                }
            }
            rendered
        }
        // Only a health answer is an error with a body of its own.
        None if has_a_body_of_its_own(&response) => response,
        None => {
            let kind = Kind::ALL.into_iter().find(|kind| kind.describe().0 == response.status());
            let detail = response.status().canonical_reason().unwrap_or("unknown failure");
            Problem::new(kind.unwrap_or(Kind::Internal), detail).into_rendered(request_id)
        }
    }
}

fn has_a_body_of_its_own(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    matches!(kind, Some("application/json" | "application/health+json"))
}

/// Answers a request whose handler panicked; the process lives on.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    // The hook has logged the message and the place; the envelope logs the request.
    drop(panic);
    Problem::new(Kind::Internal, "the cause is in the log of the server, beside the id of this request").into_response()
}

/// Answers a request that matches no route.
pub(super) async fn not_found() -> Problem {
    Problem::new(Kind::NotFound, "no such path; `/docs` lists all")
}

/// Answers a request whose route has another method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the `Allow` header lists the methods that this path takes")
}

/// Declares which failures a group of endpoints has, for the description of the interface.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $($kind:ident),+;)+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<ResponseDoc>> {
                document(&[$(Kind::$kind),+])
            }
        }
    )+};
}

problems! {
    /// Failures of endpoints that take a text.
    BodyProblems: MalformedJson, BodyTimeout, BodyTooLarge, UnsupportedMediaType, InvalidField, Internal, NotReady,
        Overloaded, NoModel;
    /// Failures of endpoints that take feedback.
    FeedbackProblems: MalformedJson, BodyTimeout, BodyTooLarge, UnsupportedMediaType, InvalidField,
        IdempotencyKeyReused, Internal, NotReady, StorageUnavailable, InsufficientStorage;
    /// Failures of endpoints that read the database.
    StorageProblems: Internal, StorageUnavailable;
    /// Failures of endpoints that need the models.
    ServiceProblems: Internal, NotReady;
    /// Failures of making an API key.
    NewApiKeyProblems: MalformedJson, BodyTimeout, BodyTooLarge, UnsupportedMediaType, InvalidField, Internal,
        StorageUnavailable;
    /// Failures of revoking an API key.
    ApiKeyProblems: NotFound, Internal, StorageUnavailable;
    /// Failures of a reload.
    ReloadProblems: ReloadRefused, Internal, NotReady;
    /// Failures of changing the router's settings.
    RoutingChangeProblems: MalformedJson, BodyTimeout, StaleRevision, BodyTooLarge, UnsupportedMediaType, InvalidField,
        Internal, NotReady, StorageUnavailable;
    /// Failures of reading who changed what.
    HistoryProblems: InvalidField, Internal, StorageUnavailable;
    /// Failures of reading what an experiment has shown.
    ExperimentProblems: UnknownExperiment, InvalidField, Internal, NotReady, StorageUnavailable;
    /// Failures that any endpoint has.
    AnyProblem: Internal;
    /// Failures of endpoints with parameters.
    ParameterProblems: InvalidField, Internal;
    /// Failures of reading a flag.
    FlagProblems: UnknownFlag, InvalidField, Internal;
    /// Failures of reading who changed a flag.
    FlagHistoryProblems: UnknownFlag, InvalidField, Internal, StorageUnavailable;
    /// Failures of changing a flag.
    FlagChangeProblems: MalformedJson, UnknownFlag, BodyTimeout, StaleRevision, BodyTooLarge, UnsupportedMediaType,
        InvalidField, Internal, StorageUnavailable;
    /// Failures of taking back what was said of a flag.
    FlagResetProblems: UnknownFlag, StaleRevision, InvalidField, Internal, StorageUnavailable;
    /// Failures of starting a rollout.
    RolloutStartProblems: MalformedJson, BodyTimeout, RolloutConflict, BodyTooLarge, UnsupportedMediaType, InvalidField,
        Internal, StorageUnavailable;
    /// Failures of reading a rollout.
    RolloutProblems: UnknownFlag, UnknownRollout, InvalidField, Internal, StorageUnavailable;
    /// Failures of changing a rollout.
    RolloutChangeProblems: UnknownFlag, UnknownRollout, RolloutConflict, InvalidField, Internal, StorageUnavailable;
    /// Failures of reading flags again.
    RefreshProblems: FlagsFileRefused, Internal, StorageUnavailable;
    /// Failures of evaluating a flag for an OpenFeature client.
    EvaluationProblems: MalformedJson, InvalidContext, TargetingKeyMissing, UnknownFlag, BodyTimeout, BodyTooLarge,
        UnsupportedMediaType, Internal;
    /// Failures of evaluating all flags for an OpenFeature client.
    BulkEvaluationProblems: MalformedJson, InvalidContext, BodyTimeout, BodyTooLarge, UnsupportedMediaType, Internal;
}

/// Describes the failures of callers who may not, which any operation can have.
pub(super) fn access_problems() -> BTreeMap<String, RefOr<ResponseDoc>> {
    document(&[
        Kind::InvalidCredentials,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::RateLimited,
        Kind::KeysUnavailable,
    ])
}

/// Describes each status once, with an example of every kind that has it.
fn document(kinds: &[Kind]) -> BTreeMap<String, RefOr<ResponseDoc>> {
    let mut by_status: BTreeMap<StatusCode, Vec<Kind>> = BTreeMap::new();
    for &kind in kinds {
        by_status.entry(kind.describe().0).or_default().push(kind);
    }
    by_status.into_iter().map(|(status, kinds)| (status.as_str().to_owned(), RefOr::T(response(&kinds)))).collect()
}

fn response(kinds: &[Kind]) -> ResponseDoc {
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.describe().2).collect();
    let examples = kinds.iter().map(|kind| {
        let (status, code, title) = kind.describe();
        let example = json!({
            "type": kind.uri(),
            "title": title,
            "status": status.as_u16(),
            "detail": title,
            "request_id": "0199d2f4-5b7c-7cc3-98c4-dc0c0c07398f",
        });
        (code, ExampleBuilder::new().value(Some(example)).build())
    });
    let content = ContentBuilder::new()
        .schema(Some(RefOr::Ref(Ref::from_schema_name(ProblemBody::name()))))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new().description(titles.join("; ")).content("application/problem+json", content).build()
}
