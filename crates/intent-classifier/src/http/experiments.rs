//! `/api/v1/experiments`: what is tried on whom, and what has come of it.

use std::sync::Arc;

use axum::{Json, extract::State};
use intent_engine::{
    Experiment, StrategyName,
    experiment::{Difference, GroupResult, Recommendation},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    App,
    error::{ExperimentProblems, Kind, Problem, ServiceProblems},
    parameters::PathText,
};
use crate::experiments::{self, GroupReport};

/// A p value below this says that something is wrong with the groups.
const SAMPLE_RATIO_THRESHOLD: f64 = 0.001;

/// All experiments.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExperimentsAnswer {
    /// There is one, on routing strategies.
    experiments: Vec<ExperimentAnswer>,
}

/// What an experiment is.
#[derive(Debug, Serialize, ToSchema)]
struct Head {
    /// Its name.
    #[schema(example = "routing_strategy")]
    name: String,
    /// `running`, or `stopped` when nobody tries anything.
    #[schema(example = "running")]
    status: &'static str,
    /// The share of the users that tries another strategy, 0 to 1.
    #[schema(example = 0.3)]
    share: f64,
}

/// An experiment.
#[derive(Debug, Serialize, ToSchema)]
struct ExperimentAnswer {
    #[serde(flatten)]
    #[schema(inline)]
    head: Head,
    /// The groups, control first, with the share of the users that each has.
    groups: Vec<GroupShare>,
}

/// A group and its size.
#[derive(Debug, Serialize, ToSchema)]
struct GroupShare {
    /// The strategy that it tries; `control` goes by the strategy in force.
    #[schema(example = "balanced")]
    group: &'static str,
    /// Its share of the users, 0 to 1.
    #[schema(example = 0.1)]
    expected_share: f64,
}

/// What has come of an experiment, over all replicas and restarts.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResultsAnswer {
    #[serde(flatten)]
    #[schema(inline)]
    head: Head,
    /// The groups, control first. Only what was decided with the present share and strategies counts.
    groups: Vec<GroupAnswer>,
    /// Whether the groups have the sizes they should.
    sample_ratio: SampleRatio,
    /// The probability that all intervals hold at all times: 1 minus the risk of a false alarm, however often one looks.
    #[schema(example = 0.95)]
    confidence_level: f64,
    /// What follows: `not_running`, `sample_ratio_mismatch`, `keep_collecting`, `adopt` or `stop`.
    #[schema(example = "adopt")]
    conclusion: &'static str,
    /// The group that `adopt` or `stop` is about.
    #[schema(example = "balanced")]
    conclusion_group: Option<&'static str>,
    /// What to do, in words.
    #[schema(example = "`balanced` answers more accurately than `control`; adopt it")]
    recommendation: String,
    /// Decisions of this process that are missing here, because the database did not keep up.
    lost_exposures: u64,
}

/// What has come of one group.
#[derive(Debug, Serialize, ToSchema)]
struct GroupAnswer {
    /// The group.
    #[schema(example = "balanced")]
    group: &'static str,
    /// The share of the users that it should have, 0 to 1.
    expected_share: f64,
    /// How many users; a request without a user counts as one.
    subjects: u64,
    /// How many decisions.
    count: u64,
    /// Latency in milliseconds.
    latency_ms: Latency,
    /// Mean confidence, 0 to 1.
    mean_confidence: Option<f64>,
    /// How often a model was stepped over.
    fallbacks: u64,
    /// How many decisions were degraded.
    degraded: u64,
    /// How many decisions users gave their word on.
    feedback: u64,
    /// The share of them that users confirmed; null without feedback.
    accuracy: Option<f64>,
    /// How the group differs from control; absent for control, while there are fewer than 50 users in either, and when
    /// the groups do not have the sizes they should.
    difference_to_control: Differences,
}

/// Latency in milliseconds; null without decisions.
#[derive(Debug, Serialize, ToSchema)]
struct Latency {
    mean: Option<f64>,
    p50: Option<f64>,
    p95: Option<f64>,
    p99: Option<f64>,
}

/// Differences to control.
#[derive(Debug, Serialize, ToSchema)]
struct Differences {
    /// Of the accuracy, from feedback.
    accuracy: Option<DifferenceAnswer>,
    /// Of the mean latency, in milliseconds.
    latency_ms: Option<DifferenceAnswer>,
    /// Of the mean confidence.
    confidence: Option<DifferenceAnswer>,
}

/// A difference with an interval that is valid at any time (asymptotic confidence sequence).
#[derive(Debug, Serialize, ToSchema)]
struct DifferenceAnswer {
    /// What was observed.
    estimate: f64,
    /// It is at least this.
    low: f64,
    /// It is at most this.
    high: f64,
    /// Whether it is certainly not zero.
    is_certain: bool,
}

/// Whether the groups have the sizes they should.
#[derive(Debug, Serialize, ToSchema)]
struct SampleRatio {
    /// How likely sizes as uneven as these are, if all is well.
    #[schema(example = 0.43)]
    p_value: f64,
    /// Below this, no conclusion is drawn.
    #[schema(example = 0.001)]
    threshold: f64,
    /// Whether conclusions may be drawn.
    passed: bool,
}

/// Lists the experiments.
#[utoipa::path(
    get, path = "/api/v1/experiments", tag = "experiments",
    responses((status = 200, body = ExperimentsAnswer), ServiceProblems)
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<ExperimentsAnswer>, Problem> {
    let experiment = app.serving()?.engine().experiment();
    Ok(Json(ExperimentsAnswer { experiments: vec![ExperimentAnswer::from(&*experiment)] }))
}

/// Shows what has come of an experiment: groups, differences to control, and what to do.
#[utoipa::path(
    get, path = "/api/v1/experiments/{name}/results", tag = "experiments",
    params(("name" = String, Path, description = "The experiment", example = "routing_strategy")),
    responses((status = 200, body = ResultsAnswer), ExperimentProblems)
)]
pub(super) async fn results(
    State(app): State<Arc<App>>,
    PathText(name): PathText,
) -> Result<Json<ResultsAnswer>, Problem> {
    let experiment = app.serving()?.engine().experiment();
    if name != *experiment.name {
        let detail = format!("there is no experiment of this name, only `{}`", experiment.name);
        return Err(Problem::new(Kind::UnknownExperiment, detail));
    }
    let report = experiments::report(&app.storage, &experiment).await?;
    let results = &report.results;
    let conclusion_group = match results.recommendation {
        Recommendation::Adopt(group) | Recommendation::Stop(group) => Some(group),
        _ => None,
    };
    Ok(Json(ResultsAnswer {
        head: Head::from(&*experiment),
        groups: results.groups.iter().zip(&report.groups).map(GroupAnswer::from).collect(),
        sample_ratio: SampleRatio {
            p_value: results.sample_ratio_p_value,
            threshold: SAMPLE_RATIO_THRESHOLD,
            passed: results.recommendation != Recommendation::SampleRatioMismatch,
        },
        confidence_level: 0.95,
        conclusion: results.recommendation.as_str(),
        conclusion_group: conclusion_group.map(StrategyName::as_str),
        recommendation: results.in_words(),
        lost_exposures: app.exposures.lost(),
    }))
}

impl From<&Experiment> for Head {
    fn from(experiment: &Experiment) -> Self {
        let status = if experiment.is_running() { "running" } else { "stopped" };
        Self { name: experiment.name.to_string(), status, share: experiment.share }
    }
}

impl From<&Experiment> for ExperimentAnswer {
    fn from(experiment: &Experiment) -> Self {
        let groups = experiment.expected_shares().into_iter();
        Self {
            head: Head::from(experiment),
            groups: groups
                .map(|(group, share)| GroupShare { group: group.as_str(), expected_share: rounded(share) })
                .collect(),
        }
    }
}

impl From<(&GroupResult, &GroupReport)> for GroupAnswer {
    fn from((result, report): (&GroupResult, &GroupReport)) -> Self {
        let outcome = &result.outcome;
        let [p50, p95, p99] = report.latency_ms.map(|latency| latency.map(rounded));
        Self {
            group: outcome.group.as_str(),
            expected_share: rounded(result.expected_share),
            subjects: outcome.latency_ms.subjects,
            count: report.totals.exposures,
            latency_ms: Latency { mean: outcome.latency_ms.mean().map(rounded), p50, p95, p99 },
            mean_confidence: outcome.confidence.mean().map(rounded),
            fallbacks: report.totals.fallbacks,
            degraded: report.totals.degraded,
            feedback: outcome.accuracy.observations as u64,
            accuracy: outcome.accuracy.mean().map(rounded),
            difference_to_control: Differences {
                accuracy: result.accuracy.map(DifferenceAnswer::from),
                latency_ms: result.latency_ms.map(DifferenceAnswer::from),
                confidence: result.confidence.map(DifferenceAnswer::from),
            },
        }
    }
}

impl From<Difference> for DifferenceAnswer {
    fn from(difference: Difference) -> Self {
        Self {
            estimate: rounded(difference.estimate),
            low: rounded(difference.low),
            high: rounded(difference.high),
            is_certain: difference.is_certain(),
        }
    }
}

/// Six digits are more than any of these figures is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
