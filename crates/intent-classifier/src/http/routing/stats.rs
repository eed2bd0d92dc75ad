//! `GET /api/v1/intents/routing/stats`: what the router has decided.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use intent_engine::ModelStatus;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    experiments,
    http::{
        App,
        classify::Millis,
        error::{Problem, ServiceProblems},
        time::Timestamp,
    },
    telemetry::routing::{GroupCounts, ModelCounts},
};

/// What the router of this process has decided.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoutingStats {
    /// Texts that were decided on.
    #[schema(example = 1200)]
    total_requests: u64,
    /// Since when: the start of the process.
    since: Timestamp,
    /// By model.
    models: BTreeMap<&'static str, ModelStats>,
    /// By group of the experiment.
    experiment_groups: BTreeMap<&'static str, GroupStats>,
    /// Texts in flight now.
    in_flight: usize,
    /// The most texts in flight; more are refused.
    capacity: usize,
    /// Texts that wait for an inference thread now.
    waiting: usize,
}

/// One model.
#[derive(Debug, Serialize, ToSchema)]
struct ModelStats {
    /// Texts that it decided on, cached answers included.
    #[schema(example = 800)]
    count: u64,
    /// Their share of all texts, 0 to 1.
    #[schema(example = 0.667)]
    share: f64,
    /// Median time of a recent call, waiting included, in milliseconds; null before the first.
    p50_ms: Option<Millis>,
    /// 95th percentile of the same.
    p95_ms: Option<Millis>,
    /// 99th percentile of the same.
    p99_ms: Option<Millis>,
    /// Mean confidence of its decisions; null before the first.
    #[schema(example = 0.93)]
    mean_confidence: Option<f64>,
    /// How often it was stepped over because it could not answer.
    fallbacks: u64,
    /// How often it was left out because it did not fit the latency budget.
    skipped: u64,
    /// `closed`, `half_open` or `open`; null when the model is not loaded.
    #[schema(example = "closed")]
    circuit_state: Option<&'static str>,
}

/// One group of the experiment.
#[derive(Debug, Serialize, ToSchema)]
struct GroupStats {
    /// Texts that this process decided on for the group.
    #[schema(example = 600)]
    count: u64,
    /// Mean latency, in milliseconds; null without texts.
    mean_latency_ms: Option<f64>,
    /// Mean confidence; null without texts.
    mean_confidence: Option<f64>,
    /// The share of the feedback that confirms, over all replicas and restarts; null without feedback, without an
    /// experiment, and while the database cannot be read.
    feedback_accuracy: Option<f64>,
}

/// Shows what the router of this process has decided, by model and by group of the experiment.
#[utoipa::path(
    get, path = "/api/v1/intents/routing/stats", tag = "routing",
    responses((status = 200, body = RoutingStats), ServiceProblems)
)]
pub(in crate::http) async fn stats(State(app): State<Arc<App>>) -> Result<Json<RoutingStats>, Problem> {
    let engine = app.serving()?.engine();
    let counts = app.metrics.routing().snapshot();
    let status = engine.model_status();
    let experiment = engine.experiment();
    let report = if experiment.is_running() { experiments::report(&app.storage, &experiment).await.ok() } else { None };
    let feedback_accuracy = |group| {
        let groups = report.iter().flat_map(|report| &report.results.groups);
        groups.map(|result| &result.outcome).find(|outcome| outcome.group == group)?.accuracy.mean()
    };
    let total_requests = counts.models.values().map(|model| model.decided).sum();
    Ok(Json(RoutingStats {
        total_requests,
        since: Timestamp(counts.since),
        models: counts
            .models
            .iter()
            .map(|(kind, model)| {
                let status = status.iter().find(|status| status.kind == *kind);
                (kind.as_str(), ModelStats::new(model, total_requests, status))
            })
            .collect(),
        experiment_groups: counts
            .groups
            .iter()
            .map(|(group, counts)| (group.as_str(), GroupStats::new(counts, feedback_accuracy(*group))))
            .collect(),
        in_flight: engine.in_flight(),
        capacity: engine.capacity(),
        waiting: engine.waiting(),
    }))
}

impl ModelStats {
    fn new(model: &ModelCounts, total: u64, status: Option<&ModelStatus>) -> Self {
        let quantile = |of: fn(&ModelStatus) -> Option<Duration>| status.and_then(of).map(Millis);
        Self {
            count: model.decided,
            share: rounded(model.decided as f64 / total.max(1) as f64),
            p50_ms: quantile(|status| status.p50),
            p95_ms: quantile(|status| status.p95),
            p99_ms: quantile(|status| status.p99),
            mean_confidence: mean(model.confidence, model.decided),
            fallbacks: model.fallbacks,
            skipped: model.skipped,
            circuit_state: status.map(|status| status.circuit.as_str()),
        }
    }
}

impl GroupStats {
    fn new(counts: &GroupCounts, feedback_accuracy: Option<f64>) -> Self {
        Self {
            count: counts.decided,
            mean_latency_ms: mean(counts.latency_ms, counts.decided),
            mean_confidence: mean(counts.confidence, counts.decided),
            feedback_accuracy: feedback_accuracy.map(rounded),
        }
    }
}

fn mean(sum: f64, count: u64) -> Option<f64> {
    (count > 0).then(|| rounded(sum / count as f64))
}

/// Six digits are more than any of these figures is good for.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}
