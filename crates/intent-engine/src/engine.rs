//! The engine itself.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use intent_model::ModelKind;
use tokio::time::Instant;

use crate::{
    Admission, CacheOptions, Catalog, ClassifyRequest, Decision, EngineError, Experiment, FlagSnapshot, RoutingConfig,
    cache::{CacheKey, DecisionCache, normalise},
    circuit::{Circuit, CircuitOptions, CircuitState},
    course::Course,
    latency::LatencyEstimate,
    router::Router,
    workers::{WorkerOptions, Workers},
};

/// How an engine is built.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The inference threads.
    pub workers: WorkerOptions,
    /// The most texts in flight; more are refused.
    pub max_texts_in_flight: usize,
    /// When a failing model is left alone.
    pub circuit: CircuitOptions,
    /// The cache of decisions.
    pub cache: CacheOptions,
    /// The router's settings at start.
    pub routing: RoutingConfig,
    /// The flags at start.
    pub flags: FlagSnapshot,
    /// The experiment at start.
    pub experiment: Experiment,
}

/// Classifies texts. Shared by all requests; models and settings can be replaced while it runs.
#[derive(Debug)]
pub struct Engine {
    catalog: ArcSwap<Catalog>,
    routing: ArcSwap<RoutingConfig>,
    flags: ArcSwap<FlagSnapshot>,
    experiment: ArcSwap<Experiment>,
    cache: DecisionCache,
    /// Grows with every change of the router's settings, so that older answers cannot be found in the cache.
    routing_revision: AtomicU64,
    workers: Workers,
    admission: Arc<Admission>,
    health: ModelHealth,
}

/// How one model is doing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelStatus {
    /// The model.
    pub kind: ModelKind,
    /// Its circuit.
    pub circuit: CircuitState,
    /// Median and 95th percentile of recent calls, waiting included; `None` before the first.
    pub p50: Option<Duration>,
    /// See `p50`.
    pub p95: Option<Duration>,
}

impl Engine {
    /// Starts the inference threads with the models of `catalog`.
    pub fn new(catalog: Catalog, options: EngineOptions) -> Self {
        Self {
            catalog: ArcSwap::from_pointee(catalog),
            routing: ArcSwap::from_pointee(options.routing),
            flags: ArcSwap::from_pointee(options.flags),
            experiment: ArcSwap::from_pointee(options.experiment),
            cache: DecisionCache::new(options.cache),
            routing_revision: AtomicU64::new(0),
            workers: Workers::start(options.workers),
            admission: Admission::new(options.max_texts_in_flight),
            health: ModelHealth::new(options.circuit),
        }
    }

    /// Classifies one text.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] before any work when too much is in flight; [`EngineError::ModelNotLoaded`] when
    /// the request names a model that is not loaded; [`EngineError::NoModel`] when every model failed.
    pub async fn classify(&self, request: ClassifyRequest) -> Result<Decision, EngineError> {
        let _permit = self.admission.admit(1)?;
        self.answer(request).await
    }

    /// Classifies several texts; the decisions are in the order of the requests.
    ///
    /// # Errors
    /// As [`Engine::classify`]; the texts are admitted all together or not at all, and the first error fails them all.
    pub async fn classify_batch(&self, requests: Vec<ClassifyRequest>) -> Result<Vec<Decision>, EngineError> {
        let _permit = self.admission.admit(requests.len())?;
        join_all(requests.into_iter().map(|request| self.answer(request))).await.into_iter().collect()
    }

    async fn answer(&self, request: ClassifyRequest) -> Result<Decision, EngineError> {
        let began = Instant::now();
        let (catalog, routing) = (self.catalog.load_full(), self.routing.load_full());
        let course = Course::set(&request, &self.flags.load(), &self.experiment.load(), &routing);
        let (workers, health) = (&self.workers, &self.health);
        let router = Router { catalog: &catalog, routing: &routing, course: &course, workers, health };
        let mut decision = if course.use_cache {
            let key = CacheKey {
                text: normalise(&request.text),
                model_version: Arc::clone(catalog.version()),
                routing_revision: self.routing_revision.load(Ordering::Acquire),
                strategy: course.strategy,
                excluded: course.excluded.clone(),
                top_k: request.top_k,
            };
            self.cache.get_or_compute(key, router.classify(&request)).await?
        } else {
            router.classify(&request).await?
        };
        decision.timings.total = began.elapsed();
        decision.experiment_group = course.experiment_group;
        decision.flags = course.flags;
        decision.latency_requirement = request.latency_requirement;
        Ok(decision)
    }

    /// Returns the models that answer now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Replaces all models at once. Requests under way finish with the models they began with.
    pub fn replace_catalog(&self, catalog: Catalog) {
        self.catalog.store(Arc::new(catalog));
        self.health.forget();
    }

    /// Returns the router's settings.
    pub fn routing(&self) -> Arc<RoutingConfig> {
        self.routing.load_full()
    }

    /// Replaces the router's settings.
    pub fn replace_routing(&self, routing: RoutingConfig) {
        self.routing.store(Arc::new(routing));
        self.routing_revision.fetch_add(1, Ordering::Release);
    }

    /// Returns the flags.
    pub fn flags(&self) -> Arc<FlagSnapshot> {
        self.flags.load_full()
    }

    /// Replaces all flags at once.
    pub fn replace_flags(&self, flags: FlagSnapshot) {
        self.flags.store(Arc::new(flags));
    }

    /// Returns the experiment.
    pub fn experiment(&self) -> Arc<Experiment> {
        self.experiment.load_full()
    }

    /// Replaces the experiment.
    pub fn replace_experiment(&self, experiment: Experiment) {
        self.experiment.store(Arc::new(experiment));
    }

    /// Returns the cache.
    pub fn cache(&self) -> &DecisionCache {
        &self.cache
    }

    /// Returns how many texts are in flight.
    pub fn in_flight(&self) -> usize {
        self.admission.in_flight()
    }

    /// Returns how many texts wait for an inference thread.
    pub fn waiting(&self) -> usize {
        self.workers.waiting()
    }

    /// Returns how the loaded models are doing, cheapest first.
    pub fn model_status(&self) -> Vec<ModelStatus> {
        let catalog = self.catalog.load();
        catalog.iter().map(|(kind, _)| self.health.of(kind).status(kind)).collect()
    }
}

/// What is known of each model from its calls.
#[derive(Debug)]
pub(crate) struct ModelHealth([OneModelHealth; ModelKind::ALL.len()]);

/// What is known of one model from its calls.
#[derive(Debug)]
pub(crate) struct OneModelHealth {
    pub(crate) circuit: Circuit,
    latency: [LatencyEstimate; LENGTH_CLASSES],
    all_latency: LatencyEstimate,
    last_call: Mutex<Option<Instant>>,
}

/// Short, medium and long texts take different times.
const LENGTH_CLASSES: usize = 3;

/// An estimate that no call has renewed for so long is no reason to leave a model out; one call finds out.
const STALE_AFTER: Duration = Duration::from_secs(2);

impl ModelHealth {
    fn new(circuit: CircuitOptions) -> Self {
        Self(ModelKind::ALL.map(|_| OneModelHealth {
            circuit: Circuit::new(circuit),
            latency: Default::default(),
            all_latency: LatencyEstimate::default(),
            last_call: Mutex::default(),
        }))
    }

    pub(crate) fn of(&self, kind: ModelKind) -> &OneModelHealth {
        &self.0[kind as usize]
    }

    /// Starts anew, because other models stand behind the names now.
    fn forget(&self) {
        self.0.iter().for_each(OneModelHealth::forget);
    }
}

impl OneModelHealth {
    /// Returns the p95 for texts about as long as `text_bytes`, unless it is unknown or out of date.
    pub(crate) fn recent_p95(&self, text_bytes: usize) -> Option<Duration> {
        let last_call = *self.last_call.lock().expect("no code panics while it holds this lock");
        last_call.filter(|last| last.elapsed() < STALE_AFTER)?;
        self.latency[length_class(text_bytes)].quantile(0.95)
    }

    pub(crate) fn record_latency(&self, text_bytes: usize, took: Duration) {
        self.latency[length_class(text_bytes)].record(took);
        self.all_latency.record(took);
        *self.last_call.lock().expect("no code panics while it holds this lock") = Some(Instant::now());
    }

    pub(crate) fn p50(&self) -> Option<Duration> {
        self.all_latency.quantile(0.50)
    }

    fn status(&self, kind: ModelKind) -> ModelStatus {
        ModelStatus { kind, circuit: self.circuit.state(), p50: self.p50(), p95: self.all_latency.quantile(0.95) }
    }

    fn forget(&self) {
        self.circuit.reset();
        self.latency.iter().chain([&self.all_latency]).for_each(LatencyEstimate::forget);
    }
}

/// About 32 and 128 tokens of English.
fn length_class(text_bytes: usize) -> usize {
    match text_bytes {
        0..=128 => 0,
        129..=512 => 1,
        _ => 2,
    }
}
