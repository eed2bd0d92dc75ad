//! The engine itself.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::{Instrument, info_span};

use crate::{
    Admission, CacheOptions, Catalog, ClassifyRequest, Decision, EngineError, Experiment, FlagSnapshot, RoutingConfig,
    SharedCache, TextDigest,
    cache::{CacheKey, DecisionCache},
    circuit::CircuitOptions,
    course::Course,
    flags::SharedFlags,
    health::{ModelHealth, ModelStatus},
    router::Router,
    strategy::{Strategy, StrategyName},
    workers::{Lane, WorkerOptions, Workers},
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
    /// The flags to go by; whoever holds them may change them at any time.
    pub flags: SharedFlags,
    /// The experiment at start.
    pub experiment: Experiment,
    /// What plans by which name: [`StrategyName::strategy`], or a function that knows others.
    pub strategies: fn(StrategyName) -> &'static dyn Strategy,
}

/// Classifies texts. Shared by all requests; models and settings can be replaced while it runs.
#[derive(Debug)]
pub struct Engine {
    catalog: ArcSwap<Catalog>,
    routing: ArcSwap<Routing>,
    flags: SharedFlags,
    experiment: ArcSwap<Experiment>,
    strategies: fn(StrategyName) -> &'static dyn Strategy,
    cache: DecisionCache,
    pub(crate) workers: Workers,
    admission: Arc<Admission>,
    pub(crate) health: ModelHealth,
}

/// The router's settings with what stands for them in the keys of the cache.
#[derive(Debug)]
struct Routing {
    config: Arc<RoutingConfig>,
    digest: [u8; 32],
}

impl Routing {
    fn new(config: RoutingConfig) -> Self {
        Self { digest: config.digest(), config: Arc::new(config) }
    }
}

impl Engine {
    /// Starts the inference threads with the models of `catalog`.
    pub fn new(catalog: Catalog, options: EngineOptions) -> Self {
        Self {
            catalog: ArcSwap::from_pointee(catalog),
            routing: ArcSwap::from_pointee(Routing::new(options.routing)),
            flags: options.flags,
            experiment: ArcSwap::from_pointee(options.experiment),
            strategies: options.strategies,
            cache: DecisionCache::new(options.cache),
            workers: Workers::start(options.workers),
            admission: Admission::new(options.max_texts_in_flight),
            health: ModelHealth::new(options.circuit),
        }
    }

    /// Puts a cache that all replicas share behind the one in this process; each look-up in it may take `time_limit`.
    #[must_use]
    pub fn with_shared_cache(mut self, cache: Arc<dyn SharedCache>, time_limit: Duration) -> Self {
        self.cache.share(cache, time_limit);
        self
    }

    /// Classifies one text.
    ///
    /// # Errors
    /// [`EngineError::Overloaded`] before any work when too much is in flight; [`EngineError::ModelNotLoaded`] when
    /// the request names a model that is not loaded; [`EngineError::NoModel`] when every model failed.
    pub async fn classify(&self, request: ClassifyRequest) -> Result<Decision, EngineError> {
        let _permit = self.admission.admit(1)?;
        let course = self.course_of(&request);
        self.answer(&request, &course, Lane::Single).await
    }

    /// Classifies several texts; the decisions are in the order of the requests. What is asked twice is computed once.
    ///
    /// # Errors
    /// As [`Engine::classify`]; the texts are admitted all together or not at all, and the first error fails them all.
    pub async fn classify_batch(&self, requests: Vec<ClassifyRequest>) -> Result<Vec<Decision>, EngineError> {
        let _permit = self.admission.admit(requests.len())?;
        let lane = if requests.len() == 1 { Lane::Single } else { Lane::Bulk };
        let questions: Vec<(&ClassifyRequest, Course)> =
            requests.iter().map(|request| (request, self.course_of(request))).collect();
        let mut by_text: HashMap<&str, Vec<usize>> = HashMap::with_capacity(questions.len());
        let mut different = Vec::with_capacity(questions.len());
        let mut places: Vec<(usize, bool)> = Vec::with_capacity(questions.len());
        for (index, (request, course)) in questions.iter().enumerate() {
            let alike = by_text.entry(&request.text).or_default();
            let is_same = |earlier: &&usize| {
                let (earlier, its_course) = &questions[**earlier];
                its_course == course && earlier.asks_the_same(request)
            };
            match alike.iter().find(is_same) {
                Some(&earlier) => places.push((places[earlier].0, true)),
                None => {
                    alike.push(index);
                    places.push((different.len(), false));
                    different.push(self.answer(request, course, lane));
                }
            }
        }
        let decisions = join_all(different).await.into_iter().collect::<Result<Vec<Decision>, EngineError>>()?;
        let decide = |((place, is_repeated), (request, course)): ((usize, bool), &(&ClassifyRequest, Course))| {
            let decision: &Decision = &decisions[place];
            if is_repeated {
                Decision { exposure: course.exposure(request), ..decision.repeated() }
            } else {
                decision.clone()
            }
        };
        Ok(places.into_iter().zip(&questions).map(decide).collect())
    }

    fn course_of(&self, request: &ClassifyRequest) -> Course {
        Course::set(request, &self.flags.load(), &self.experiment.load(), &self.routing.load().config)
    }

    async fn answer(&self, request: &ClassifyRequest, course: &Course, lane: Lane) -> Result<Decision, EngineError> {
        let began = Instant::now();
        let (catalog, routing) = (self.catalog.load_full(), self.routing.load_full());
        let (workers, health, strategy) = (&self.workers, &self.health, (self.strategies)(course.strategy));
        let router = Router { catalog: &catalog, routing: &routing.config, course, strategy, lane, workers, health };
        let deadline = began + routing.config.budget(request);
        let mut decision = if course.use_cache {
            let key = CacheKey {
                text: TextDigest::of(&request.text),
                model_version: Arc::clone(catalog.version()),
                routing: routing.digest,
                strategy: course.strategy,
                first: course.first,
                excluded: course.excluded.clone(),
                top_k: request.top_k,
            };
            self.cache
                .get_or_compute(key, deadline, &catalog, || router.classify(request, deadline))
                .instrument(info_span!(target: "span", "cache"))
                .await?
        } else {
            router.classify(request, deadline).await?
        };
        decision.timings.total = began.elapsed();
        decision.experiment_group = course.experiment_group;
        decision.exposure = course.exposure(request);
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
        Arc::clone(&self.routing.load().config)
    }

    /// Replaces the router's settings.
    pub fn replace_routing(&self, routing: RoutingConfig) {
        self.routing.store(Arc::new(Routing::new(routing)));
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

    /// Returns the most texts that are taken at once.
    pub fn capacity(&self) -> usize {
        self.admission.capacity()
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
