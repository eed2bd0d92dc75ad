//! Where feature flags come from: file, environment, and what was said of them over HTTP.
//!
//! [`FeatureFlags`] holds what each source said last and publishes one snapshot of all of them. How a snapshot is
//! evaluated is `intent-engine`'s business.

mod environment;
mod file;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use arc_swap::ArcSwap;
use intent_engine::flags::{Flag, FlagChange, FlagSnapshot, FlagState, Overrides, SharedFlags};
use tokio::{sync::Mutex as AsyncMutex, task::spawn_blocking, time::interval};
use tracing::{error, info, warn};

pub(crate) use self::environment::{FlagVariables, VariableError, variables};
use self::file::Fingerprint;
#[cfg(fuzzing)]
pub(crate) use self::file::parse as parse_file;
use crate::{
    causes::in_full,
    config::{ConfigError, FlagSettings, Settings},
    storage::{ChangeError, Changed, FlagAuditEntry, Storage, StorageError, StoredFlags, Topic},
};

/// The feature flags of this process.
#[derive(Debug)]
pub(crate) struct FeatureFlags {
    in_force: SharedFlags,
    file: Option<PathBuf>,
    storage: Storage,
    sources: Mutex<Sources>,
    /// Held while stored flags are read and put in force, so that an older state never replaces a newer one.
    storing: AsyncMutex<()>,
}

/// What each source said last.
#[derive(Debug)]
struct Sources {
    file: Overrides,
    /// Why the file that is there now is not in force.
    file_error: Option<String>,
    fingerprint: Option<Fingerprint>,
    environment: Overrides,
    stored: StoredFlags,
}

/// A flag that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FlagDifference {
    /// The flag.
    pub(crate) flag: Flag,
    /// As it was.
    pub(crate) from: FlagState,
    /// As it is.
    pub(crate) to: FlagState,
}

/// Why flags could not be read again. What could be read is in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefreshError {
    /// The file cannot be used.
    #[error("{0}; what the file said before stays in force")]
    File(String),
    /// What was said over HTTP cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Reads the flags of the environment.
///
/// # Errors
/// [`ConfigError::Flags`] with the variable that cannot be understood.
pub(crate) fn read_environment() -> Result<Overrides, ConfigError> {
    Ok(environment::read(std::env::vars_os())?)
}

/// Reads the flags of the environment and those that other settings imply: who names a model server wants its model.
fn read_settings(settings: &Settings) -> Result<Overrides, ConfigError> {
    let mut overrides = read_environment()?;
    if settings.remote.enabled {
        overrides.entry(Flag::DistilbertModel).or_default().enabled.get_or_insert(true);
    }
    Ok(overrides)
}

/// Reads the flags of the file, when one is configured.
///
/// # Errors
/// [`ConfigError::Invalid`] with what is wrong and where.
pub(crate) fn read_file(settings: &FlagSettings) -> Result<Overrides, ConfigError> {
    let Some(path) = &settings.file else { return Ok(Overrides::new()) };
    file::read(path).map_err(|error| ConfigError::Invalid { variable: "FEATURE_FLAGS_FILE", reason: in_full(error) })
}

/// Returns the flags for commands that do without the database.
///
/// # Errors
/// [`ConfigError`] when file or environment cannot be understood.
pub(crate) fn of_file_and_environment(settings: &Settings) -> Result<SharedFlags, ConfigError> {
    let (file, environment) = (read_file(&settings.flags)?, read_settings(settings)?);
    let snapshot = FlagSnapshot::resolve(0, &file, &environment, &Overrides::new());
    Ok(Arc::new(ArcSwap::from_pointee(snapshot)))
}

impl FeatureFlags {
    /// Reads file and environment. What was said over HTTP follows as soon as the database can be read.
    ///
    /// # Errors
    /// [`ConfigError`] when file or environment cannot be understood.
    pub(crate) fn new(settings: &Settings, storage: Storage) -> Result<Self, ConfigError> {
        let file = settings.flags.file.clone();
        let sources = Sources {
            fingerprint: file.as_deref().and_then(Fingerprint::of),
            file: read_file(&settings.flags)?,
            file_error: None,
            environment: read_settings(settings)?,
            stored: StoredFlags::default(),
        };
        Ok(Self {
            in_force: Arc::new(ArcSwap::from_pointee(sources.resolve())),
            file,
            storage,
            sources: Mutex::new(sources),
            storing: AsyncMutex::default(),
        })
    }

    /// Returns the flags in force, which change under whoever holds this.
    pub(crate) fn shared(&self) -> SharedFlags {
        Arc::clone(&self.in_force)
    }

    /// Returns the flags in force now.
    pub(crate) fn snapshot(&self) -> Arc<FlagSnapshot> {
        self.in_force.load_full()
    }

    /// Returns the revision at the last change of each flag over HTTP; flags that were never changed are not in it.
    pub(crate) fn revisions(&self) -> BTreeMap<Flag, u64> {
        self.sources().stored.revisions.clone()
    }

    /// Returns why the flags file that is there is not in force; `None` when it is, or when there is none.
    pub(crate) fn file_error(&self) -> Option<String> {
        self.sources().file_error.clone()
    }

    /// Changes one flag for all replicas; what `change` leaves open stays as it is. `expected_revision` is that of the
    /// flag's last change, 0 when there was none; `None` changes it whatever it is.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then.
    pub(crate) async fn change(
        &self,
        flag: Flag,
        change: FlagChange,
        expected_revision: Option<u64>,
        actor: &str,
    ) -> Result<(), ChangeError> {
        let changed = self.storage.change_flag(flag, change, expected_revision, actor).await?;
        self.take_up(flag, &changed, actor, |before| FlagChange {
            enabled: change.enabled.or(before.enabled),
            rollout: change.rollout.or(before.rollout),
            updated_at: Some(changed.at),
        })
        .await;
        Ok(())
    }

    /// Takes back what was said of one flag over HTTP, for all replicas.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then.
    pub(crate) async fn reset(
        &self,
        flag: Flag,
        expected_revision: Option<u64>,
        actor: &str,
    ) -> Result<(), ChangeError> {
        let changed = self.storage.reset_flag(flag, expected_revision, actor).await?;
        self.take_up(flag, &changed, actor, |_| FlagChange::default()).await;
        Ok(())
    }

    /// Returns the latest changes of a flag over HTTP, the latest first.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn history(&self, flag: Flag, limit: u32) -> Result<Vec<FlagAuditEntry>, StorageError> {
        self.storage.flag_history(flag, limit).await
    }

    /// Reads what was said over HTTP, as somebody else than this may just have said something.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn catch_up(&self) -> Result<(), StorageError> {
        self.reload_stored().await
    }

    /// Reads file, environment and database again, and returns what that changed.
    ///
    /// # Errors
    /// [`RefreshError`] for what cannot be read; the rest is in force all the same.
    pub(crate) async fn refresh(self: &Arc<Self>) -> Result<Vec<FlagDifference>, RefreshError> {
        let before = self.snapshot();
        let (file, stored) = (self.reload_file().await, self.reload_stored().await);
        file.map_err(RefreshError::File)?;
        stored?;
        Ok(differences(&before, &self.snapshot()))
    }

    /// Keeps up with the file and with the other replicas, for as long as the process runs.
    pub(crate) fn follow(self: &Arc<Self>, poll_interval: Option<Duration>) {
        tokio::spawn(Arc::clone(self).follow_storage());
        if let (Some(path), Some(poll_interval)) = (self.file.clone(), poll_interval) {
            tokio::spawn(Arc::clone(self).follow_file(path, poll_interval));
        }
    }

    async fn follow_storage(self: Arc<Self>) {
        let mut revisions = self.storage.watch_revisions();
        revisions.mark_changed();
        while revisions.changed().await.is_ok() {
            let revision = revisions.borrow_and_update().as_ref().map(|revisions| revisions.of(Topic::Flags));
            if revision.is_none_or(|revision| revision == self.snapshot().revision()) {
                continue;
            }
            if let Err(error) = self.reload_stored().await {
                warn!(error = in_full(error), "the feature flags cannot be read");
                // The monitor of the database notices when it is back, and the revision is looked at again.
                revisions.mark_changed();
                tokio::time::sleep(READ_AGAIN).await;
            }
        }
    }

    async fn follow_file(self: Arc<Self>, path: PathBuf, poll_interval: Duration) {
        let mut ticks = interval(poll_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let path = path.clone();
            let Ok(found) = spawn_blocking(move || Fingerprint::of(&path)).await else { return };
            if found != self.sources().fingerprint {
                // What came of it is logged, and kept for whoever asks.
                let _ = self.reload_file().await;
            }
        }
    }

    /// Reads the file again; one that cannot be used changes nothing.
    async fn reload_file(self: &Arc<Self>) -> Result<(), String> {
        let Some(path) = self.file.clone() else { return Ok(()) };
        let read = spawn_blocking(move || (Fingerprint::of(&path), file::read(&path).map_err(in_full))).await;
        // Reading does not panic; if it did, the file would be what is to blame.
        let (fingerprint, read) = read.map_err(|panic| panic.to_string())?;
        let outcome = read.as_ref().map(drop).map_err(Clone::clone);
        self.update("file", |sources| {
            sources.fingerprint = fingerprint;
            match read {
                Ok(overrides) => {
                    if sources.file_error.take().is_some() {
                        info!("the file of feature flags can be read again");
                    }
                    sources.file = overrides;
                }
                Err(error) => {
                    error!(error, "the file of feature flags cannot be used, what it said before stays in force");
                    sources.file_error = Some(error);
                }
            }
        });
        outcome
    }

    /// Reads again what was said over HTTP.
    async fn reload_stored(&self) -> Result<(), StorageError> {
        let _alone = self.storing.lock().await;
        let stored = self.storage.flags().await?;
        self.update("api", |sources| sources.stored = stored);
        Ok(())
    }

    /// Puts a change in force that this process has made. Another replica may have made one before, so that all of them
    /// are read; when that fails, this one counts until it succeeds.
    async fn take_up(&self, flag: Flag, changed: &Changed, actor: &str, edit: impl FnOnce(FlagChange) -> FlagChange) {
        info!(%flag, revision = changed.revision, actor, "a feature flag was changed over HTTP");
        if let Err(error) = self.reload_stored().await {
            warn!(error = in_full(error), "the feature flags cannot be read after a change");
            self.update("api", |Sources { stored, .. }| {
                let before = stored.overrides.get(&flag).copied().unwrap_or_default();
                stored.overrides.insert(flag, edit(before));
                stored.revisions.insert(flag, changed.revision);
                stored.revision = stored.revision.max(changed.revision);
            });
        }
    }

    /// Changes what a source said, and publishes and logs what comes of it.
    fn update(&self, source: &'static str, edit: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources();
        edit(&mut sources);
        let after = Arc::new(sources.resolve());
        let before = self.in_force.swap(Arc::clone(&after));
        for FlagDifference { flag, from, to } in differences(&before, &after) {
            info!(
                %flag,
                source,
                enabled = to.enabled,
                rollout_percentage = to.rollout.percent(),
                was_enabled = from.enabled,
                was_rollout_percentage = from.rollout.percent(),
                "feature flag"
            );
        }
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().expect("no code panics while it holds this lock")
    }
}

/// How long to wait before a database that could not be read is read again.
const READ_AGAIN: Duration = Duration::from_millis(200);

impl Sources {
    fn resolve(&self) -> FlagSnapshot {
        FlagSnapshot::resolve(self.stored.revision, &self.file, &self.environment, &self.stored.overrides)
    }
}

/// Returns the flags that differ in anything but the time when that was said.
fn differences(before: &FlagSnapshot, after: &FlagSnapshot) -> Vec<FlagDifference> {
    let difference = |flag| FlagDifference { flag, from: *before.state(flag), to: *after.state(flag) };
    let told_apart = |state: FlagState| (state.enabled, state.rollout, state.source);
    Flag::ALL.into_iter().map(difference).filter(|one| told_apart(one.from) != told_apart(one.to)).collect()
}
