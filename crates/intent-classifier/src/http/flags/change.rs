//! Changing flags, and who changed them.

use std::sync::Arc;

use axum::{Extension, Json, extract::State, http::HeaderMap, response::Response};
use intent_engine::flags::{FlagChange, FlagSource, FlagState, Rollout};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NamedFlag, Percentage, Timestamp, read, source_schema};
use crate::{
    config::InputSettings,
    flags::{FlagDifference, RefreshError},
    http::{
        App,
        body::{JsonBody, JsonRequest, given},
        caller::Caller,
        conditional::ExpectedRevision,
        error::{
            FieldError, FlagChangeProblems, FlagHistoryProblems, FlagResetProblems, Kind, Problem, RefreshProblems,
        },
        history::HistoryParameters,
        parameters::QueryParameters,
    },
    storage::FlagAuditEntry,
};

/// The largest body of a change, in bytes; what is known fits many times.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// What to change; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, example = json!({"enabled": true, "rollout_percentage": 25}))]
pub(crate) struct ChangeBody {
    /// On or off.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    enabled: Option<bool>,
    /// For which share of the users, 0 to 100; rounded to steps of 0.001.
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 0, maximum = 100, nullable = false)]
    rollout_percentage: Option<f64>,
}

/// What reading all sources again changed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RefreshAnswer {
    /// The flags that are not what they were.
    changed: Vec<Difference>,
    /// The revision now.
    #[schema(example = 17)]
    revision: u64,
}

/// A flag that is not what it was.
#[derive(Debug, Serialize, ToSchema)]
struct Difference {
    /// The flag.
    #[schema(example = "quality_mode")]
    flag: &'static str,
    /// As it was.
    from: Setting,
    /// As it is.
    to: Setting,
}

/// A flag at one moment.
#[derive(Debug, Serialize, ToSchema)]
struct Setting {
    /// On or off.
    enabled: bool,
    /// For which share of the users.
    rollout_percentage: Percentage,
    /// Who decided.
    #[schema(schema_with = source_schema)]
    source: FlagSource,
}

/// The changes of a flag over HTTP, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HistoryAnswer {
    /// The flag.
    #[schema(example = "quality_mode")]
    flag: &'static str,
    /// At most as many as were asked for.
    changes: Vec<FlagHistoryEntry>,
}

/// A change of a flag over HTTP.
#[derive(Debug, Serialize, ToSchema)]
struct FlagHistoryEntry {
    /// The revision it made.
    #[schema(example = 17)]
    revision: u64,
    /// When.
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    changed_at: Timestamp,
    /// Who.
    #[schema(example = "token:alice")]
    changed_by: String,
    /// What had been said over HTTP before; null when nothing had, so that default, file and environment decided.
    from: Option<Said>,
    /// What was said from then on; null when all of it was taken back.
    to: Option<Said>,
}

/// What is said of a flag over HTTP; null where nothing is.
#[derive(Debug, Serialize, ToSchema)]
struct Said {
    /// On or off.
    enabled: Option<bool>,
    /// For which share of the users.
    rollout_percentage: Option<Percentage>,
}

/// Changes a feature flag on every replica.
///
/// With `If-Match` only when nobody has changed it since: the `ETag` of an earlier answer, else 409.
#[utoipa::path(
    put, path = "/api/v1/feature-flags/{name}", tag = "feature-flags",
    params(
        ("name" = String, Path, description = "The flag", example = "quality_mode"),
        ExpectedRevision,
    ),
    request_body = ChangeBody, responses((status = 200, body = super::FlagAnswer), FlagChangeProblems)
)]
pub(in crate::http) async fn change(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    Extension(caller): Extension<Caller>,
    ExpectedRevision(expected_revision): ExpectedRevision,
    JsonBody(body): JsonBody<ChangeBody>,
) -> Result<Response, Problem> {
    let change = body.into_change()?;
    app.flags.change(flag, change, expected_revision, &caller.to_string()).await?;
    Ok(read::respond_with(&app, flag, &HeaderMap::new()))
}

/// Takes back what was said of a feature flag over HTTP; default, file and environment decide again.
#[utoipa::path(
    post, path = "/api/v1/feature-flags/{name}/reset", tag = "feature-flags",
    params(
        ("name" = String, Path, description = "The flag", example = "quality_mode"),
        ExpectedRevision,
    ),
    responses((status = 200, body = super::FlagAnswer), FlagResetProblems)
)]
pub(in crate::http) async fn reset(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    Extension(caller): Extension<Caller>,
    ExpectedRevision(expected_revision): ExpectedRevision,
) -> Result<Response, Problem> {
    app.flags.reset(flag, expected_revision, &caller.to_string()).await?;
    Ok(read::respond_with(&app, flag, &HeaderMap::new()))
}

/// Reads file, environment and database again; tells what that changed.
#[utoipa::path(
    post, path = "/api/v1/feature-flags/refresh", tag = "feature-flags",
    responses((status = 200, body = RefreshAnswer), RefreshProblems)
)]
pub(in crate::http) async fn refresh(State(app): State<Arc<App>>) -> Result<Json<RefreshAnswer>, Problem> {
    let changed = app.flags.refresh().await?;
    let changed = changed.into_iter().map(Difference::from).collect();
    Ok(Json(RefreshAnswer { changed, revision: app.flags.snapshot().revision() }))
}

/// Lists who changed a feature flag over HTTP, when, from what and to what; the latest first.
#[utoipa::path(
    get, path = "/api/v1/feature-flags/{name}/history", tag = "feature-flags",
    params(("name" = String, Path, description = "The flag", example = "quality_mode"), HistoryParameters),
    responses((status = 200, body = HistoryAnswer), FlagHistoryProblems)
)]
pub(in crate::http) async fn history(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    QueryParameters(parameters): QueryParameters<HistoryParameters>,
) -> Result<Json<HistoryAnswer>, Problem> {
    let changes = app.flags.history(flag, parameters.limit()?).await?;
    let changes = changes.into_iter().map(FlagHistoryEntry::from).collect();
    Ok(Json(HistoryAnswer { flag: flag.as_str(), changes }))
}

impl ChangeBody {
    fn into_change(self) -> Result<FlagChange, Problem> {
        let Self { enabled, rollout_percentage } = self;
        if enabled.is_none() && rollout_percentage.is_none() {
            return Err(Problem::new(Kind::InvalidField, "give `enabled`, `rollout_percentage`, or both"));
        }
        let rollout = rollout_percentage
            .map(Rollout::from_percent)
            .transpose()
            .map_err(|message| Problem::invalid(vec![FieldError::new("rollout_percentage", message)]))?;
        Ok(FlagChange { enabled, rollout, updated_at: None })
    }
}

impl JsonRequest for ChangeBody {
    fn max_bytes(_: &InputSettings) -> usize {
        MAX_BODY_BYTES
    }
}

impl From<FlagDifference> for Difference {
    fn from(FlagDifference { flag, from, to }: FlagDifference) -> Self {
        Self { flag: flag.as_str(), from: from.into(), to: to.into() }
    }
}

impl From<FlagState> for Setting {
    fn from(FlagState { enabled, rollout, source, .. }: FlagState) -> Self {
        Self { enabled, rollout_percentage: Percentage(rollout), source }
    }
}

impl From<FlagAuditEntry> for FlagHistoryEntry {
    fn from(entry: FlagAuditEntry) -> Self {
        let said =
            |change: FlagChange| Said { enabled: change.enabled, rollout_percentage: change.rollout.map(Percentage) };
        Self {
            revision: entry.revision,
            changed_at: Timestamp(entry.at),
            changed_by: entry.actor,
            from: entry.from.map(said),
            to: entry.to.map(said),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            RefreshError::File(_) => Self::new(Kind::FlagsFileRefused, error.to_string()),
            RefreshError::Storage(error) => error.into(),
        }
    }
}
