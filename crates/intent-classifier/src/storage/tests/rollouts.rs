use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use intent_engine::{
    Flag, GuardedRollout,
    flags::{FlagChange, Rollout},
    rollout::{FlagSetting, Measure, Next, Plan},
};

use super::{Database, PATIENCE, on_both_databases};
use crate::storage::{ChangeError, FlagWrite, ObservationKey, Sums};

const LONG: Duration = Duration::from_secs(600);

fn rollout() -> GuardedRollout {
    let percent = |percent| Rollout::from_percent(percent).expect("a valid percentage");
    let plan = Plan {
        flag: Flag::QualityMode,
        steps: vec![percent(10.0), percent(50.0)],
        every: Duration::from_secs(60),
        guards: vec!["p95<200ms".parse().expect("a guard")],
        minimum_decisions: 50,
    };
    let before = FlagSetting { enabled: false, rollout: Rollout::FULL };
    GuardedRollout::start("one".into(), plan, before, "ada", SystemTime::now())
}

fn key(is_treatment: bool, measure: Measure, subject: &str) -> ObservationKey {
    ObservationKey { rollout: "one".into(), stage: 3, measure, is_treatment, subject: subject.to_owned() }
}

fn sums(observations: f64, total: f64, total_squared: f64) -> Sums {
    Sums { observations, total, total_squared }
}

on_both_databases! {
    async fn of_many_who_want_a_lease_one_gets_it_until_he_gives_it_back(database: Database) {
        let storages = [database.open().await, database.open().await, database.open().await];
        let holders = ["a", "b", "c"];
        let all = || join_all(storages.iter().zip(holders).map(|(storage, holder)| async move {
            storage.hold_lease("rollouts", holder, LONG).await.expect("asked")
        }));
        let first = all().await;
        assert_eq!(first.iter().filter(|held| **held).count(), 1, "{first:?}");
        assert_eq!(all().await, first, "it is kept by who has it");
        let holder = first.iter().position(|held| *held).expect("somebody has it");
        storages[0].release_lease("rollouts", "nobody").await.expect("asked");
        assert_eq!(all().await, first, "only the holder can give it back");
        storages[0].release_lease("rollouts", holders[holder]).await.expect("asked");
        let other = (holder + 1) % 3;
        assert!(storages[other].hold_lease("rollouts", holders[other], LONG).await.expect("asked"));
        assert!(storages[holder].hold_lease("another", holders[holder], LONG).await.expect("asked"));
    }

    async fn a_lease_that_is_not_kept_ends_by_itself(database: Database) {
        let storage = database.open().await;
        assert!(storage.hold_lease("rollouts", "a", Duration::from_millis(1)).await.expect("asked"));
        let taken = async {
            while !storage.hold_lease("rollouts", "b", LONG).await.expect("asked") {}
        };
        tokio::time::timeout(PATIENCE, taken).await.expect("it ends");
        assert!(!storage.hold_lease("rollouts", "a", LONG).await.expect("asked"));
    }

    async fn a_database_is_examined_without_changing_its_tables(database: Database) {
        let storage = database.open_unprepared();
        assert_eq!(storage.examine().await.expect("it can be reached").write_latency, None);
        assert_eq!(storage.examine().await.expect("it can be reached").write_latency, None, "nothing was made");
        storage.migrate().await.expect("migrated");
        let examined = storage.examine().await.expect("it can be reached");
        assert!(examined.write_latency.is_some() && examined.clock_skew < PATIENCE, "{examined:?}");
    }

    async fn a_rollout_and_its_flag_are_changed_together_and_both_are_in_the_trail(database: Database) {
        let storage = database.open().await;
        let mut rollout = rollout();
        let stored = storage.store_rollout(&rollout, 0, FlagWrite::Set(Some(0)), "ada").await.expect("written");
        assert_eq!(storage.rollouts().await.expect("readable"), std::slice::from_ref(&stored));
        let flags = storage.flags().await.expect("readable");
        assert_eq!(flags.revisions[&Flag::QualityMode], stored.flag_revision);
        let flag = flags.overrides[&Flag::QualityMode];
        assert_eq!((flag.enabled, flag.rollout.map(Rollout::percent)), (Some(true), Some(10.0)));
        assert_eq!(storage.flag_history(Flag::QualityMode, 10).await.expect("readable")[0].actor, "rollout/one");

        // Whoever changes the flag by hand is not overwritten, and the rollout is not changed either.
        let off = FlagChange { enabled: Some(false), ..FlagChange::default() };
        storage.change_flag(Flag::QualityMode, off, None, "grace").await.expect("written");
        assert!(rollout.advance(&Next::Step, SystemTime::now()));
        let write = FlagWrite::Set(Some(stored.flag_revision));
        let stale = storage.store_rollout(&rollout, stored.revision, write, "rollout/one").await;
        assert!(matches!(stale, Err(ChangeError::Stale { current: 2 })), "{stale:?}");
        assert_eq!(storage.rollouts().await.expect("readable"), std::slice::from_ref(&stored));
        let kept = FlagWrite::Keep(stored.flag_revision);
        let kept = storage.store_rollout(&rollout, stored.revision, kept, "rollout/one").await.expect("written");
        assert_eq!((kept.flag_revision, kept.rollout.step), (stored.flag_revision, Some(1)));
        assert_eq!(storage.flags().await.expect("readable").overrides[&Flag::QualityMode].enabled, Some(false));
    }

    async fn of_many_who_take_a_step_at_once_one_does(database: Database) {
        let storages = [database.open().await, database.open().await, database.open().await];
        let mut rollout = rollout();
        let stored = storages[0].store_rollout(&rollout, 0, FlagWrite::Set(None), "ada").await.expect("written");
        assert!(rollout.advance(&Next::Step, SystemTime::now()));
        let write = FlagWrite::Set(Some(stored.flag_revision));
        let steps = (0..12).map(|number: usize| {
            storages[number % 3].store_rollout(&rollout, stored.revision, write, "rollout/one")
        });
        let outcomes = join_all(steps).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
        assert_eq!(storages[1].flag_history(Flag::QualityMode, 10).await.expect("readable").len(), 2);
    }

    async fn what_several_processes_observe_is_added_up_by_subject(database: Database) {
        let (one, other) = (database.open().await, database.open().await);
        let slow = Measure::SlowerThan(Duration::from_millis(200));
        let observed = BTreeMap::from([
            (key(true, slow, "alice"), sums(2.0, 1.0, 1.0)),
            (key(true, slow, ""), sums(10.0, 3.0, 3.0)),
            (key(false, Measure::LatencyMs, ""), sums(2.0, 30.0, 500.0)),
        ]);
        let (first, second) =
            tokio::join!(one.add_rollout_observations(&observed), other.add_rollout_observations(&observed));
        first.and(second).expect("written");
        let evidence = one.rollout_evidence("one", 3).await.expect("readable");
        let treatment = evidence.treatment.of(slow);
        // Alice is one subject with four observations, of which two were slow; the others are twenty.
        assert_eq!((treatment.subjects, treatment.observations, treatment.total), (21, 24.0, 8.0));
        assert_eq!((treatment.observations_squared, treatment.total_squared), (36.0, 10.0));
        assert_eq!(treatment.product, 14.0);
        let control = evidence.control.of(Measure::LatencyMs);
        assert_eq!((control.subjects, control.total, control.total_squared), (4, 60.0, 1000.0));
        assert_eq!(one.rollout_evidence("one", 2).await.expect("readable"), Default::default());
        one.forget_rollout_observations("one", 3).await.expect("done");
        assert_ne!(one.rollout_evidence("one", 3).await.expect("readable"), Default::default());
        one.forget_rollout_observations("one", 4).await.expect("done");
        assert_eq!(one.rollout_evidence("one", 3).await.expect("readable"), Default::default());
    }
}
