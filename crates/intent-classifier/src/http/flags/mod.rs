//! `/api/v1/feature-flags`: what is on, for whom, and who changed it.

pub(super) mod change;
pub(super) mod read;

use std::collections::BTreeMap;

use axum::{extract::FromRequestParts, http::request::Parts};
use intent_engine::flags::{Flag, FlagSnapshot, FlagSource, FlagState, Rollout};
use serde::{Serialize, Serializer};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::schema::{ObjectBuilder, Schema, Type},
};

use super::{
    body::shorten,
    error::{Kind, Problem},
    parameters::PathText,
    time::Timestamp,
};
use crate::flags::FeatureFlags;

/// All feature flags.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlagsAnswer {
    /// Each flag by its name.
    flags: BTreeMap<&'static str, FlagAnswer>,
    /// Grows with every change over HTTP, of any flag.
    #[schema(example = 17)]
    revision: u64,
}

/// A feature flag as it is in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FlagAnswer {
    /// Its name.
    #[schema(example = "quality_mode")]
    name: &'static str,
    /// On or off.
    #[schema(example = true)]
    enabled: bool,
    /// For which share of the users it is on, in steps of 0.001 %.
    #[schema(example = 25)]
    rollout_percentage: Percentage,
    /// What it does.
    description: &'static str,
    /// Who decided: `default`, `file`, `env` or `api`. Later ones win.
    #[schema(schema_with = source_schema)]
    source: FlagSource,
    /// When that was said; null where it is not known: default and environment.
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    updated_at: Option<Timestamp>,
    /// The revision at its last change over HTTP, for `If-Match`; 0 when it is not set over HTTP.
    #[schema(example = 17)]
    revision: u64,
}

/// A share in percent, 0 to 100; written without a fraction when it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percentage(pub(super) Rollout);

/// The flag that a path names.
#[derive(Clone, Copy, Debug)]
pub(super) struct NamedFlag(pub(super) Flag);

impl FlagsAnswer {
    fn new(flags: &FeatureFlags) -> Self {
        let (snapshot, revisions) = (flags.snapshot(), flags.revisions());
        let all = Flag::ALL.map(|flag| (flag.as_str(), FlagAnswer::new(flag, &snapshot, &revisions)));
        Self { flags: all.into(), revision: snapshot.revision() }
    }
}

impl FlagAnswer {
    fn new(flag: Flag, snapshot: &FlagSnapshot, revisions: &BTreeMap<Flag, u64>) -> Self {
        let FlagState { enabled, rollout, source, updated_at } = *snapshot.state(flag);
        Self {
            name: flag.as_str(),
            enabled,
            rollout_percentage: Percentage(rollout),
            description: flag.description(),
            source,
            updated_at: updated_at.map(Timestamp),
            revision: revisions.get(&flag).copied().unwrap_or(0),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamedFlag {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathText(name) = PathText::from_request_parts(parts, state).await?;
        find(&name).map(Self)
    }
}

/// Finds a flag by its name.
///
/// # Errors
/// 404 that names the flags there are.
pub(super) fn find(name: &str) -> Result<Flag, Problem> {
    name.parse().map_err(|_| {
        let unknown = shorten(name).parse::<Flag>().expect_err("what is no flag's name is none when it is shortened");
        Problem::new(Kind::UnknownFlag, unknown)
    })
}

impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percent = self.0.percent();
        if percent.fract() == 0.0 {
            serializer.serialize_u64(percent as u64)
        } else {
            serializer.serialize_f64(percent)
        }
    }
}

impl PartialSchema for Percentage {
    fn schema() -> utoipa::openapi::RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(100)).into()
    }
}

impl ToSchema for Percentage {}

/// Describes [`FlagSource`], whose crate knows no OpenAPI.
fn source_schema() -> Schema {
    let sources = ["default", "file", "env", "api"];
    Schema::Object(ObjectBuilder::new().schema_type(Type::String).enum_values(Some(sources)).build())
}
