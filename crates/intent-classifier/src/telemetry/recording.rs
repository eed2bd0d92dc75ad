//! Counting what happens.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use intent_engine::{Decision, EngineError, Flag, SelectionReason};
use intent_model::ModelKind;

use super::{
    labels::{self, *},
    metrics::Metrics,
    series::OperationSeries,
};

use crate::rollouts::Violation;

/// The endpoint label of requests that match no route.
pub(crate) const UNMATCHED: &str = "unmatched";

impl Metrics {
    /// Counts a decision.
    pub(super) fn decided(&self, decision: &Decision) {
        if !self.is_counting() {
            return;
        }
        self.routing().record(decision);
        let (best, model) = (decision.best(), decision.model.as_str());
        let status = if decision.degraded { DEGRADED } else { OK };
        let labels = ClassificationLabels { intent: Arc::clone(&best.intent), model, status };
        self.classification_requests.get_or_create(&labels).inc();
        let series = &self.models[decision.model as usize];
        series.selected((!decision.cached).then_some(decision.selection)).inc();
        series.confidence.observe(f64::from(best.confidence));
        for (kind, took) in &decision.timings.models {
            self.models[*kind as usize].inference_duration.observe(took.as_secs_f64());
        }
        for step in &decision.fallbacks {
            let labels =
                FallbackLabels { from: step.from.as_str(), to: step.to.as_str(), reason: step.reason.as_str() };
            self.model_fallbacks.get_or_create(&labels).inc();
        }
        for (layer, lookup) in [(CacheLayer::Memory, decision.cache.memory), (CacheLayer::Redis, decision.cache.shared)]
        {
            if let Some(result) = CacheResult::of(lookup) {
                self.cache_requests[layer as usize][result as usize].inc();
            }
        }
        for (flag, usage) in Flag::ALL.into_iter().zip(&self.feature_flag_usage) {
            usage[usize::from(decision.flags.contains(flag))].inc();
        }
        let labels = GroupLabels { group: decision.experiment_group.as_str(), strategy: decision.strategy.as_str() };
        self.experiment_decisions.get_or_create(&labels).inc();
    }

    /// Counts a text that no model decided on.
    pub(super) fn undecided(&self, error: &EngineError) {
        let status = match error {
            EngineError::Overloaded { .. } => OVERLOADED,
            EngineError::ModelNotLoaded(_) => MODEL_NOT_LOADED,
            _ => NO_MODEL,
        };
        self.classification_requests.get_or_create(&ClassificationLabels::undecided(status)).inc();
    }

    /// Returns what a model has done since the start.
    pub(crate) fn decided_by(&self, kind: ModelKind) -> ModelCount {
        let model = kind.as_str();
        let reasons = SelectionReason::ALL.map(Some).into_iter().chain([None]);
        let requests = reasons.map(|reason| self.models[kind as usize].selected(reason).get()).sum();
        let mut fallbacks = 0;
        for to in labels::models().into_iter().filter(|to| *to != model) {
            for reason in labels::fallback_reasons() {
                fallbacks += self.model_fallbacks.get_or_create(&FallbackLabels { from: model, to, reason }).get();
            }
        }
        ModelCount { requests, fallbacks }
    }

    /// Counts a feedback and what became of it.
    pub(crate) fn feedback(&self, r#type: FeedbackType, result: FeedbackResult) {
        self.feedback.get_or_create(&FeedbackLabels { r#type, result }).inc();
    }

    /// Notes how sure the answer was that a user judged; `confidence` is 0 to 1.
    pub(crate) fn judged(&self, verdict: Verdict, confidence: f64) {
        self.feedback_confidence.get_or_create(&VerdictLabels { verdict }).observe(confidence);
    }

    /// Counts a guard that took a rollout back.
    pub(crate) fn guard_violated(&self, Violation { flag, metric }: Violation) {
        let labels = ViolationLabels { flag_name: flag.as_str(), metric: metric.as_str() };
        self.rollout_guard_violations.get_or_create(&labels).inc();
    }

    /// Counts a request that was refused because a limit was reached.
    pub(crate) fn rate_limited(&self, scope: RateLimitScope) {
        self.rate_limited_requests.get_or_create(&ScopeLabels { scope }).inc();
    }

    /// Counts a suspicious text.
    pub(crate) fn adversarial_input(&self, kind: AdversarialKind) {
        self.adversarial_inputs.get_or_create(&AdversarialLabels { kind }).inc();
    }

    /// Counts a connection as open until the guard is dropped.
    pub(crate) fn connection_opened(&self) -> OpenConnection {
        self.http_connections_active.inc();
        OpenConnection(self.http_connections_active.clone())
    }

    /// Counts a request as active until it is answered or dropped. `endpoint` is the route's template, never a raw path.
    pub(crate) fn request_started(&self, method: &'static str, endpoint: &str) -> RequestInFlight<'_> {
        let series = self.is_counting().then(|| {
            let mut of_endpoint = self.operations.get(endpoint).into_iter().flatten();
            let series = match of_endpoint.find(|operation| operation.labels.method == method) {
                Some(operation) => Series::OfOperation(operation),
                None => Series::Other(HttpEndpointLabels { method, endpoint: Arc::from(endpoint) }),
            };
            match &series {
                Series::OfOperation(operation) => operation.received.inc(),
                Series::Other(labels) => self.http_requests_received.get_or_create(labels).inc(),
            };
            self.http_requests_active.inc();
            series
        });
        RequestInFlight { metrics: self, series, started: Instant::now() }
    }
}

/// What a model has done since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelCount {
    /// Texts it decided.
    pub(crate) requests: u64,
    /// Texts that went on to another model because it could not answer.
    pub(crate) fallbacks: u64,
}

/// A connection of a client.
#[derive(Debug)]
pub(crate) struct OpenConnection(prometheus_client::metrics::gauge::Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request that is being answered. Dropping it unanswered counts it as cancelled.
#[derive(Debug)]
pub(crate) struct RequestInFlight<'a> {
    metrics: &'a Metrics,
    /// `None` once it is answered.
    series: Option<Series<'a>>,
    started: Instant,
}

/// Where a request is counted.
#[derive(Debug)]
enum Series<'a> {
    /// With those of its operation.
    OfOperation(&'a OperationSeries),
    /// By itself: it matches no route, or its route does not know the method.
    Other(HttpEndpointLabels),
}

impl Series<'_> {
    fn labels(&self) -> &HttpEndpointLabels {
        match self {
            Self::OfOperation(operation) => &operation.labels,
            Self::Other(labels) => labels,
        }
    }
}

impl RequestInFlight<'_> {
    /// Counts the answer; returns how long it took.
    pub(crate) fn answered(mut self, status: u16) -> Duration {
        let elapsed = self.started.elapsed();
        let Some(series) = self.series.take() else { return elapsed };
        let (seconds, metrics) = (elapsed.as_secs_f64(), self.metrics);
        let documented = match &series {
            Series::OfOperation(operation) => {
                operation.duration.observe(seconds);
                operation.answered(status)
            }
            Series::Other(labels) => {
                metrics.http_request_duration.get_or_create(labels).observe(seconds);
                None
            }
        };
        if let Some(counter) = documented {
            counter.inc();
        } else {
            let HttpEndpointLabels { method, endpoint } = series.labels().clone();
            metrics.http_requests.get_or_create(&HttpRequestLabels { method, endpoint, status }).inc();
        }
        metrics.http_requests_active.dec();
        elapsed
    }
}

impl Drop for RequestInFlight<'_> {
    fn drop(&mut self) {
        if let Some(series) = self.series.take() {
            self.metrics.http_requests_active.dec();
            self.metrics.http_requests_cancelled.get_or_create(series.labels()).inc();
        }
    }
}
