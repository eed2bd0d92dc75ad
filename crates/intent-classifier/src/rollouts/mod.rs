//! Guarded rollouts, kept by the server itself.
//!
//! What a rollout does is decided in `intent-engine`. Here it is kept in the database, every process adds what it observes,
//! and the one process that holds the lease looks at the evidence and takes the steps.

mod observer;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use intent_engine::{
    Flag, GuardedRollout,
    rollout::{Assessment, Evidence, FlagSetting, Metric, Next, Plan, Status, Verdict, WrongStatus},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{info, warn};
use uuid::Uuid;

pub(crate) use self::observer::{Observer, Subject};
use crate::{
    causes::in_full,
    flags::FeatureFlags,
    storage::{ChangeError, FlagWrite, Storage, StorageError, StoredFlags, StoredRollout, Topic},
};

/// The lease of the process that takes the steps.
const LEASE: &str = "rollouts";
/// A lease lasts for so many looks, so that one that is late does not lose it.
const LOOKS_PER_LEASE: u32 = 3;
/// The most sums that are written together, so that no write takes long.
const BATCH: usize = 500;
/// How often a change is tried again that somebody else came before.
const ATTEMPTS: usize = 5;

/// The rollouts of the service.
#[derive(Debug)]
pub(crate) struct Rollouts {
    /// Adds up what happens in this process.
    pub(crate) observer: Observer,
    storage: Storage,
    flags: Arc<FeatureFlags>,
    check_interval: Duration,
    /// Names this process where leases are kept.
    holder: String,
    is_leading: AtomicBool,
    /// As they were read last.
    known: Mutex<Vec<StoredRollout>>,
}

/// A rollout with what its evidence says.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Where it stands.
    pub(crate) stored: StoredRollout,
    /// What the evidence says of it.
    pub(crate) assessment: Assessment,
    /// The evidence.
    pub(crate) evidence: Evidence,
    /// When it was looked at.
    pub(crate) at: SystemTime,
}

/// A guard that a rollout violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The flag.
    pub(crate) flag: Flag,
    /// What got worse.
    pub(crate) metric: Metric,
}

/// What people do to rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intervention {
    /// Stop for a while.
    Pause,
    /// Go on.
    Resume,
    /// End, and set the flag to what it was before.
    Abort,
}

/// Why a rollout is not as somebody wants it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RolloutError {
    /// The flag never had one.
    #[error("the flag `{0}` has no rollout; `POST /api/v1/rollouts` starts one")]
    Unknown(Flag),
    /// Another one is under way.
    #[error("a rollout of `{flag}` is {status}: abort it before another one starts")]
    UnderWay {
        /// The flag.
        flag: Flag,
        /// Whether it is running or paused.
        status: Status,
    },
    /// It is not in a state in which this can be done.
    #[error(transparent)]
    Status(#[from] WrongStatus),
    /// Others changed it again and again meanwhile.
    #[error("others are changing the rollout or its flag at this moment: look again")]
    Contended,
    /// The database did not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Rollouts {
    /// Knows of no rollout yet.
    pub(crate) fn new(storage: Storage, flags: Arc<FeatureFlags>, check_interval: Duration) -> Self {
        Self {
            observer: Observer::new(flags.shared()),
            storage,
            flags,
            check_interval,
            holder: Uuid::now_v7().to_string(),
            is_leading: AtomicBool::new(false),
            known: Mutex::default(),
        }
    }

    /// Returns the rollouts as they were read last, for gauges.
    pub(crate) fn known(&self) -> Vec<StoredRollout> {
        self.known.lock().expect("no code panics while it holds this lock").clone()
    }

    /// Returns the latest rollout of every flag that had one.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn list(&self) -> Result<Vec<Report>, StorageError> {
        let mut reports = Vec::new();
        for stored in self.storage.rollouts().await? {
            reports.push(self.report(stored).await?);
        }
        Ok(reports)
    }

    /// Returns the latest rollout of a flag.
    ///
    /// # Errors
    /// [`RolloutError::Unknown`] when it never had one, [`RolloutError::Storage`] when the database cannot be read.
    pub(crate) async fn of(&self, flag: Flag) -> Result<Report, RolloutError> {
        let stored = self.find(flag).await?.ok_or(RolloutError::Unknown(flag))?;
        Ok(self.report(stored).await?)
    }

    /// Starts a rollout: its first step is in force from now on.
    ///
    /// # Errors
    /// [`RolloutError`]; nothing is changed then.
    pub(crate) async fn start(&self, plan: Plan, actor: &str) -> Result<Report, RolloutError> {
        let flag = plan.flag;
        for _ in 0..ATTEMPTS {
            let earlier = self.find(flag).await?;
            if let Some(StoredRollout { rollout, .. }) = &earlier
                && rollout.is_under_way()
            {
                return Err(RolloutError::UnderWay { flag, status: rollout.status });
            }
            let flag_revision = self.storage.flags().await?.revision_of(flag);
            self.flags.catch_up().await?;
            let before = FlagSetting::from(self.flags.snapshot().state(flag));
            let id = Uuid::now_v7().to_string();
            let rollout = GuardedRollout::start(id, plan.clone(), before, actor, SystemTime::now());
            let revision = earlier.as_ref().map_or(0, |earlier| earlier.revision);
            let write = FlagWrite::Set(Some(flag_revision));
            if let Some(stored) = self.store_unless_stale(&rollout, revision, write, actor).await? {
                info!(%flag, id = rollout.id, actor, percent = rollout.setting().percent(), "a rollout starts");
                if let Some(earlier) = earlier {
                    self.forget(&earlier.rollout.id, u64::MAX).await;
                }
                return self.taken_up(stored).await;
            }
        }
        Err(RolloutError::Contended)
    }

    /// Does what somebody wants done to the rollout of a flag.
    ///
    /// # Errors
    /// [`RolloutError`]; nothing is changed then.
    pub(crate) async fn intervene(
        &self,
        flag: Flag,
        intervention: Intervention,
        actor: &str,
    ) -> Result<Report, RolloutError> {
        for _ in 0..ATTEMPTS {
            let stored = self.find(flag).await?.ok_or(RolloutError::Unknown(flag))?;
            let (mut rollout, now) = (stored.rollout.clone(), SystemTime::now());
            let write = match intervention {
                Intervention::Pause => {
                    rollout.pause(actor, None, now)?;
                    FlagWrite::Keep(stored.flag_revision)
                }
                Intervention::Resume => {
                    rollout.resume(actor, now)?;
                    FlagWrite::Set(None)
                }
                Intervention::Abort => {
                    rollout.abort(actor, now)?;
                    FlagWrite::Set(None)
                }
            };
            if let Some(stored) = self.store_unless_stale(&rollout, stored.revision, write, actor).await? {
                info!(%flag, id = rollout.id, actor, status = %rollout.status, "somebody changed a rollout");
                self.forget(&rollout.id, rollout.stage).await;
                return self.taken_up(stored).await;
            }
        }
        Err(RolloutError::Contended)
    }

    /// Observes and takes steps for as long as the process runs; `violated` is told what it took a rollout back for.
    pub(crate) async fn run(self: Arc<Self>, violated: impl Fn(Violation) + Send) {
        let mut revisions = self.storage.watch_revisions();
        let mut looks = interval(self.check_interval);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                changed = revisions.changed() => if changed.is_err() { return },
            }
            let revision = revision_of(&mut revisions);
            if revision.is_none() {
                // The database was not read yet.
                continue;
            }
            if seen != revision {
                match self.reload().await {
                    Ok(()) => seen = revision,
                    Err(error) => warn!(error = in_full(error), "the rollouts cannot be read"),
                }
                continue;
            }
            match self.look().await {
                Ok(violations) => violations.into_iter().for_each(&violated),
                // The next look tries again; that the database is away is told by others.
                Err(error) if error.fault().is_some() => {}
                Err(error) => warn!(error = in_full(error), "the rollouts cannot be looked at"),
            }
        }
    }

    /// Stores what was observed and lets another process take over at once, but not longer than `limit`.
    pub(crate) async fn stop(&self, limit: Duration) {
        let stopped = async {
            // Both are lost without harm: evidence of a moment, and a lease that ends by itself.
            let _ = self.store_observations().await;
            if self.is_leading.load(Ordering::Relaxed) {
                let _ = self.storage.release_lease(LEASE, &self.holder).await;
            }
        };
        let _ = timeout(limit, stopped).await;
    }

    /// Stores what was observed; then, when this process holds the lease, judges every rollout.
    async fn look(&self) -> Result<Vec<Violation>, StorageError> {
        self.store_observations().await?;
        if !self.known().iter().any(|stored| stored.rollout.is_active()) {
            return Ok(Vec::new());
        }
        let leads = self.storage.hold_lease(LEASE, &self.holder, self.check_interval * LOOKS_PER_LEASE).await?;
        if self.is_leading.swap(leads, Ordering::Relaxed) != leads {
            let message = if leads { "this process takes the steps of rollouts" } else { "another process takes them" };
            info!(message);
        }
        let mut violations = Vec::new();
        if leads {
            // Rollouts first: whoever changes one in between makes storing fail; the other way round, its flag would seem
            // to have been changed by hand.
            let rollouts = self.storage.rollouts().await?;
            let flags = self.storage.flags().await?;
            for stored in rollouts {
                if stored.rollout.is_active() {
                    violations.extend(self.live(stored, &flags).await?);
                }
            }
        }
        Ok(violations)
    }

    /// Judges a rollout and does what follows.
    async fn live(&self, stored: StoredRollout, flags: &StoredFlags) -> Result<Vec<Violation>, StorageError> {
        let (mut rollout, now) = (stored.rollout.clone(), SystemTime::now());
        let flag = rollout.plan.flag;
        let flag_revision = flags.revision_of(flag);
        if flag_revision != stored.flag_revision {
            let who = self.flags.history(flag, 1).await?.into_iter().next().map(|change| change.actor);
            let reason = format!("`{flag}` was changed by hand, by {}", who.as_deref().unwrap_or("somebody"));
            if rollout.pause(&rollout.actor(), Some(reason.clone()), now).is_ok() {
                self.store(&rollout, stored.revision, FlagWrite::Keep(stored.flag_revision)).await?;
                warn!(%flag, id = rollout.id, reason, "a rollout is paused");
            }
            return Ok(Vec::new());
        }
        let evidence = self.storage.rollout_evidence(&rollout.id, rollout.stage).await?;
        let assessment = rollout.assess(&evidence, now);
        if !rollout.advance(&assessment.next, now) {
            return Ok(Vec::new());
        }
        let write = if rollout.setting() == stored.rollout.setting() {
            FlagWrite::Keep(stored.flag_revision)
        } else {
            FlagWrite::Set(Some(flag_revision))
        };
        if !self.store(&rollout, stored.revision, write).await? {
            // Somebody was faster; the next look sees what he did.
            return Ok(Vec::new());
        }
        let percent = rollout.setting().percent();
        self.forget(&rollout.id, rollout.stage).await;
        let Next::RollBack(reason) = assessment.next else {
            info!(%flag, id = rollout.id, percent, status = %rollout.status, "a rollout goes on");
            return Ok(Vec::new());
        };
        warn!(%flag, id = rollout.id, percent, reason, "a rollout goes back");
        let violated = assessment.guards.iter().filter(|report| report.verdict == Verdict::Violated);
        Ok(violated.map(|report| Violation { flag, metric: report.guard.metric() }).collect())
    }

    /// Stores what the rollout itself did; returns whether nobody came before.
    async fn store(&self, rollout: &GuardedRollout, revision: u64, flag: FlagWrite) -> Result<bool, StorageError> {
        let stored = self.store_unless_stale(rollout, revision, flag, &rollout.actor()).await?;
        if stored.is_some() {
            self.reload().await?;
        }
        Ok(stored.is_some())
    }

    /// Stores where a rollout stands; `None` when somebody changed it or its flag before.
    async fn store_unless_stale(
        &self,
        rollout: &GuardedRollout,
        revision: u64,
        flag: FlagWrite,
        actor: &str,
    ) -> Result<Option<StoredRollout>, StorageError> {
        match self.storage.store_rollout(rollout, revision, flag, actor).await {
            Ok(stored) => Ok(Some(stored)),
            Err(ChangeError::Stale { .. }) => Ok(None),
            Err(ChangeError::Invalid(impossible)) => match impossible {},
            Err(ChangeError::Storage(error)) => Err(error),
        }
    }

    async fn store_observations(&self) -> Result<(), StorageError> {
        let mut left = self.observer.take();
        while !left.is_empty() {
            let after = left.keys().nth(BATCH).cloned();
            let rest = after.map(|first| left.split_off(&first)).unwrap_or_default();
            let batch = std::mem::replace(&mut left, rest);
            if let Err(error) = self.storage.add_rollout_observations(&batch).await {
                // A write that took too long may have been made all the same: it counts twice then, in proportion.
                self.observer.put_back(batch);
                self.observer.put_back(left);
                return Err(error);
            }
        }
        match self.observer.take_lost() {
            0 => {}
            lost => warn!(lost, "observations of a rollout were lost: the database does not keep up"),
        }
        Ok(())
    }

    async fn reload(&self) -> Result<(), StorageError> {
        let found = self.storage.rollouts().await?;
        self.observer.watch(found.iter().map(|stored| &stored.rollout));
        *self.known.lock().expect("no code panics while it holds this lock") = found;
        Ok(())
    }

    /// Puts a change in force here without waiting to hear of it.
    async fn taken_up(&self, stored: StoredRollout) -> Result<Report, RolloutError> {
        self.flags.catch_up().await?;
        self.reload().await?;
        Ok(self.report(stored).await?)
    }

    /// Forgets evidence that nobody looks at any more; what stays is in nobody's way.
    async fn forget(&self, rollout: &str, before: u64) {
        if let Err(error) =
            self.storage.forget_rollout_observations(rollout, before.min(i64::MAX.cast_unsigned())).await
        {
            warn!(error = in_full(error), "old observations of a rollout stay");
        }
    }

    async fn report(&self, stored: StoredRollout) -> Result<Report, StorageError> {
        let rollout = &stored.rollout;
        let evidence = self.storage.rollout_evidence(&rollout.id, rollout.stage).await?;
        let at = SystemTime::now();
        let assessment = rollout.assess(&evidence, at);
        Ok(Report { stored, assessment, evidence, at })
    }

    async fn find(&self, flag: Flag) -> Result<Option<StoredRollout>, StorageError> {
        Ok(self.storage.rollouts().await?.into_iter().find(|stored| stored.rollout.plan.flag == flag))
    }
}

fn revision_of(revisions: &mut watch::Receiver<Option<crate::storage::Revisions>>) -> Option<u64> {
    revisions.borrow_and_update().as_ref().map(|revisions| revisions.of(Topic::Rollouts))
}
