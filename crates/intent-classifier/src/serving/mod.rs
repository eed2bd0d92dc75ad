//! The models that answer, and how they are replaced while requests are answered.

mod assembly;
mod pack;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use intent_engine::{
    CacheOptions, Engine, EngineOptions, Experiment, FlagSnapshot, RoutingConfig, circuit::CircuitOptions,
    workers::WorkerOptions,
};
use intent_model::ModelKind;

pub(crate) use self::{
    assembly::{Assembly, Availability, assemble, load_configured_pack},
    pack::ServedPack,
};
use crate::config::ModelSettings;

/// The most texts in flight for each inference thread; what is more would wait longer than anyone does.
const TEXTS_IN_FLIGHT_PER_WORKER: usize = 512;
/// A batch of average texts fits; a batch of very long ones is split.
const BATCH_BYTES_PER_TEXT: usize = 512;

/// The engine with what is known of its models.
#[derive(Debug)]
pub(crate) struct Serving {
    engine: Engine,
    pack: ArcSwap<ServedPack>,
    availability: ArcSwap<BTreeMap<ModelKind, Availability>>,
}

impl Serving {
    /// Starts an engine with assembled models.
    pub(crate) fn start(assembly: Assembly, settings: &ModelSettings) -> Self {
        let workers = settings.workers();
        let options = EngineOptions {
            workers: WorkerOptions {
                threads: workers,
                max_batch_texts: settings.batch_size,
                max_batch_bytes: settings.batch_size * BATCH_BYTES_PER_TEXT,
            },
            max_texts_in_flight: workers * TEXTS_IN_FLIGHT_PER_WORKER,
            circuit: CircuitOptions::default(),
            cache: CacheOptions::default(),
            routing: RoutingConfig::default(),
            flags: FlagSnapshot::default(),
            experiment: Experiment::default(),
        };
        Self {
            pack: ArcSwap::from_pointee(assembly.served_pack()),
            engine: Engine::new(assembly.catalog, options),
            availability: ArcSwap::from_pointee(assembly.availability),
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

    /// Returns whether each model is there, and if not, why.
    pub(crate) fn availability(&self) -> Arc<BTreeMap<ModelKind, Availability>> {
        self.availability.load_full()
    }
}
