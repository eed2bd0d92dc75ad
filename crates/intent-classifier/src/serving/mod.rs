//! The models that answer, and how they are replaced while requests are answered.

mod assembly;
mod canary;
mod lazy;
mod pack;
pub(crate) mod warming;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, TryLockError},
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use intent_engine::{
    Engine, EngineOptions, Experiment, RoutingConfig, SharedCache, StrategyName, TextDigest, circuit::CircuitOptions,
    flags::SharedFlags, workers::WorkerOptions,
};
use intent_model::ModelKind;

use self::lazy::LazyZeroShot;
pub(crate) use self::{
    assembly::{Assembly, Availability, assemble, assemble_only, default_pack, load_configured_pack},
    pack::ServedPack,
};
use crate::{
    cache::{Corrections, RedisCache, RedisConnection},
    causes::in_full,
    config::{ModelSettings, Settings},
    remote::RemoteClient,
};

/// A batch of average texts fits; a batch of very long ones is split.
const BATCH_BYTES_PER_TEXT: usize = 512;

/// The engine with what is known of its models.
#[derive(Debug)]
pub(crate) struct Serving {
    engine: Engine,
    pack: ArcSwap<ServedPack>,
    availability: ArcSwap<BTreeMap<ModelKind, Availability>>,
    zero_shot: ArcSwapOption<LazyZeroShot>,
    settings: ModelSettings,
    reloading: Mutex<()>,
    remote: Option<Arc<RemoteClient>>,
    corrections: Option<Corrections>,
}

/// What a reload did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reloaded {
    /// The version that served before.
    pub(crate) from: String,
    /// The version that serves now.
    pub(crate) to: String,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// Another one is under way.
    #[error("another reload is under way")]
    Busy,
    /// What is there now cannot serve.
    #[error("`{kept}` goes on serving: {reason}")]
    Refused {
        /// The version that goes on serving.
        kept: String,
        /// What is wrong with the new one.
        reason: String,
    },
}

impl Serving {
    /// Starts an engine with assembled models that goes by these flags.
    pub(crate) fn start(assembly: Assembly, settings: &Settings, flags: SharedFlags) -> Self {
        let Settings { models, cache, .. } = settings;
        let options = EngineOptions {
            workers: WorkerOptions {
                threads: models.workers(),
                max_batch_texts: models.batch_size,
                max_batch_bytes: models.batch_size * BATCH_BYTES_PER_TEXT,
            },
            max_texts_in_flight: models.max_texts_in_flight(),
            circuit: CircuitOptions::default(),
            cache: cache.options(),
            routing: RoutingConfig::default(),
            flags,
            experiment: Experiment::default(),
            strategies: StrategyName::strategy,
        };
        Self {
            pack: ArcSwap::from_pointee(assembly.served_pack()),
            engine: Engine::new(assembly.catalog, options),
            availability: ArcSwap::from_pointee(assembly.availability),
            zero_shot: ArcSwapOption::new(assembly.zero_shot),
            settings: models.clone(),
            reloading: Mutex::new(()),
            remote: assembly.remote,
            corrections: None,
        }
    }

    /// Puts Redis behind the cache of this process, and lets corrections reach the other replicas through it. Must be
    /// called within a tokio runtime.
    #[must_use]
    pub(crate) fn share_by(
        mut self,
        redis: Arc<RedisConnection>,
        time_limit: Duration,
        time_to_live: Duration,
    ) -> Self {
        let cache = RedisCache::start(Arc::clone(&redis), time_to_live);
        self.engine = self.engine.with_shared_cache(Arc::new(cache) as Arc<dyn SharedCache>, time_limit);
        let own = self.engine.cache().clone();
        self.corrections = Some(Corrections::start(redis, move |text| own.forget(text)));
        self
    }

    /// Forgets all answers to a text, in every replica.
    pub(crate) fn forget_text(&self, text: &str) {
        let text = TextDigest::of(text);
        self.engine.cache().forget(text);
        if let Some(corrections) = &self.corrections {
            corrections.tell(text);
        }
    }

    /// Loads what is there now and, when all of it works, lets it serve; requests under way finish with what they began
    /// with. Takes as long as loading does: call it where blocking is allowed.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then.
    pub(crate) fn reload(&self) -> Result<Reloaded, ReloadError> {
        let _alone = match self.reloading.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(ReloadError::Busy),
            // A reload that panicked has changed nothing, as the last step is the only one that does.
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        };
        let from = self.engine.catalog().version().to_string();
        let assembly = self.assemble_anew().map_err(|reason| ReloadError::Refused { kept: from.clone(), reason })?;
        let to = assembly.catalog.version().to_string();
        self.pack.store(Arc::new(assembly.served_pack()));
        self.engine.replace_catalog(assembly.catalog);
        self.availability.store(Arc::new(assembly.availability));
        self.zero_shot.store(assembly.zero_shot);
        Ok(Reloaded { from, to })
    }

    fn assemble_anew(&self) -> Result<Assembly, String> {
        let assembly = load_configured_pack(&self.settings)
            .and_then(|pack| assemble(&self.settings, pack, self.remote.as_ref()))
            .map_err(in_full)?;
        match assembly.flaw() {
            Some(flaw) => Err(flaw),
            None => canary::check(&assembly).map(|()| assembly),
        }
    }

    /// Returns what classifies.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns the intent pack that answers refer to.
    pub(crate) fn pack(&self) -> Arc<ServedPack> {
        self.pack.load_full()
    }

    /// Tells whether a model waits for its first use to be loaded.
    pub(crate) fn loads_on_first_use(&self, kind: ModelKind) -> bool {
        kind == ModelKind::ZeroShot && self.zero_shot.load().as_ref().is_some_and(|model| !model.is_loaded())
    }

    /// Returns whether each model is there, and if not, why.
    pub(crate) fn availability(&self) -> Arc<BTreeMap<ModelKind, Availability>> {
        self.availability.load_full()
    }
}
