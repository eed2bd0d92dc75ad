//! `/api/v1/intents/routing/config`: what the router goes by, and who changed it.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use axum::{Extension, Json, extract::State, http::HeaderMap, response::Response};
use intent_engine::StrategyName;
use intent_model::ModelKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::{
    config::InputSettings,
    http::{
        App,
        body::{JsonBody, JsonRequest, given},
        caller::Caller,
        conditional::{self, ExpectedRevision, KnownTag},
        error::{FieldError, HistoryProblems, Problem, RoutingChangeProblems, ServiceProblems},
        history::HistoryParameters,
        parameters::QueryParameters,
        time::Timestamp,
    },
    routing::{ExperimentSettings, Invalid, LatencyTargetsMs, RoutingChange},
    storage::{ChangeError, DocumentChange},
};

/// The largest body of a change, in bytes; what is known fits many times.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What the router goes by.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoutingAnswer {
    /// The strategy for requests that are in no experiment and name none.
    #[schema(example = "control", value_type = String)]
    strategy: StrategyName,
    /// By model: the confidence from which its answer is taken, 0 to 1; above 1 where it never is.
    #[schema(example = json!({"rules": 0.85, "zero_shot": 0.7, "linear": 0.92}))]
    thresholds: BTreeMap<&'static str, f64>,
    /// By model: the share of texts that it is expected to get right, 0 to 1.
    #[schema(example = json!({"rules": 0.61, "linear": 0.9, "hybrid": 0.94}))]
    accuracy: BTreeMap<&'static str, f64>,
    /// How soon an answer is due, by latency requirement, in milliseconds.
    #[schema(example = json!({"critical": 50, "standard": 200, "relaxed": 500}))]
    latency_targets_ms: BTreeMap<&'static str, f64>,
    /// The experiment.
    experiment: RoutingExperiment,
    /// What of all this was said over HTTP; the rest is as configured, or as training has it.
    #[schema(value_type = Object)]
    set_over_http: Value,
    /// The revision of what was said over HTTP, for `If-Match`; 0 when nothing was.
    #[schema(example = 3)]
    revision: u64,
}

/// The experiment on strategies.
#[derive(Debug, Serialize, ToSchema)]
struct RoutingExperiment {
    /// Its name.
    #[schema(example = "routing_strategy")]
    name: String,
    /// The share of the users that tries another strategy, 0 to 1.
    #[schema(example = 0.3)]
    share: f64,
    /// What they try, each an equal part of the share.
    #[schema(value_type = Vec<String>, example = json!(["aggressive_rules", "balanced"]))]
    strategies: Vec<StrategyName>,
}

/// What to change; what is left out stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"thresholds": {"rules": 0.9}, "experiment": {"share": 0.3}}))]
pub(crate) struct RoutingBody {
    /// The strategy in force.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    strategy: Option<String>,
    /// By model: the confidence from which its answer is taken, 0 to 1; null for the one configured or trained.
    #[serde(default)]
    thresholds: BTreeMap<String, Option<f64>>,
    /// By model: the share of texts that it is expected to get right, 0 to 1; null for what training measured.
    #[serde(default)]
    accuracy: BTreeMap<String, Option<f64>>,
    /// How soon an answer is due, in milliseconds.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    latency_targets_ms: Option<TargetsBody>,
    /// The experiment.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    experiment: Option<ExperimentBody>,
}

/// Latency targets to change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TargetsBody {
    /// For `critical`.
    #[serde(default, deserialize_with = "given")]
    #[schema(exclusive_minimum = 0, maximum = 60000, nullable = false)]
    critical: Option<f64>,
    /// For `standard`.
    #[serde(default, deserialize_with = "given")]
    #[schema(exclusive_minimum = 0, maximum = 60000, nullable = false)]
    standard: Option<f64>,
    /// For `relaxed`.
    #[serde(default, deserialize_with = "given")]
    #[schema(exclusive_minimum = 0, maximum = 60000, nullable = false)]
    relaxed: Option<f64>,
}

/// What to change of the experiment.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ExperimentBody {
    /// Another name divides the users anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// The share of the users that tries another strategy.
    #[serde(default, deserialize_with = "given")]
    #[schema(minimum = 0, maximum = 1, nullable = false)]
    share: Option<f64>,
    /// What they try.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    strategies: Option<Vec<String>>,
}

/// Changes of the router's settings over HTTP, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoutingHistory {
    /// At most as many as were asked for.
    changes: Vec<RoutingHistoryEntry>,
}

/// A change of the router's settings.
#[derive(Debug, Serialize, ToSchema)]
struct RoutingHistoryEntry {
    /// The revision it made.
    #[schema(example = 3)]
    revision: u64,
    /// When.
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    changed_at: Timestamp,
    /// Who.
    changed_by: String,
    /// What had been said over HTTP before; null when nothing had.
    #[schema(value_type = Option<Object>)]
    from: Option<Value>,
    /// What was said from then on; null when all of it was taken back.
    #[schema(value_type = Option<Object>)]
    to: Option<Value>,
}

/// Shows what the router goes by.
#[utoipa::path(
    get, path = "/api/v1/intents/routing/config", tag = "routing",
    params(KnownTag),
    responses((status = 200, body = RoutingAnswer), (status = 304, description = "Nothing has changed"), ServiceProblems)
)]
pub(in crate::http) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Problem> {
    let answer = RoutingAnswer::of(&app)?;
    Ok(conditional::json(&headers, answer.revision, &answer))
}

/// Changes what the router goes by, on every replica: all of it or nothing.
///
/// With `If-Match` only when nobody has changed it since: the `ETag` of an earlier answer, else 409.
#[utoipa::path(
    put, path = "/api/v1/intents/routing/config", tag = "routing",
    params(ExpectedRevision),
    request_body = RoutingBody, responses((status = 200, body = RoutingAnswer), RoutingChangeProblems)
)]
pub(in crate::http) async fn change(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    ExpectedRevision(expected_revision): ExpectedRevision,
    JsonBody(body): JsonBody<RoutingBody>,
) -> Result<Response, Problem> {
    let change = body.into_change()?;
    let engine = app.serving()?.engine();
    app.routing.change(change, expected_revision, &caller.to_string()).await?;
    app.routing.apply(engine);
    let answer = RoutingAnswer::of(&app)?;
    Ok(conditional::json(&HeaderMap::new(), answer.revision, &answer))
}

/// Lists who changed the router's settings over HTTP, when, from what and to what; the latest first.
#[utoipa::path(
    get, path = "/api/v1/intents/routing/config/history", tag = "routing",
    params(HistoryParameters), responses((status = 200, body = RoutingHistory), HistoryProblems)
)]
pub(in crate::http) async fn history(
    State(app): State<Arc<App>>,
    QueryParameters(parameters): QueryParameters<HistoryParameters>,
) -> Result<Json<RoutingHistory>, Problem> {
    let changes = app.routing.history(parameters.limit()?).await?.into_iter().map(RoutingHistoryEntry::from).collect();
    Ok(Json(RoutingHistory { changes }))
}

impl RoutingAnswer {
    fn of(app: &App) -> Result<Self, Problem> {
        let catalog = app.serving()?.engine().catalog();
        let state = app.routing.in_force();
        let config = &state.config;
        let trained = |of: &dyn Fn(ModelKind) -> Option<f32>| {
            let one = |kind: ModelKind| Some((kind.as_str(), shortest(of(kind)?)));
            ModelKind::ALL.into_iter().filter_map(one).collect()
        };
        let targets = config.latency_targets;
        let targets = [("critical", targets.critical), ("standard", targets.standard), ("relaxed", targets.relaxed)];
        Ok(Self {
            strategy: config.strategy,
            thresholds: trained(&|kind| {
                let loaded = catalog.get(kind).map(|loaded| config.threshold(kind, loaded));
                loaded.or_else(|| config.thresholds.get(&kind).copied())
            }),
            accuracy: trained(&|kind| {
                let loaded = catalog.get(kind).map(|loaded| config.accuracy(kind, loaded));
                loaded.or_else(|| config.accuracy.get(&kind).copied())
            }),
            latency_targets_ms: targets.map(|(name, target)| (name, target.as_secs_f64() * 1e3)).into(),
            experiment: RoutingExperiment {
                name: state.experiment.name.to_string(),
                share: state.experiment.share,
                strategies: state.experiment.treatments.clone(),
            },
            set_over_http: state.stored.write().unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            revision: state.revision,
        })
    }
}

impl RoutingBody {
    /// Reads the names; whether the values can be used is checked together with those that stay.
    fn into_change(self) -> Result<RoutingChange, Problem> {
        let Self { strategy, thresholds, accuracy, latency_targets_ms, experiment } = self;
        let mut errors = Vec::new();
        let strategy = strategy.and_then(|name| parse("strategy", &name, &mut errors));
        let thresholds = by_model("thresholds", thresholds, &mut errors);
        let accuracy = by_model("accuracy", accuracy, &mut errors);
        let experiment = experiment.unwrap_or_default();
        let strategies = experiment.strategies.map(|names| {
            let parsed = names.iter().enumerate();
            parsed.filter_map(|(at, name)| parse(&format!("experiment.strategies[{at}]"), name, &mut errors)).collect()
        });
        if !errors.is_empty() {
            return Err(Problem::invalid(errors));
        }
        let TargetsBody { critical, standard, relaxed } = latency_targets_ms.unwrap_or_default();
        Ok(RoutingChange {
            strategy,
            thresholds,
            accuracy,
            latency_targets_ms: LatencyTargetsMs { critical, standard, relaxed },
            experiment: ExperimentSettings { name: experiment.name, share: experiment.share, strategies },
        })
    }
}

impl JsonRequest for RoutingBody {
    fn max_bytes(_: &InputSettings) -> usize {
        MAX_BODY_BYTES
    }
}

fn parse<T: FromStr<Err = String>>(field: &str, name: &str, errors: &mut Vec<FieldError>) -> Option<T> {
    name.parse().map_err(|message: String| errors.push(FieldError::new(field, message))).ok()
}

fn by_model(
    field: &str,
    values: BTreeMap<String, Option<f64>>,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<ModelKind, Option<f64>> {
    let read = |(name, value): (String, Option<f64>)| Some((parse(&format!("{field}.{name}"), &name, errors)?, value));
    values.into_iter().filter_map(read).collect()
}

/// Writes 0.85 as 0.85 and not with the digits that only single precision made.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().expect("a number as it was written")
}

impl From<ChangeError<Vec<Invalid>>> for Problem {
    fn from(error: ChangeError<Vec<Invalid>>) -> Self {
        match error {
            ChangeError::Invalid(fields) => Self::invalid(
                fields.into_iter().map(|invalid| FieldError::new(invalid.field, invalid.message)).collect(),
            ),
            ChangeError::Stale { current } => ChangeError::<std::convert::Infallible>::Stale { current }.into(),
            ChangeError::Storage(error) => error.into(),
        }
    }
}

impl From<DocumentChange> for RoutingHistoryEntry {
    fn from(line: DocumentChange) -> Self {
        let change = line.change;
        Self {
            revision: change.revision,
            changed_at: Timestamp(change.at),
            changed_by: line.actor,
            from: change.from,
            to: change.to,
        }
    }
}
