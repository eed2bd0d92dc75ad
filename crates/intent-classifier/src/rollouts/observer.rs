//! What happens to those with and without a feature that is being rolled out: added up here, stored now and then.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use intent_engine::{
    Decision, EngineError, Flag, FlagSnapshot, GuardedRollout,
    experiment::subject_digest,
    flags::SharedFlags,
    rollout::{FlagSetting, Measure, Outcome},
};
use uuid::Uuid;

use crate::storage::{ObservationKey, Sums};

/// The most sums that wait to be stored; what is observed of more users meanwhile is lost, and counted.
const MAX_SUMS: usize = 100_000;

/// Whom something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    /// A user, who may come again.
    User(&'a str),
    /// A request of nobody in particular.
    Request(&'a str),
}

/// Adds up what happens in this process.
#[derive(Debug)]
pub(crate) struct Observer {
    flags: SharedFlags,
    watched: ArcSwap<Vec<Watched>>,
    sums: Mutex<BTreeMap<ObservationKey, Sums>>,
    lost: AtomicU64,
}

/// A rollout that is observed.
#[derive(Clone, Debug)]
struct Watched {
    rollout: Arc<str>,
    stage: u64,
    since: SystemTime,
    flag: Flag,
    /// What the flag has to be for what is observed to belong to this stage.
    setting: FlagSetting,
    measures: Vec<Measure>,
}

impl Subject<'_> {
    fn key(&self) -> &str {
        match self {
            Self::User(key) | Self::Request(key) => key,
        }
    }

    /// Returns what stands for the subject where sums are kept; those who come once need not be told apart.
    fn digest(&self) -> String {
        match self {
            Self::User(user) => subject_digest(user),
            Self::Request(_) => String::new(),
        }
    }
}

impl Observer {
    /// Observes nothing yet.
    pub(super) fn new(flags: SharedFlags) -> Self {
        Self { flags, watched: ArcSwap::default(), sums: Mutex::default(), lost: AtomicU64::new(0) }
    }

    /// Observes these rollouts from now on.
    pub(super) fn watch<'a>(&self, rollouts: impl Iterator<Item = &'a GuardedRollout>) {
        let watched = rollouts.filter(|rollout| rollout.is_active()).map(|rollout| Watched {
            rollout: rollout.id.as_str().into(),
            stage: rollout.stage,
            since: rollout.stage_since,
            flag: rollout.plan.flag,
            setting: rollout.setting(),
            measures: rollout.measures(),
        });
        self.watched.store(Arc::new(watched.collect()));
    }

    /// Observes a decision, or that there was none.
    pub(crate) fn decided(&self, subject: Subject<'_>, decision: Result<&Decision, &EngineError>) {
        let outcome = match decision {
            Err(_) => Outcome::Failed,
            Ok(decision) => Outcome::Decided {
                latency: decision.timings.total,
                fell_back: !decision.fallbacks.is_empty(),
                degraded: decision.degraded,
            },
        };
        self.observe(subject, &outcome, None);
    }

    /// Observes a user's word on a decision; one that was made before the present step says nothing of it.
    pub(crate) fn judged(&self, subject: Subject<'_>, request_id: Uuid, right: bool) {
        let decided_at = request_id.get_timestamp().map(|timestamp| {
            let (seconds, nanos) = timestamp.to_unix();
            UNIX_EPOCH + Duration::new(seconds, nanos)
        });
        self.observe(subject, &Outcome::Judged { right }, decided_at);
    }

    fn observe(&self, subject: Subject<'_>, outcome: &Outcome, decided_at: Option<SystemTime>) {
        let watched = self.watched.load();
        if watched.is_empty() {
            return;
        }
        let (flags, digest) = (self.flags.load(), subject.digest());
        for watched in watched.iter().filter(|watched| watched.is_in_force(&flags)) {
            if decided_at.is_some_and(|at| at < watched.since) {
                continue;
            }
            let is_treatment = flags.evaluate(watched.flag, subject.key()).enabled;
            let mut sums = self.sums();
            for &measure in &watched.measures {
                let Some(value) = measure.of(outcome) else { continue };
                let key = ObservationKey {
                    rollout: Arc::clone(&watched.rollout),
                    stage: watched.stage,
                    measure,
                    is_treatment,
                    subject: digest.clone(),
                };
                if sums.len() >= MAX_SUMS && !sums.contains_key(&key) {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                sums.entry(key).or_default().add(Sums {
                    observations: 1.0,
                    total: value,
                    total_squared: value * value,
                });
            }
        }
    }

    /// Returns all that was observed since it was last taken.
    pub(super) fn take(&self) -> BTreeMap<ObservationKey, Sums> {
        std::mem::take(&mut *self.sums())
    }

    /// Puts back what could not be stored.
    pub(super) fn put_back(&self, sums: BTreeMap<ObservationKey, Sums>) {
        let mut here = self.sums();
        for (key, more) in sums {
            here.entry(key).or_default().add(more);
        }
    }

    /// Returns how many observations were lost since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    fn sums(&self) -> MutexGuard<'_, BTreeMap<ObservationKey, Sums>> {
        self.sums.lock().expect("no code panics while it holds this lock")
    }
}

impl Watched {
    /// Tells whether this process goes by the flag as the stage has it.
    fn is_in_force(&self, flags: &FlagSnapshot) -> bool {
        FlagSetting::from(flags.state(self.flag)) == self.setting
    }
}

#[cfg(test)]
mod tests {
    use intent_engine::{
        flags::{FlagChange, Overrides, Rollout},
        rollout::Plan,
    };

    use super::*;

    fn rollout() -> GuardedRollout {
        let percent = |percent| Rollout::from_percent(percent).expect("a valid percentage");
        let plan = Plan {
            flag: Flag::QualityMode,
            steps: vec![percent(50.0), percent(100.0)],
            every: Duration::from_secs(60),
            guards: vec!["p95<200ms".parse().expect("a guard")],
            minimum_decisions: 50,
        };
        let before = FlagSetting { enabled: false, rollout: Rollout::FULL };
        GuardedRollout::start("one".into(), plan, before, "ada", SystemTime::now())
    }

    fn flags(percent: f64) -> FlagSnapshot {
        let rollout = Rollout::from_percent(percent).ok();
        let none = Overrides::new();
        let change = FlagChange { enabled: Some(true), rollout, updated_at: None };
        FlagSnapshot::resolve(1, &none, &none, &Overrides::from([(Flag::QualityMode, change)]))
    }

    #[test]
    fn users_are_told_apart_and_nobody_in_particular_is_added_up() {
        let flags: SharedFlags = Arc::new(ArcSwap::from_pointee(flags(50.0)));
        let observer = Observer::new(Arc::clone(&flags));
        observer.observe(Subject::User("alice"), &Outcome::Failed, None);
        assert!(observer.take().is_empty(), "nothing is rolled out");

        observer.watch([rollout()].iter());
        for user in ["alice", "alice", "bob"] {
            observer.observe(Subject::User(user), &Outcome::Failed, None);
        }
        for request in 0..100 {
            observer.observe(Subject::Request(&request.to_string()), &Outcome::Failed, None);
        }
        let sums = observer.take();
        let of = |subject: &str| -> f64 {
            sums.iter().filter(|(key, _)| key.subject == subject).map(|(_, sums)| sums.total).sum()
        };
        assert_eq!((of(&subject_digest("alice")), of(&subject_digest("bob")), of("")), (2.0, 1.0, 100.0));
        // Both groups of the anonymous, and one each of the two users, whose buckets are known.
        assert_eq!(sums.len(), 4);

        observer.put_back(sums);
        flags.store(Arc::new(super::tests::flags(60.0)));
        observer.observe(Subject::User("alice"), &Outcome::Failed, None);
        assert_eq!(observer.take().values().map(|sums| sums.total).sum::<f64>(), 103.0, "the flag is at another step");
    }

    #[test]
    fn a_word_on_what_was_decided_before_the_step_does_not_count() {
        let observer = Observer::new(Arc::new(ArcSwap::from_pointee(flags(50.0))));
        observer.watch([rollout()].iter());
        let id_at = |seconds| Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        observer.judged(Subject::User("alice"), id_at(now - 3600), false);
        assert!(observer.take().is_empty());
        observer.judged(Subject::User("alice"), id_at(now + 60), false);
        assert_eq!(observer.take().len(), 1);
    }
}
