//! Every metric of the service: name, help, labels.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use intent_engine::Decision;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::process::ProcessCollector;

/// Upper bounds in seconds: from a rule's answer to the slowest request that is let run.
const DURATION_BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics, and the registry that writes them out.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    http_requests: Family<HttpRequestLabels, Counter>,
    http_request_duration: Family<HttpEndpointLabels, Histogram, fn() -> Histogram>,
    http_requests_active: Gauge,
    classification_requests: Family<ClassificationLabels, Counter>,
    model_inference_duration: Family<ModelLabels, Histogram, fn() -> Histogram>,
    model_fallbacks: Family<FallbackLabels, Counter>,
}

/// Labels of `http_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpRequestLabels {
    method: &'static str,
    endpoint: String,
    status: u16,
}

/// Labels of `http_request_duration_seconds`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpEndpointLabels {
    method: &'static str,
    endpoint: String,
}

/// Labels of `intent_classification_requests_total`. `intent` and `model` are `none` when there was no decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassificationLabels {
    intent: Arc<str>,
    model: &'static str,
    status: &'static str,
}

/// Labels of metrics of one model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: &'static str,
}

/// Labels of `model_fallbacks_total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FallbackLabels {
    from: &'static str,
    to: &'static str,
    reason: &'static str,
}

impl Metrics {
    /// Declares all metrics.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();

        let http_requests = Family::default();
        registry.register("http_requests", "Requests answered", http_requests.clone());

        let http_request_duration: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        registry.register_with_unit(
            "http_request_duration",
            "Time from the end of a request's head to its answer",
            Unit::Seconds,
            http_request_duration.clone(),
        );

        let http_requests_active = Gauge::default();
        registry.register("http_requests_active", "Requests being answered", http_requests_active.clone());

        let classification_requests = Family::default();
        registry.register(
            "intent_classification_requests",
            "Texts by the intent they were taken for",
            classification_requests.clone(),
        );

        let model_inference_duration: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        registry.register_with_unit(
            "model_inference_duration",
            "Time from asking a model to its scores, waiting for a worker included",
            Unit::Seconds,
            model_inference_duration.clone(),
        );

        let model_fallbacks = Family::default();
        registry.register(
            "model_fallbacks",
            "Models that could not answer, and who did instead",
            model_fallbacks.clone(),
        );

        registry.register_collector(Box::new(ProcessCollector::new()));
        Self {
            registry,
            http_requests,
            http_request_duration,
            http_requests_active,
            classification_requests,
            model_inference_duration,
            model_fallbacks,
        }
    }

    /// Writes all metrics in the OpenMetrics text format, which Prometheus reads.
    pub(crate) fn encode(&self) -> String {
        let mut page = String::with_capacity(16 * 1024);
        text::encode(&mut page, &self.registry).expect("a string takes any text");
        page
    }

    /// Counts a decision.
    pub(super) fn decided(&self, decision: &Decision) {
        let labels = ClassificationLabels {
            intent: Arc::clone(&decision.best().intent),
            model: decision.model.as_str(),
            status: if decision.degraded { "degraded" } else { "ok" },
        };
        self.classification_requests.get_or_create(&labels).inc();
        for (kind, took) in &decision.timings.models {
            let labels = ModelLabels { model: kind.as_str() };
            self.model_inference_duration.get_or_create(&labels).observe(took.as_secs_f64());
        }
        for step in &decision.fallbacks {
            let labels =
                FallbackLabels { from: step.from.as_str(), to: step.to.as_str(), reason: step.reason.as_str() };
            self.model_fallbacks.get_or_create(&labels).inc();
        }
    }

    /// Counts a text that no model decided on.
    pub(super) fn undecided(&self, status: &'static str) {
        let labels = ClassificationLabels { intent: Arc::from("none"), model: "none", status };
        self.classification_requests.get_or_create(&labels).inc();
    }

    /// Counts a request as active until the guard is dropped. `endpoint` is the route's template, never a raw path.
    pub(crate) fn request_started(&self, method: &'static str, endpoint: impl Into<String>) -> RequestInFlight<'_> {
        self.http_requests_active.inc();
        let labels = HttpEndpointLabels { method, endpoint: endpoint.into() };
        RequestInFlight { metrics: self, labels, started: Instant::now() }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct RequestInFlight<'a> {
    metrics: &'a Metrics,
    labels: HttpEndpointLabels,
    started: Instant,
}

impl RequestInFlight<'_> {
    /// Counts the answer. A request that is dropped without one, because its client went away, only stops being active.
    pub(crate) fn answered(self, status: u16) -> Duration {
        let elapsed = self.started.elapsed();
        self.metrics.http_request_duration.get_or_create(&self.labels).observe(elapsed.as_secs_f64());
        let HttpEndpointLabels { method, endpoint } = self.labels.clone();
        self.metrics.http_requests.get_or_create(&HttpRequestLabels { method, endpoint, status }).inc();
        elapsed
    }
}

impl Drop for RequestInFlight<'_> {
    fn drop(&mut self) {
        self.metrics.http_requests_active.dec();
    }
}
