//! Models that do what a test tells them.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

use arc_swap::ArcSwap;
use intent_engine::{
    Backend, CacheOptions, Catalog, Engine, EngineOptions, Experiment, Flag, FlagSnapshot, LoadedModel, RoutingConfig,
    StrategyName,
    circuit::CircuitOptions,
    flags::{FlagChange, Overrides},
    workers::WorkerOptions,
};
use intent_model::{
    Calibration, Document, Labels, Model, ModelError, ModelKind, OutOfScopeGate, Scores, document::Embedding,
};

/// What a scripted model does when it is called.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answers the first label with this confidence.
    Answer(f32),
    /// Finds the text out of scope.
    Foreign,
    /// Returns an error.
    Fail,
    /// Panics.
    Panic,
}

/// A model of two labels that plays its script, the last act for ever.
#[derive(Debug)]
pub(crate) struct Scripted {
    kind: ModelKind,
    labels: Labels,
    script: Mutex<VecDeque<Act>>,
    /// The batches it was called with.
    pub(crate) batches: Mutex<Vec<Vec<String>>>,
    /// How many texts it had to run the encoder for; only models of the encoder do.
    pub(crate) encoded: AtomicUsize,
    gate: Option<Gate>,
}

/// Holds a model inside its call until the test drops the [`GateKeeper`].
#[derive(Debug)]
pub(crate) struct Gate {
    entered: Sender<()>,
    leave: Mutex<Receiver<()>>,
}

/// The test's side of a [`Gate`].
#[derive(Debug)]
pub(crate) struct GateKeeper {
    /// Says that the model is inside a call.
    pub(crate) entered: Receiver<()>,
    /// Dropped with the keeper, which lets the model out of this and every later call.
    leave: Sender<()>,
}

impl GateKeeper {
    /// Lets the model out of so many calls.
    pub(crate) fn let_pass(&self, calls: usize) {
        (0..calls).for_each(|_| self.leave.send(()).expect("the model lives as long as the test"));
    }

    /// Waits until the model is inside a call.
    pub(crate) async fn until_entered(&self) {
        while self.entered.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
    }
}

impl Scripted {
    pub(crate) fn new(kind: ModelKind, script: impl IntoIterator<Item = Act>) -> Arc<Self> {
        Arc::new(Self::build(kind, script, None))
    }

    pub(crate) fn gated(kind: ModelKind, script: impl IntoIterator<Item = Act>) -> (Arc<Self>, GateKeeper) {
        let (entered, entered_side) = channel();
        let (leave_side, leave) = channel();
        let gate = Gate { entered, leave: Mutex::new(leave) };
        (Arc::new(Self::build(kind, script, Some(gate))), GateKeeper { entered: entered_side, leave: leave_side })
    }

    fn build(kind: ModelKind, script: impl IntoIterator<Item = Act>, gate: Option<Gate>) -> Self {
        Self {
            kind,
            labels: labels(),
            script: Mutex::new(script.into_iter().collect()),
            batches: Mutex::default(),
            encoded: AtomicUsize::new(0),
            gate,
        }
    }

    fn embed(&self, documents: &[&Document]) {
        for document in documents.iter().filter(|document| document.embedding().is_none()) {
            self.encoded.fetch_add(1, Ordering::Relaxed);
            document.set_embedding(Embedding { values: [1.0].into(), truncated: false });
        }
    }

    pub(crate) fn calls(&self) -> usize {
        self.batches.lock().unwrap().len()
    }
}

impl Model for Scripted {
    fn kind(&self) -> ModelKind {
        self.kind
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
        self.batches.lock().unwrap().push(documents.iter().map(|document| document.text().to_owned()).collect());
        if let Some(gate) = &self.gate {
            // A test that has ended lets the model go as well.
            let _ = gate.entered.send(());
            let _ = gate.leave.lock().unwrap().recv();
        }
        if documents.len() > 1 && documents.iter().any(|document| document.text() == "poison") {
            return Err(ModelError::Inference("poisoned batch".into()));
        }
        if matches!(self.kind, ModelKind::ZeroShot | ModelKind::Hybrid) {
            self.embed(documents);
        }
        let act = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        match act.expect("a script has at least one act") {
            _ if documents.iter().any(|document| document.text() == "poison") => {
                Err(ModelError::Inference("poisoned text".into()))
            }
            Act::Fail => Err(ModelError::Inference("scripted failure".into())),
            // Past the hook, which may take longer to print a backtrace than a request has.
            Act::Panic => std::panic::resume_unwind(Box::new("scripted panic")),
            Act::Answer(confidence) => Ok(documents.iter().map(|_| scores(confidence, 0.0)).collect()),
            Act::Foreign => Ok(documents.iter().map(|_| scores(0.9, 1.0)).collect()),
        }
    }
}

fn scores(confidence: f32, out_of_scope: f32) -> Scores {
    Scores { out_of_scope: Some(out_of_scope), ..Scores::from_logits(vec![confidence.ln(), (1.0 - confidence).ln()]) }
}

pub(crate) fn labels() -> Labels {
    Labels::new(["greeting", "farewell"])
}

/// Loads a scripted model with an accuracy.
pub(crate) fn loaded(model: &Arc<Scripted>, accuracy: f32) -> LoadedModel {
    let model = Arc::clone(model);
    LoadedModel {
        backend: match model.kind() {
            ModelKind::Rules | ModelKind::Linear => Backend::Inline(model),
            _ => Backend::Workers(model),
        },
        calibration: Calibration {
            out_of_scope: Some(OutOfScopeGate { threshold: 0.5, scale: 0.1 }),
            accept_threshold: 0.8,
            ..Calibration::IDENTITY
        },
        accuracy,
        coverage: 0.5,
    }
}

/// Sets some flags and leaves the others at their defaults.
pub(crate) fn flags(set: &[(Flag, bool)]) -> FlagSnapshot {
    let change = |enabled| FlagChange { enabled: Some(enabled), ..FlagChange::default() };
    let api: Overrides = set.iter().map(|(flag, enabled)| (*flag, change(*enabled))).collect();
    FlagSnapshot::resolve(1, &Overrides::new(), &Overrides::new(), &api)
}

/// Starts an engine with these models.
pub(crate) fn engine(models: impl IntoIterator<Item = LoadedModel>) -> Engine {
    engine_with(models, |_| {})
}

/// Starts an engine with one thread and what else `change` makes of its options.
pub(crate) fn engine_with(
    models: impl IntoIterator<Item = LoadedModel>,
    change: impl FnOnce(&mut EngineOptions),
) -> Engine {
    let catalog = Catalog::new("v1", &labels(), models).expect("the labels agree");
    let has_distilbert = catalog.get(ModelKind::Distilbert).is_some();
    let flags = flags(&[(Flag::Caching, false), (Flag::DistilbertModel, has_distilbert), (Flag::AbTesting, false)]);
    let mut options = EngineOptions {
        workers: WorkerOptions { threads: 1, max_batch_texts: 8, max_batch_bytes: 1_000 },
        max_texts_in_flight: 64,
        circuit: CircuitOptions::default(),
        cache: CacheOptions::default(),
        routing: RoutingConfig::default(),
        flags: Arc::new(ArcSwap::from_pointee(flags)),
        experiment: Experiment::default(),
        strategies: StrategyName::strategy,
    };
    change(&mut options);
    Engine::new(catalog, options)
}
