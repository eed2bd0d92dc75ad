//! Reading flags, and asking who has them.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, Json, extract::State, http::HeaderMap, response::Response};
use intent_engine::flags::{Evaluation, EvaluationReason, Flag};
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, ToSchema,
    openapi::schema::{ObjectBuilder, Schema, Type},
};

use super::{FlagAnswer, FlagsAnswer, NamedFlag, find};
use crate::http::{
    App,
    conditional::{self, KnownTag},
    error::{AnyProblem, FlagProblems, ParameterProblems, Problem},
    parameters::{PathText, QueryParameters},
    request_id::RequestId,
    user_id::{UserIdOfPath, must_be_user_id, user_id_schema},
};

/// Whether a user has a feature, and why.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckAnswer {
    /// The flag.
    #[schema(example = "quality_mode")]
    flag: &'static str,
    /// The user; null when none was named and the request itself was the subject.
    #[schema(example = "user123")]
    user_id: Option<String>,
    /// Whether the user has it.
    #[schema(example = true)]
    enabled: bool,
    /// Why.
    #[schema(schema_with = reason_schema)]
    reason: EvaluationReason,
}

/// Which features a user has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserFlags {
    /// The user.
    #[schema(example = "user123")]
    user_id: String,
    /// Each flag by its name.
    #[schema(example = json!({"caching": true, "quality_mode": false}))]
    flags: BTreeMap<&'static str, bool>,
}

/// Whom to ask about.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct CheckParameters {
    /// The user; without one the request itself is the subject, by its `X-Request-ID`.
    #[param(schema_with = user_id_schema, example = "user123")]
    user_id: Option<String>,
}

/// Lists all feature flags.
///
/// The `ETag` changes when any flag does; with `If-None-Match` nothing new is 304.
#[utoipa::path(
    get, path = "/api/v1/feature-flags", tag = "feature-flags",
    params(KnownTag),
    responses((status = 200, body = FlagsAnswer), (status = 304, description = "Nothing has changed"), AnyProblem)
)]
pub(in crate::http) async fn list(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let answer = FlagsAnswer::new(&app.flags);
    conditional::json(&headers, answer.revision, &answer)
}

/// Shows one feature flag.
#[utoipa::path(
    get, path = "/api/v1/feature-flags/{name}", tag = "feature-flags",
    params(
        ("name" = String, Path, description = "The flag", example = "quality_mode"),
        KnownTag,
    ),
    responses((status = 200, body = FlagAnswer), (status = 304, description = "It has not changed"), FlagProblems)
)]
pub(in crate::http) async fn one(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    headers: HeaderMap,
) -> Response {
    respond_with(&app, flag, &headers)
}

/// Answers with a flag as it is now, and its tag.
pub(super) fn respond_with(app: &App, flag: Flag, headers: &HeaderMap) -> Response {
    let answer = FlagAnswer::new(flag, &app.flags.snapshot(), &app.flags.revisions());
    conditional::json(headers, answer.revision, &answer)
}

/// Tells whether a user has a feature, and why.
#[utoipa::path(
    get, path = "/api/v1/feature-flags/check/{name}", tag = "feature-flags",
    params(("name" = String, Path, description = "The flag", example = "quality_mode"), CheckParameters),
    responses((status = 200, body = CheckAnswer), FlagProblems)
)]
pub(in crate::http) async fn check(
    State(app): State<Arc<App>>,
    Extension(request_id): Extension<RequestId>,
    PathText(name): PathText,
    QueryParameters(CheckParameters { user_id }): QueryParameters<CheckParameters>,
) -> Result<Json<CheckAnswer>, Problem> {
    let flag = find(&name)?;
    must_be_user_id(user_id.as_deref())?;
    let snapshot = app.flags.snapshot();
    let Evaluation { enabled, reason } = match &user_id {
        Some(user_id) => snapshot.evaluate(flag, user_id),
        None => snapshot.evaluate(flag, &request_id.to_string()),
    };
    Ok(Json(CheckAnswer { flag: flag.as_str(), user_id, enabled, reason }))
}

/// Tells which features a user has.
#[utoipa::path(
    get, path = "/api/v1/feature-flags/user/{user_id}", tag = "feature-flags",
    params(UserIdOfPath), responses((status = 200, body = UserFlags), ParameterProblems)
)]
pub(in crate::http) async fn of_user(
    State(app): State<Arc<App>>,
    UserIdOfPath(user_id): UserIdOfPath,
) -> Json<UserFlags> {
    let snapshot = app.flags.snapshot();
    let flags = Flag::ALL.map(|flag| (flag.as_str(), snapshot.evaluate(flag, &user_id).enabled)).into();
    Json(UserFlags { user_id, flags })
}

/// Describes [`EvaluationReason`], whose crate knows no OpenAPI.
fn reason_schema() -> Schema {
    let reasons = ["disabled", "full_rollout", "in_rollout", "not_in_rollout"];
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(reasons)).build())
}
