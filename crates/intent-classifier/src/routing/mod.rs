//! The router's settings while the service runs: what the configuration says, and what was said over HTTP since.
//!
//! Changes are stored with an audit trail and reach every replica; the engine gets them as a whole.

mod change;

use std::sync::{Arc, Mutex, MutexGuard};

use intent_engine::{Engine, Experiment, RoutingConfig};
use tokio::sync::Mutex as AsyncMutex;
use tracing::{info, warn};

pub(crate) use self::change::{ExperimentSettings, Invalid, LatencyTargetsMs, RoutingChange, StoredRouting};
use crate::{
    causes::in_full,
    storage::{Change, ChangeError, DocumentChange, Storage, StorageError, Topic},
};

/// The name of the document.
const DOCUMENT: &str = "config";

/// The settings of the router and of its experiment.
#[derive(Debug)]
pub(crate) struct Routing {
    configured: (RoutingConfig, Experiment),
    storage: Storage,
    state: Mutex<State>,
    /// Held while stored settings are read and put in force, so that an older state never replaces a newer one.
    storing: AsyncMutex<()>,
}

/// What is in force.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// What the router goes by.
    pub(crate) config: RoutingConfig,
    /// The experiment.
    pub(crate) experiment: Experiment,
    /// What was said over HTTP.
    pub(crate) stored: StoredRouting,
    /// Its revision; 0 when nothing was ever said.
    pub(crate) revision: u64,
    /// The revision of the topic that was read last.
    topic_revision: u64,
}

impl Routing {
    /// Goes by the configuration until the database can be read.
    pub(crate) fn new(config: RoutingConfig, experiment: Experiment, storage: Storage) -> Self {
        let state = State {
            config: config.clone(),
            experiment: experiment.clone(),
            stored: StoredRouting::default(),
            revision: 0,
            topic_revision: 0,
        };
        Self { configured: (config, experiment), storage, state: Mutex::new(state), storing: AsyncMutex::default() }
    }

    /// Returns what is in force.
    pub(crate) fn in_force(&self) -> State {
        self.state().clone()
    }

    /// Lets an engine go by what is in force.
    pub(crate) fn apply(&self, engine: &Engine) {
        let state = self.in_force();
        if *engine.routing() != state.config {
            engine.replace_routing(state.config);
        }
        if *engine.experiment() != state.experiment {
            engine.replace_experiment(state.experiment);
        }
    }

    /// Changes settings for all replicas. `expected_revision` is the one that the caller has seen; `None` changes them
    /// whatever they are.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then.
    pub(crate) async fn change(
        &self,
        change: RoutingChange,
        expected_revision: Option<u64>,
        actor: &str,
    ) -> Result<(), ChangeError<Vec<Invalid>>> {
        let document = Change { topic: Topic::Routing, name: DOCUMENT, expected_revision, actor };
        let (config, experiment) = &self.configured;
        let changed = self
            .storage
            .change_document(document, |before| {
                let before = before.map(StoredRouting::read).unwrap_or_default();
                let after = before.with(change);
                after.check(config, experiment)?;
                Ok(after.write())
            })
            .await?;
        info!(revision = changed.revision, actor, "the router's settings were changed over HTTP");
        if let Err(error) = self.reload().await {
            warn!(error = in_full(error), "the router's settings cannot be read after a change");
            let stored = changed.to.as_ref().map(StoredRouting::read).unwrap_or_default();
            self.put_in_force(stored, changed.revision, changed.revision);
        }
        Ok(())
    }

    /// Returns the latest changes, the latest first.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn history(&self, limit: u32) -> Result<Vec<DocumentChange>, StorageError> {
        self.storage.document_history(Topic::Routing, DOCUMENT, limit).await
    }

    /// Keeps up with the other replicas for as long as the process runs; `apply` is called after every change.
    pub(crate) async fn follow(self: Arc<Self>, apply: impl Fn(&Self) + Send) {
        let mut revisions = self.storage.watch_revisions();
        revisions.mark_changed();
        while revisions.changed().await.is_ok() {
            let revision = revisions.borrow_and_update().as_ref().map(|revisions| revisions.of(Topic::Routing));
            if revision.is_some_and(|revision| revision != self.state().topic_revision) {
                if let Err(error) = self.reload().await {
                    warn!(error = in_full(error), "the router's settings cannot be read");
                    // The monitor of the database notices when it is back, and the revision is looked at again.
                    revisions.mark_changed();
                    tokio::time::sleep(READ_AGAIN).await;
                    continue;
                }
                apply(&self);
            }
        }
    }

    async fn reload(&self) -> Result<(), StorageError> {
        let _alone = self.storing.lock().await;
        let documents = self.storage.documents(Topic::Routing).await?;
        let found = documents.documents.iter().find(|document| document.name == DOCUMENT);
        let stored = found.map(|document| StoredRouting::read(&document.body)).unwrap_or_default();
        self.put_in_force(stored, found.map_or(0, |document| document.revision), documents.revision);
        Ok(())
    }

    fn put_in_force(&self, stored: StoredRouting, revision: u64, topic_revision: u64) {
        let (config, experiment) = &self.configured;
        let (config, experiment) = stored.resolve(config, experiment);
        let mut state = self.state();
        if state.config != config || state.experiment != experiment {
            info!(
                strategy = config.strategy.as_str(),
                thresholds = ?config.thresholds,
                experiment = &*experiment.name,
                experiment_share = experiment.share,
                revision,
                "router settings"
            );
        }
        *state = State { config, experiment, stored, revision, topic_revision };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds this lock")
    }
}

/// How long to wait before a database that could not be read is read again.
const READ_AGAIN: std::time::Duration = std::time::Duration::from_millis(200);
