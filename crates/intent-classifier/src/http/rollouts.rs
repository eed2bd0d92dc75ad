//! `/api/v1/rollouts`: flags that are given to more and more users, for as long as nothing gets worse.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{Extension, Json, extract::State, http::StatusCode};
use intent_engine::{
    experiment::Clusters,
    flags::{Flag, Rollout},
    rollout::{Event, FlagSetting, Guard, GuardReport, Next, Plan},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    App,
    body::{JsonBody, JsonRequest},
    caller::Caller,
    error::{FieldError, Kind, Problem, RolloutChangeProblems, RolloutProblems, RolloutStartProblems, StorageProblems},
    flags::{NamedFlag, Percentage},
    time::Timestamp,
};
use crate::{
    config::InputSettings,
    rollouts::{Intervention, Report, RolloutError},
};

/// The largest body of a start, in bytes; what is known fits many times.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// A rollout to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "flag": "quality_mode", "steps": [10, 25, 50, 75, 100], "every": "24h",
    "guards": ["error_rate<1%", "p95<200ms"]
}))]
pub(crate) struct StartBody {
    /// The flag.
    flag: String,
    /// For which share of the users it is on, step by step, 0 to 100; each more than the one before.
    #[schema(min_items = 1, max_items = 20)]
    steps: Vec<f64>,
    /// How long each step lasts at least: `30s`, `15m`, `24h`, `7d`.
    every: String,
    /// What has to hold for those who have the feature: `error_rate<1%`, `p95<200ms`, `accuracy>90%`,
    /// `mean_latency<=control+10ms`. That errors and wrong answers are no more frequent than without it is always among
    /// them.
    #[serde(default)]
    #[schema(max_items = 10)]
    guards: Vec<String>,
    /// How many decisions with and without the feature a step waits for.
    #[schema(minimum = 50, default = 500)]
    minimum_decisions: Option<u64>,
}

/// The latest rollout of every flag that had one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutsAnswer {
    /// By the flag's name.
    rollouts: Vec<RolloutAnswer>,
}

/// A rollout as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutAnswer {
    /// The flag.
    #[schema(example = "quality_mode")]
    flag: &'static str,
    /// Its id; the audit trail of the flag has its changes as of `rollout/ID`.
    id: String,
    /// `running`, `paused`, `rolled_back`, `aborted` or `completed`.
    #[schema(example = "running")]
    status: &'static str,
    /// The step in force, from 1; 0 when the first was taken back.
    #[schema(example = 2)]
    step: usize,
    /// For which share of the users the flag is on, step by step.
    steps: Vec<Percentage>,
    /// For which share of the users the flag is on by this rollout; 0 when it is off.
    #[schema(example = 25)]
    rollout_percentage: Percentage,
    /// Since when the step is in force.
    since: Timestamp,
    /// When the next step is taken at the earliest; null when none is to come.
    next_step_at: Option<Timestamp>,
    /// How long each step lasts at least, in seconds.
    #[schema(example = 86400)]
    every_seconds: f64,
    /// How many decisions with and without the feature a step waits for.
    #[schema(example = 500)]
    minimum_decisions: u64,
    /// What the next step waits for, in words; empty when no step is to come.
    waiting_for: Vec<String>,
    /// Why it does not go on; null when it does, or is complete.
    reason: Option<String>,
    /// Decisions observed in this step.
    decisions: Decisions,
    /// What has to hold, and what was observed in this step.
    guards: Vec<GuardAnswer>,
    /// What the flag was before.
    before: Before,
    /// What happened, the latest last.
    events: Vec<EventAnswer>,
    /// The revision at its last change.
    revision: u64,
}

/// Decisions observed in a step.
#[derive(Debug, Serialize, ToSchema)]
struct Decisions {
    /// Of users who have the feature.
    with_feature: u64,
    /// Of users who do not.
    without_feature: u64,
}

/// A guard and what was observed.
#[derive(Debug, Serialize, ToSchema)]
struct GuardAnswer {
    /// The guard.
    #[schema(example = "error_rate<1%")]
    guard: String,
    /// `holds`, `too_few`, `exceeded` (which may be chance) or `violated` (which is not).
    #[schema(example = "holds")]
    verdict: &'static str,
    /// What was observed with the feature.
    with_feature: Observed,
    /// What was observed without it.
    without_feature: Observed,
    /// The same in words.
    in_words: String,
}

/// What was observed in a group.
#[derive(Debug, Serialize, ToSchema)]
struct Observed {
    /// The mean of what the guard is about, where higher is worse: a share of 0 to 1 (of errors, of wrong answers, of
    /// decisions that were slower than the bound) or milliseconds; null without observations.
    mean: Option<f64>,
    /// How many observations.
    observations: u64,
    /// Of how many users; a request without a user counts as one.
    subjects: u64,
}

/// What a flag was before its rollout.
#[derive(Debug, Serialize, ToSchema)]
struct Before {
    /// On or off.
    enabled: bool,
    /// For which share of the users, when it was on.
    rollout_percentage: Percentage,
}

/// Something that happened to a rollout.
#[derive(Debug, Serialize, ToSchema)]
struct EventAnswer {
    /// When.
    at: Timestamp,
    /// `started`, `stepped`, `rolled_back`, `paused`, `resumed`, `aborted` or `completed`.
    #[schema(example = "stepped")]
    action: &'static str,
    /// For which share of the users the flag was on from then on.
    #[schema(example = 25)]
    rollout_percentage: Percentage,
    /// Who or what did it.
    #[schema(example = "token:alice")]
    by: String,
    /// Why; null when it was time.
    reason: Option<String>,
}

/// Starts a guarded rollout: its first step is in force at once, on every replica.
#[utoipa::path(
    post, path = "/api/v1/rollouts", tag = "rollouts",
    request_body = StartBody, responses((status = 201, body = RolloutAnswer), RolloutStartProblems)
)]
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody<StartBody>,
) -> Result<(StatusCode, Json<RolloutAnswer>), Problem> {
    let report = app.rollouts.start(body.into_plan()?, &caller.to_string()).await?;
    Ok((StatusCode::CREATED, Json(RolloutAnswer::new(report))))
}

/// Lists the latest rollout of every flag that had one.
#[utoipa::path(
    get, path = "/api/v1/rollouts", tag = "rollouts",
    responses((status = 200, body = RolloutsAnswer), StorageProblems)
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<RolloutsAnswer>, Problem> {
    let reports = app.rollouts.list().await?;
    Ok(Json(RolloutsAnswer { rollouts: reports.into_iter().map(RolloutAnswer::new).collect() }))
}

/// Shows the latest rollout of a flag: where it stands, what it waits for, what its guards say.
#[utoipa::path(
    get, path = "/api/v1/rollouts/{flag}", tag = "rollouts",
    params(("flag" = String, Path, description = "The flag", example = "quality_mode")),
    responses((status = 200, body = RolloutAnswer), RolloutProblems)
)]
pub(super) async fn one(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
) -> Result<Json<RolloutAnswer>, Problem> {
    Ok(Json(RolloutAnswer::new(app.rollouts.of(flag).await?)))
}

/// Stops a rollout for a while: the flag stays as it is, and nobody watches the guards.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{flag}/pause", tag = "rollouts",
    params(("flag" = String, Path, description = "The flag", example = "quality_mode")),
    responses((status = 200, body = RolloutAnswer), RolloutChangeProblems)
)]
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    Extension(caller): Extension<Caller>,
) -> Result<Json<RolloutAnswer>, Problem> {
    intervene(&app, flag, Intervention::Pause, &caller).await
}

/// Lets a rollout go on that was paused or taken back: the flag is set to the step in force, which begins anew.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{flag}/resume", tag = "rollouts",
    params(("flag" = String, Path, description = "The flag", example = "quality_mode")),
    responses((status = 200, body = RolloutAnswer), RolloutChangeProblems)
)]
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    Extension(caller): Extension<Caller>,
) -> Result<Json<RolloutAnswer>, Problem> {
    intervene(&app, flag, Intervention::Resume, &caller).await
}

/// Ends a rollout: the flag becomes what it was before.
#[utoipa::path(
    post, path = "/api/v1/rollouts/{flag}/abort", tag = "rollouts",
    params(("flag" = String, Path, description = "The flag", example = "quality_mode")),
    responses((status = 200, body = RolloutAnswer), RolloutChangeProblems)
)]
pub(super) async fn abort(
    State(app): State<Arc<App>>,
    NamedFlag(flag): NamedFlag,
    Extension(caller): Extension<Caller>,
) -> Result<Json<RolloutAnswer>, Problem> {
    intervene(&app, flag, Intervention::Abort, &caller).await
}

async fn intervene(
    app: &App,
    flag: Flag,
    intervention: Intervention,
    caller: &Caller,
) -> Result<Json<RolloutAnswer>, Problem> {
    Ok(Json(RolloutAnswer::new(app.rollouts.intervene(flag, intervention, &caller.to_string()).await?)))
}

impl StartBody {
    /// Checks all of it.
    fn into_plan(self) -> Result<Plan, Problem> {
        let mut errors = Vec::new();
        let flag = self.flag.parse::<Flag>().map_err(|message| errors.push(FieldError::new("flag", message))).ok();
        let mut steps = Vec::with_capacity(self.steps.len());
        for (index, percent) in self.steps.into_iter().enumerate() {
            match Rollout::from_percent(percent) {
                Ok(step) => steps.push(step),
                Err(message) => errors.push(FieldError::new(format!("steps[{index}]"), message)),
            }
        }
        let every = humantime::parse_duration(&self.every)
            .map_err(|error| {
                let message = format!("{error}, expected a number with its unit, as in `30s`, `15m`, `24h` or `7d`");
                errors.push(FieldError::new("every", message));
            })
            .ok();
        let mut guards = Vec::with_capacity(self.guards.len());
        for (index, guard) in self.guards.iter().enumerate() {
            match guard.parse::<Guard>() {
                Ok(guard) => guards.push(guard),
                Err(message) => errors.push(FieldError::new(format!("guards[{index}]"), message)),
            }
        }
        let minimum_decisions = self.minimum_decisions.unwrap_or(Plan::DEFAULT_MINIMUM_DECISIONS);
        let (Some(flag), Some(every), true) = (flag, every, errors.is_empty()) else {
            return Err(Problem::invalid(errors));
        };
        let plan = Plan { flag, steps, every, guards, minimum_decisions };
        let problems = plan.problems();
        if problems.is_empty() {
            return Ok(plan);
        }
        Err(Problem::invalid(
            problems.into_iter().map(|problem| FieldError::new(problem.field, problem.message)).collect(),
        ))
    }
}

impl JsonRequest for StartBody {
    fn max_bytes(_: &InputSettings) -> usize {
        MAX_BODY_BYTES
    }
}

impl RolloutAnswer {
    fn new(report: Report) -> Self {
        let Report { stored, assessment, evidence, at } = report;
        let (rollout, revision) = (stored.rollout, stored.revision);
        let is_going_on = matches!(assessment.next, Next::Wait(_) | Next::Step | Next::Complete);
        let waiting_for = match &assessment.next {
            Next::Wait(waiting) => waiting.iter().map(|one| one.in_words(at)).collect(),
            _ => Vec::new(),
        };
        Self {
            flag: rollout.plan.flag.as_str(),
            status: rollout.status.as_str(),
            step: rollout.step.map_or(0, |step| step + 1),
            steps: rollout.plan.steps.iter().copied().map(Percentage).collect(),
            rollout_percentage: percentage(rollout.setting().percent()),
            since: Timestamp(rollout.stage_since),
            next_step_at: is_going_on.then(|| Timestamp(next_step(rollout.stage_since, rollout.plan.every))),
            every_seconds: rollout.plan.every.as_secs_f64(),
            minimum_decisions: rollout.plan.minimum_decisions,
            waiting_for,
            reason: rollout.reason,
            decisions: Decisions {
                with_feature: evidence.treatment.decisions(),
                without_feature: evidence.control.decisions(),
            },
            guards: assessment.guards.iter().map(GuardAnswer::from).collect(),
            before: rollout.before.into(),
            events: rollout.events.into_iter().map(EventAnswer::from).collect(),
            id: rollout.id,
            revision,
        }
    }
}

/// Makes a percentage of what is one.
fn percentage(percent: f64) -> Percentage {
    Percentage(Rollout::from_percent(percent).unwrap_or(Rollout::NONE))
}

fn next_step(since: SystemTime, every: Duration) -> SystemTime {
    since.checked_add(every).unwrap_or(since)
}

impl From<&GuardReport> for GuardAnswer {
    fn from(report: &GuardReport) -> Self {
        Self {
            guard: report.guard.to_string(),
            verdict: report.verdict.as_str(),
            with_feature: report.treatment.into(),
            without_feature: report.control.into(),
            in_words: report.in_words(),
        }
    }
}

impl From<Clusters> for Observed {
    fn from(clusters: Clusters) -> Self {
        Self {
            // Six digits are more than the figure is good for.
            mean: clusters.mean().map(|mean| (mean * 1e6).round() / 1e6),
            observations: clusters.observations as u64,
            subjects: clusters.subjects,
        }
    }
}

impl From<FlagSetting> for Before {
    fn from(setting: FlagSetting) -> Self {
        Self { enabled: setting.enabled, rollout_percentage: Percentage(setting.rollout) }
    }
}

impl From<Event> for EventAnswer {
    fn from(event: Event) -> Self {
        Self {
            at: Timestamp(event.at),
            action: event.action.as_str(),
            rollout_percentage: percentage(event.percent),
            by: event.by,
            reason: event.reason,
        }
    }
}

impl From<RolloutError> for Problem {
    fn from(error: RolloutError) -> Self {
        let kind = match error {
            RolloutError::Storage(error) => return error.into(),
            RolloutError::Unknown(_) => Kind::UnknownRollout,
            RolloutError::UnderWay { .. } | RolloutError::Status(_) | RolloutError::Contended => Kind::RolloutConflict,
        };
        Self::new(kind, error.to_string())
    }
}
