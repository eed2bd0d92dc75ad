//! Every metric of the service: name, kind, unit, labels, help.
//!
//! A metric is declared here and nowhere else. What happens is counted by the methods of [`super::recording`]; gauges
//! that mirror state are read when somebody scrapes, by [`super::state`]; both use the declarations of this page.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use intent_engine::{Flag, StrategyName};
use intent_model::{ModelKind, OUT_OF_SCOPE};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
        histogram::Histogram,
    },
    registry::{Metric, Registry},
};

use super::{
    declaration::{
        Declaration, Label,
        MetricUnit::{Bytes, Seconds},
    },
    labels::{self, *},
    process,
    routing::RoutingCounts,
    series::{self, ModelSeries, OperationSeries},
    state::State,
};
use crate::http::Operation;

/// Upper bounds in seconds: from a rule's answer to the slowest request that is let run. The latency targets of the
/// service, 50, 200 and 500 ms, are among them, so that shares below them are exact.
const DURATION_BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of a confidence.
const CONFIDENCE_BUCKETS: [f64; 12] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];

const METHOD: Label = Label::closed("method", labels::methods);
const ENDPOINT: Label = Label::described("endpoint", "template of the route, or `unmatched`");
const MODEL: Label = Label::closed("model", labels::models);
const FLAG_NAME: Label = Label::closed("flag_name", labels::flags);
const LAYER: Label = Label::closed("layer", CacheLayer::names);
const DEPENDENCY: Label = Label::closed("dependency", Dependency::names);

/// Declares metrics, and lists them in the order of the reference.
macro_rules! declare {
    ($($(#[doc = $section:literal])* [$($name:ident = $declaration:expr;)+])+) => {
        $($(pub(super) static $name: Declaration = $declaration;)+)+

        /// All metrics by section.
        pub(crate) static SECTIONS: &[(&str, &[&Declaration])] = &[$((concat!($($section),*), &[$(&$name),+])),+];
    };
}

declare! {
    /// Requests
    [
        HTTP_REQUESTS_RECEIVED = Declaration::counter(
            "http_requests_received", &[METHOD, ENDPOINT],
            "Requests whose head arrived; equals answered, cancelled and active ones together",
        );
        HTTP_REQUESTS = Declaration::counter(
            "http_requests", &[METHOD, ENDPOINT, Label::described("status", "status of the answer")],
            "Requests answered",
        );
        HTTP_REQUESTS_CANCELLED = Declaration::counter(
            "http_requests_cancelled", &[METHOD, ENDPOINT],
            "Requests dropped without an answer, because the client went away or the time to drain was over",
        );
        HTTP_REQUEST_DURATION = Declaration::histogram(
            "http_request_duration", &[METHOD, ENDPOINT],
            "Time from the end of a request's head to its answer",
        ).in_unit(Seconds);
        HTTP_REQUESTS_ACTIVE = Declaration::gauge("http_requests_active", &[], "Requests being answered");
        HTTP_CONNECTIONS_ACTIVE = Declaration::gauge("http_connections_active", &[], "Open connections of clients");
        RATE_LIMITED_REQUESTS = Declaration::counter(
            "rate_limited_requests", &[Label::closed("scope", RateLimitScope::names)],
            "Requests refused because a limit was reached, by whose limit it was",
        );
        ADVERSARIAL_INPUTS = Declaration::counter(
            "adversarial_inputs", &[Label::closed("kind", AdversarialKind::names)],
            "Texts that look as if somebody tried to trick the classifier",
        );
    ]
    /// Classification
    [
        CLASSIFICATION_REQUESTS = Declaration::counter(
            "intent_classification_requests",
            &[
                Label::described("intent", "an intent of the pack, `out_of_scope`, or `none` when there was no decision"),
                Label::closed("model", labels::models_or_none),
                Label::closed("status", labels::classification_statuses),
            ],
            "Texts by the intent they were taken for",
        );
        MODEL_SELECTION = Declaration::counter(
            "model_selection", &[MODEL, Label::closed("reason", labels::selection_reasons)],
            "Texts by the model that decided, and why it was that model",
        );
        MODEL_CONFIDENCE = Declaration::histogram(
            "model_confidence", &[MODEL],
            "Calibrated confidence of the answers a model gave",
        );
        MODEL_INFERENCE_DURATION = Declaration::histogram(
            "model_inference_duration", &[MODEL],
            "Time from asking a model to its scores, waiting for a worker included",
        ).in_unit(Seconds);
        MODEL_FALLBACKS = Declaration::counter(
            "model_fallbacks",
            &[
                Label::closed("from", labels::models),
                Label::closed("to", labels::models),
                Label::closed("reason", labels::fallback_reasons),
            ],
            "Models that could not answer, and who did instead",
        );
        TEXTS_IN_FLIGHT = Declaration::gauge("texts_in_flight", &[], "Texts admitted and not yet answered");
        TEXTS_IN_FLIGHT_LIMIT = Declaration::gauge(
            "texts_in_flight_limit", &[], "Texts in flight from which on more are refused",
        );
        INFERENCE_QUEUE_LENGTH = Declaration::gauge(
            "inference_queue_length", &[], "Texts that wait for an inference thread",
        );
    ]
    /// Health
    [
        READY = Declaration::gauge(
            "intent_classifier_ready", &[], "1 when requests should be sent here, as `/health/ready` says, else 0",
        );
        MODEL_HEALTH = Declaration::gauge(
            "intent_classifier_model_health", &[MODEL], "1 when the model can answer, else 0",
        );
        MODEL_CONFIGURED = Declaration::gauge(
            "intent_classifier_model_configured", &[MODEL],
            "1 when what the model needs is configured, so that it should be healthy, else 0",
        );
        CIRCUIT_BREAKER_STATE = Declaration::gauge(
            "circuit_breaker_state", &[Label::closed("dependency", labels::circuits)],
            "Circuit breaker of a model or a dependency: 0 closed, 1 half open, 2 open",
        );
        DEPENDENCY_UP = Declaration::gauge(
            "dependency_up", &[DEPENDENCY], "1 when the latest check of the dependency succeeded, else 0",
        );
        DEPENDENCY_CONFIGURED = Declaration::gauge(
            "dependency_configured", &[DEPENDENCY], "1 when the service is told to use the dependency, else 0",
        );
        READ_ONLY_MODE = Declaration::gauge(
            "read_only_mode", &[], "1 while the database takes no writes, so that changes are refused, else 0",
        );
        TLS_CERTIFICATE_EXPIRY = Declaration::gauge(
            "tls_certificate_expiry_timestamp", &[],
            "When the certificate that is served expires, since the Unix epoch; absent without TLS",
        ).in_unit(Seconds);
    ]
    /// Cache
    [
        CACHE_REQUESTS = Declaration::counter(
            "cache_requests", &[LAYER, Label::closed("result", CacheResult::names)],
            "Texts looked up in a layer of the cache",
        );
        CACHE_ENTRIES = Declaration::gauge("cache_entries", &[LAYER], "Answers kept in the layer, about");
        CACHE_BYTES = Declaration::gauge("cache_bytes", &[LAYER], "Memory they take, in bytes, about");
    ]
    /// Feature flags and experiments
    [
        FEATURE_FLAG_USAGE = Declaration::counter(
            "feature_flag_usage", &[FLAG_NAME, Label::closed("enabled", labels::booleans)],
            "Decisions by whether the flag was on for the subject",
        );
        FEATURE_FLAG_ENABLED = Declaration::gauge(
            "feature_flag_enabled", &[FLAG_NAME], "1 when the flag is on for anybody, else 0",
        );
        FEATURE_FLAG_ROLLOUT = Declaration::gauge(
            "feature_flag_rollout_percent", &[FLAG_NAME], "Share of the subjects for whom the flag is on when enabled",
        );
        ROLLOUT_STATUS = Declaration::gauge(
            "rollout_status", &[FLAG_NAME, Label::closed("status", labels::rollout_statuses)],
            "1 for the status of the latest rollout of the flag, else 0",
        );
        ROLLOUT_PERCENT = Declaration::gauge(
            "rollout_percent", &[FLAG_NAME],
            "Share of the subjects for whom the flag is on by its latest rollout; 0 when it had none",
        );
        ROLLOUT_GUARD_VIOLATIONS = Declaration::counter(
            "rollout_guard_violations", &[FLAG_NAME, Label::closed("metric", labels::guard_metrics)],
            "Guards that took a rollout back, counted by the process that did so",
        );
        EXPERIMENT_DECISIONS = Declaration::counter(
            "experiment_decisions",
            &[Label::closed("group", labels::strategies), Label::closed("strategy", labels::strategies)],
            "Decisions by the subject's group in the experiment and the strategy that planned",
        );
        EXPERIMENT_SHARE = Declaration::gauge(
            "experiment_share", &[], "Share of the subjects that the experiment takes out of control, 0 to 1",
        );
        EXPERIMENT_SAMPLE_RATIO_P_VALUE = Declaration::gauge(
            "experiment_sample_ratio_p_value", &[],
            "How likely group sizes as uneven as these are by chance; absent while no experiment runs",
        );
    ]
    /// Feedback
    [
        FEEDBACK = Declaration::counter(
            "feedback",
            &[Label::closed("type", FeedbackType::names), Label::closed("result", FeedbackResult::names)],
            "Feedback received, and what became of it",
        );
        FEEDBACK_CONFIDENCE = Declaration::histogram(
            "feedback_confidence", &[Label::closed("verdict", Verdict::names)],
            "Confidence of the answers that users judged; calibrated models are right as often as they are confident",
        );
        FEEDBACK_SPOOL_ENTRIES = Declaration::gauge(
            "feedback_spool_entries", &[], "Feedback that waits on disk until the database takes it",
        );
    ]
    /// Process
    [
        BUILD_INFO = Declaration::gauge(
            "intent_classifier_build_info", &[Label::described("version", "version of the program, one at a time")],
            "Always 1",
        );
        RUNTIME_HEARTBEAT_AGE = Declaration::gauge(
            "runtime_heartbeat_age", &[], "Time since the async runtime last ran the task that shows it is not stuck",
        ).in_unit(Seconds);
        PROCESS_START_TIME = Declaration::gauge(
            "process_start_time", &[], "Start of the process since the Unix epoch",
        ).in_unit(Seconds);
        PROCESS_CPU = Declaration::counter("process_cpu", &[], "Processor time used, user and system").in_unit(Seconds);
        PROCESS_RESIDENT_MEMORY = Declaration::gauge("process_resident_memory", &[], "Memory in use").in_unit(Bytes);
        PROCESS_VIRTUAL_MEMORY = Declaration::gauge(
            "process_virtual_memory", &[], "Address space in use",
        ).in_unit(Bytes);
        PROCESS_MEMORY_LIMIT = Declaration::gauge(
            "process_memory_limit", &[],
            "Memory the process may use: the limit of its control group, or all there is",
        ).in_unit(Bytes);
        PROCESS_OPEN_FDS = Declaration::gauge("process_open_fds", &[], "Open file descriptors");
        PROCESS_MAX_FDS = Declaration::gauge("process_max_fds", &[], "Most file descriptors the process may open");
        PROCESS_THREADS = Declaration::gauge("process_threads", &[], "Threads of the process");
    ]
}

/// Everything that is counted while it happens, and the registry that writes it out.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    routing: RoutingCounts,
    is_counting: AtomicBool,
    /// By endpoint, one for each method.
    pub(super) operations: HashMap<String, Vec<OperationSeries>>,
    pub(super) http_requests_received: Family<HttpEndpointLabels, Counter>,
    pub(super) http_requests: Family<HttpRequestLabels, Counter>,
    pub(super) http_requests_cancelled: Family<HttpEndpointLabels, Counter>,
    pub(super) http_request_duration: Family<HttpEndpointLabels, Histogram, Buckets>,
    pub(super) http_requests_active: Gauge,
    pub(super) http_connections_active: Gauge,
    pub(super) rate_limited_requests: Family<ScopeLabels, Counter>,
    pub(super) adversarial_inputs: Family<AdversarialLabels, Counter>,
    pub(super) classification_requests: Family<ClassificationLabels, Counter>,
    /// In the order of [`ModelKind::ALL`].
    pub(super) models: [ModelSeries; ModelKind::ALL.len()],
    pub(super) model_fallbacks: Family<FallbackLabels, Counter>,
    /// By layer and result.
    pub(super) cache_requests: [[Counter; 3]; 2],
    /// By flag and by whether it was on.
    pub(super) feature_flag_usage: [[Counter; 2]; Flag::ALL.len()],
    pub(super) rollout_guard_violations: Family<ViolationLabels, Counter>,
    pub(super) experiment_decisions: Family<GroupLabels, Counter>,
    pub(super) feedback: Family<FeedbackLabels, Counter>,
    pub(super) feedback_confidence: Family<VerdictLabels, Histogram, Buckets>,
}

/// The upper bounds of a histogram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Metrics {
    /// Declares all metrics. Those of `operations` are there at zero before the first request, so that the first
    /// request of a kind is not lost to rates.
    pub(crate) fn new(operations: &[Operation]) -> Self {
        process::note_start();
        let registry = &mut Registry::default();
        let http_requests = counters(registry, &HTTP_REQUESTS);
        let http_requests_cancelled = counters(registry, &HTTP_REQUESTS_CANCELLED);
        // Written after those that end, so that on no page more have ended than have begun.
        let http_requests_received = counters(registry, &HTTP_REQUESTS_RECEIVED);
        let http_request_duration = histograms(registry, &HTTP_REQUEST_DURATION, &DURATION_BUCKETS);
        let mut by_endpoint = HashMap::<String, Vec<OperationSeries>>::new();
        for operation in operations {
            let series =
                OperationSeries::new(operation, &http_requests_received, &http_request_duration, &http_requests);
            by_endpoint.entry(operation.path.clone()).or_default().push(series);
        }
        let metrics = Self {
            operations: by_endpoint,
            http_requests,
            http_requests_cancelled,
            http_requests_received,
            http_request_duration,
            http_requests_active: single(registry, &HTTP_REQUESTS_ACTIVE),
            http_connections_active: single(registry, &HTTP_CONNECTIONS_ACTIVE),
            rate_limited_requests: counters(registry, &RATE_LIMITED_REQUESTS),
            adversarial_inputs: counters(registry, &ADVERSARIAL_INPUTS),
            classification_requests: counters(registry, &CLASSIFICATION_REQUESTS),
            models: {
                let selection = counters(registry, &MODEL_SELECTION);
                let confidence = histograms(registry, &MODEL_CONFIDENCE, &CONFIDENCE_BUCKETS);
                let inference_duration = histograms(registry, &MODEL_INFERENCE_DURATION, &DURATION_BUCKETS);
                ModelKind::ALL.map(|kind| ModelSeries::new(kind, &confidence, &inference_duration, &selection))
            },
            model_fallbacks: counters(registry, &MODEL_FALLBACKS),
            cache_requests: series::of_cache(&counters(registry, &CACHE_REQUESTS)),
            feature_flag_usage: flag_usage(&counters(registry, &FEATURE_FLAG_USAGE)),
            rollout_guard_violations: counters(registry, &ROLLOUT_GUARD_VIOLATIONS),
            experiment_decisions: counters(registry, &EXPERIMENT_DECISIONS),
            feedback: counters(registry, &FEEDBACK),
            feedback_confidence: histograms(registry, &FEEDBACK_CONFIDENCE, &CONFIDENCE_BUCKETS),
            routing: RoutingCounts::default(),
            is_counting: AtomicBool::new(true),
            registry: std::mem::take(registry),
        };
        metrics.begin_at_zero();
        metrics
    }

    /// Returns what is counted of the router for those who ask for it directly.
    pub(crate) fn routing(&self) -> &RoutingCounts {
        &self.routing
    }

    /// Lets requests and decisions be counted or not: `bench` measures what that costs.
    pub(crate) fn count(&self, is_counting: bool) {
        self.is_counting.store(is_counting, Ordering::Relaxed);
    }

    pub(super) fn is_counting(&self) -> bool {
        self.is_counting.load(Ordering::Relaxed)
    }

    /// Writes all metrics, `state` included, in the OpenMetrics text format.
    pub(crate) fn encode(&self, state: State) -> String {
        let mut page = String::with_capacity(64 * 1024);
        let mut of_state = Registry::default();
        of_state.register_collector(Box::new(state));
        let written =
            text::encode_registry(&mut page, &self.registry).and_then(|()| text::encode(&mut page, &of_state));
        written.expect("a string takes any text");
        page
    }

    fn begin_at_zero(&self) {
        for operation in self.operations.values().flatten() {
            at_zero(&self.http_requests_cancelled, operation.labels.clone());
        }
        for model in labels::models() {
            for to in labels::models().into_iter().filter(|to| *to != model) {
                for reason in labels::fallback_reasons() {
                    at_zero(&self.model_fallbacks, FallbackLabels { from: model, to, reason });
                }
            }
        }
        for status in labels::classification_statuses() {
            if status != OK && status != DEGRADED {
                at_zero(&self.classification_requests, ClassificationLabels::undecided(status));
            }
        }
        for flag in Flag::ALL {
            for metric in labels::guard_metrics() {
                at_zero(&self.rollout_guard_violations, ViolationLabels { flag_name: flag.as_str(), metric });
            }
        }
        for group in StrategyName::ALL {
            let group = group.as_str();
            at_zero(&self.experiment_decisions, GroupLabels { group, strategy: group });
        }
        for &r#type in FeedbackType::ALL {
            for &result in FeedbackResult::ALL {
                at_zero(&self.feedback, FeedbackLabels { r#type, result });
            }
        }
        for &verdict in Verdict::ALL {
            at_zero(&self.feedback_confidence, VerdictLabels { verdict });
        }
        for &scope in RateLimitScope::ALL {
            at_zero(&self.rate_limited_requests, ScopeLabels { scope });
        }
        for &kind in AdversarialKind::ALL {
            at_zero(&self.adversarial_inputs, AdversarialLabels { kind });
        }
    }

    /// Lets the intents of a pack be counted from zero for each of the models that answer.
    pub(crate) fn expect_intents(&self, intents: &[Arc<str>], models: impl Iterator<Item = ModelKind>) {
        let foreign: Arc<str> = Arc::from(OUT_OF_SCOPE);
        for model in models {
            for intent in intents.iter().chain([&foreign]).map(Arc::clone) {
                let labels = ClassificationLabels { intent, model: model.as_str(), status: OK };
                at_zero(&self.classification_requests, labels);
            }
        }
    }
}

impl ClassificationLabels {
    /// Returns the labels of a text that got no decision.
    pub(super) fn undecided(status: &'static str) -> Self {
        Self { intent: Arc::from(NONE), model: NONE, status }
    }
}

fn flag_usage(family: &Family<FlagLabels, Counter>) -> [[Counter; 2]; Flag::ALL.len()] {
    Flag::ALL.map(|flag| {
        [false, true].map(|enabled| family.get_or_create(&FlagLabels { flag_name: flag.as_str(), enabled }).clone())
    })
}

/// Lets a series be exported before anything has happened to it.
fn at_zero<L: Clone + std::hash::Hash + Eq, M, C: MetricConstructor<M>>(family: &Family<L, M, C>, labels: L) {
    drop(family.get_or_create(&labels));
}

fn counters<L>(registry: &mut Registry, declaration: &Declaration) -> Family<L, Counter>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    single(registry, declaration)
}

fn histograms<L>(
    registry: &mut Registry,
    declaration: &Declaration,
    buckets: &'static [f64],
) -> Family<L, Histogram, Buckets>
where
    L: Clone + std::hash::Hash + Eq + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::new_with_constructor(Buckets(buckets));
    declaration.register(registry, family.clone());
    family
}

fn single<M: Metric + Default + Clone>(registry: &mut Registry, declaration: &Declaration) -> M {
    let metric = M::default();
    declaration.register(registry, metric.clone());
    metric
}
