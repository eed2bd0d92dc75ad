use std::time::UNIX_EPOCH;

use proptest::prelude::*;

use super::*;
use crate::{coins::Coins, flags::Flag};

const HOUR: Duration = Duration::from_secs(3600);

fn percent(percent: f64) -> Rollout {
    Rollout::from_percent(percent).expect("a test uses valid percentages")
}

fn plan(steps: &[f64], guards: &[&str]) -> Plan {
    Plan {
        flag: Flag::QualityMode,
        steps: steps.iter().copied().map(percent).collect(),
        every: HOUR,
        guards: guards.iter().map(|guard| guard.parse().expect("a valid guard")).collect(),
        minimum_decisions: 200,
    }
}

const OFF: FlagSetting = FlagSetting { enabled: false, rollout: Rollout::FULL };

fn at(hours: f64) -> SystemTime {
    UNIX_EPOCH + HOUR.mul_f64(hours)
}

fn started() -> GuardedRollout {
    let plan = plan(&[10.0, 50.0, 100.0], &["error_rate<1%", "p95<200ms"]);
    assert_eq!(plan.problems(), []);
    GuardedRollout::start("id".into(), plan, OFF, "ada", at(0.0))
}

fn decided(latency_ms: u64) -> Outcome {
    Outcome::Decided { latency: Duration::from_millis(latency_ms), fell_back: false, degraded: false }
}

/// So many texts with and without the feature, each of a subject of its own, of which so many failed.
fn evidence(treatment: [u64; 2], control: [u64; 2]) -> Evidence {
    let measures = started().measures();
    let group = |[texts, failed]: [u64; 2]| {
        let mut group = GroupEvidence::default();
        for text in 0..texts {
            group.add(&measures, &if text < failed { Outcome::Failed } else { decided(5) });
        }
        group
    };
    Evidence { treatment: group(treatment), control: group(control) }
}

fn good() -> Evidence {
    evidence([1_000, 1], [1_000, 1])
}

fn bad() -> Evidence {
    evidence([1_000, 200], [1_000, 1])
}

/// What the rollout says, in words.
fn says(rollout: &GuardedRollout, evidence: &Evidence, now: SystemTime) -> String {
    match rollout.assess(evidence, now).next {
        Next::Nothing => "nothing".to_owned(),
        Next::Wait(waiting) => waiting.iter().map(|one| one.in_words(now)).collect::<Vec<_>>().join("; "),
        Next::Step => "step".to_owned(),
        Next::Complete => "complete".to_owned(),
        Next::RollBack(reason) => format!("roll back: {reason}"),
    }
}

fn live(rollout: &mut GuardedRollout, evidence: &Evidence, now: SystemTime) {
    let next = rollout.assess(evidence, now).next;
    rollout.advance(&next, now);
}

#[test]
fn it_takes_step_after_step_when_all_is_well_and_ends() {
    let mut rollout = started();
    let mut percents = vec![rollout.setting().percent()];
    for hour in 1..=3 {
        live(&mut rollout, &good(), at(f64::from(hour)));
        percents.push(rollout.setting().percent());
    }
    assert_eq!(percents, [10.0, 50.0, 100.0, 100.0]);
    assert_eq!((rollout.status, says(&rollout, &bad(), at(9.0))), (Status::Completed, "nothing".to_owned()));
    let actions: Vec<&str> = rollout.events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["started", "stepped", "stepped", "completed"]);
}

#[test]
fn it_waits_for_time_for_decisions_for_users_and_for_guards_and_says_so() {
    let rollout = started();
    assert_eq!(says(&rollout, &good(), at(0.5)), "the step lasts 1800 s longer");
    let few = evidence([30, 0], [1_000, 0]);
    assert_eq!(says(&rollout, &few, at(1.0)), "30 of 200 decisions with the feature");
    let mut busy = good();
    let mut clusters = crate::experiment::Clusters::default();
    (0..10).for_each(|_| clusters.add(100.0, 0.0));
    busy.treatment.insert(Measure::Error, clusters);
    assert!(says(&rollout, &busy, at(1.0)).starts_with("10 of 50 users with the feature"));
    let doubtful = evidence([1_000, 13], [1_000, 10]);
    let words = says(&rollout, &doubtful, at(1.0));
    assert!(
        words.starts_with("`error_rate<1%` is exceeded, which may be chance: 1.30 % without a decision"),
        "{words}"
    );
}

#[test]
fn everybody_has_the_feature_in_the_end_and_nobody_is_waited_for_without_it() {
    let mut rollout = started();
    live(&mut rollout, &good(), at(1.0));
    live(&mut rollout, &good(), at(2.0));
    assert_eq!(says(&rollout, &evidence([1_000, 0], [0, 0]), at(3.0)), "complete");
    assert!(says(&rollout, &evidence([1_000, 300], [0, 0]), at(2.1)).starts_with("roll back: `error_rate<1%`"));
}

#[test]
fn a_violation_takes_it_back_at_once_and_again_to_where_it_began() {
    let mut rollout = started();
    live(&mut rollout, &good(), at(1.0));
    assert_eq!(rollout.setting().percent(), 50.0);
    live(&mut rollout, &bad(), at(1.001));
    assert_eq!((rollout.status, rollout.setting().percent(), rollout.stage), (Status::RolledBack, 10.0, 2));
    let reason = rollout.reason.clone().expect("it says why");
    assert!(reason.starts_with("`error_rate<1%` is violated: 20.00 % without a decision with the feature"), "{reason}");
    assert!(reason.contains("`error_rate<=control` is violated"), "{reason}");
    // It takes no step, however good things are, and is still watched.
    assert_eq!(says(&rollout, &good(), at(9.0)), "nothing");
    live(&mut rollout, &bad(), at(9.1));
    assert_eq!((rollout.step, rollout.setting(), rollout.is_active()), (None, OFF, false));
    assert_eq!(says(&rollout, &bad(), at(9.2)), "nothing");
}

#[test]
fn where_more_users_had_the_feature_before_a_violation_leaves_nobody_with_it() {
    let everybody = FlagSetting { enabled: true, rollout: Rollout::FULL };
    let some = FlagSetting { enabled: true, rollout: percent(5.0) };
    for (before, expected) in [(OFF, 0.0), (everybody, 0.0), (some, 5.0)] {
        let mut rollout = GuardedRollout::start("id".into(), started().plan, before, "ada", at(0.0));
        live(&mut rollout, &bad(), at(0.1));
        assert_eq!(rollout.setting().percent(), expected, "{before:?}");
        rollout.abort("ada", at(0.2)).expect("it can be ended");
        assert_eq!(rollout.setting(), before);
    }
}

#[test]
fn people_pause_resume_and_abort_it_where_that_makes_sense() {
    let mut rollout = started();
    rollout.pause("ada", None, at(0.5)).expect("it is running");
    assert_eq!(says(&rollout, &bad(), at(7.0)), "nothing");
    let twice = rollout.pause("ada", None, at(0.6)).expect_err("it is paused");
    assert_eq!(twice.to_string(), "the rollout is paused; only one that is running or rolled back can be paused");
    rollout.resume("grace", at(7.0)).expect("it is paused");
    assert_eq!((rollout.stage, says(&rollout, &good(), at(7.5))), (1, "the step lasts 1800 s longer".to_owned()));
    rollout.abort("ada", at(7.6)).expect("it is running");
    assert_eq!((rollout.status, rollout.setting()), (Status::Aborted, OFF));
    assert!(rollout.resume("ada", at(8.0)).is_err() && rollout.abort("ada", at(8.0)).is_err());
}

#[test]
fn after_a_violation_it_can_be_resumed_and_tries_the_step_again() {
    let mut rollout = started();
    live(&mut rollout, &good(), at(1.0));
    live(&mut rollout, &bad(), at(1.1));
    rollout.resume("ada", at(2.0)).expect("it was rolled back");
    assert_eq!((rollout.setting().percent(), rollout.reason.clone()), (10.0, None));
    live(&mut rollout, &good(), at(3.0));
    assert_eq!(rollout.setting().percent(), 50.0);
}

#[test]
fn a_guard_on_accuracy_waits_for_users_to_say_what_they_think() {
    let plan = plan(&[10.0, 100.0], &["accuracy>80%"]);
    let rollout = GuardedRollout::start("id".into(), plan, OFF, "ada", at(0.0));
    let mut seen = good();
    let words = says(&rollout, &seen, at(1.0));
    assert!(words.starts_with("`accuracy>80%` cannot be told yet: nothing was observed"), "{words}");
    let judge = |group: &mut GroupEvidence, right: u32, wrong: u32| {
        (0..right).for_each(|_| group.add(&[Measure::Wrong], &Outcome::Judged { right: true }));
        (0..wrong).for_each(|_| group.add(&[Measure::Wrong], &Outcome::Judged { right: false }));
    };
    judge(&mut seen.treatment, 55, 5);
    assert_eq!(says(&rollout, &seen, at(1.0)), "step");
    judge(&mut seen.treatment, 0, 200);
    assert!(says(&rollout, &seen, at(0.1)).contains("`accuracy>80%` is violated: 78.85 % wrong with the feature"));
}

#[test]
fn what_is_wrong_with_a_plan_is_told_field_by_field() {
    let mut wrong = plan(&[50.0, 25.0], &["error_rate<1%", "error_rate<2%"]);
    wrong.every = Duration::ZERO;
    wrong.minimum_decisions = 1;
    let fields: Vec<&str> = wrong.problems().iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["steps", "every", "guards", "minimum_decisions"]);
    assert!(wrong.problems()[0].message.contains("has 25 after 50"));
    assert_eq!(plan(&[], &[]).problems()[0].message, "has 0 steps, expected 1 to 20");
    assert!(plan(&[0.0, 5.0], &[]).problems()[0].message.contains("begins with 0"));
    let own_margin = plan(&[10.0], &["error_rate<=control+1%"]);
    let guards: Vec<String> = own_margin.all_guards().iter().map(Guard::to_string).collect();
    assert_eq!(guards, ["error_rate<=control+1%", "accuracy>=control"]);
}

#[test]
fn what_does_not_fit_together_is_not_relied_on() {
    let mut rollout = started();
    assert_eq!(rollout.check(), Ok(()));
    rollout.step = Some(3);
    assert_eq!(rollout.check(), Err("there is no step 3".to_owned()));
    rollout.plan.steps.clear();
    assert!(rollout.check().is_err_and(|problem| problem.contains("`steps`")));
}

/// What can befall a rollout.
#[derive(Clone, Debug)]
enum Act {
    Live { treatment: [u64; 2], control: [u64; 2] },
    Pause,
    Resume,
    Abort,
}

fn act() -> impl Strategy<Value = Act> {
    let group = || (0..400_u64, 0.0..1.0_f64).prop_map(|(texts, share)| [texts, (texts as f64 * share * share) as u64]);
    prop_oneof![
        8 => (group(), group()).prop_map(|(treatment, control)| Act::Live { treatment, control }),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        1 => Just(Act::Abort),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_no_step_is_skipped_none_comes_early_and_none_on_bad_evidence(
        acts in prop::collection::vec((act(), 0.0..1.5_f64), 1..40),
    ) {
        let (mut rollout, mut hours) = (started(), 0.0);
        for (act, wait) in acts {
            hours += wait;
            let (now, before) = (at(hours), rollout.clone());
            let mut seen = Evidence::default();
            match act {
                Act::Live { treatment, control } => {
                    seen = evidence(treatment, control);
                    live(&mut rollout, &seen, now);
                }
                Act::Pause => drop(rollout.pause("ada", Some("x".into()), now)),
                Act::Resume => drop(rollout.resume("ada", now)),
                Act::Abort => drop(rollout.abort("ada", now)),
            }
            let (from, to) = (before.step.map_or(-1, |step| step as i64), rollout.step.map_or(-1, |step| step as i64));
            prop_assert!((from - to).abs() <= 1);
            if to > from && before.status == Status::Running {
                prop_assert!(now >= before.stage_since + HOUR);
                let judged = before.assess(&seen, now).guards;
                prop_assert!(judged.iter().all(|report| report.verdict != Verdict::Violated), "{judged:?}");
                prop_assert!(seen.treatment.decisions() >= 200);
            }
            if matches!(before.status, Status::Aborted | Status::Completed) {
                prop_assert_eq!(&before, &rollout);
            }
            let allowed = [0.0, 10.0, 50.0, 100.0];
            prop_assert!(allowed.contains(&rollout.setting().percent()));
            prop_assert_eq!(rollout.check(), Ok(()));
            let written = serde_json::to_string(&rollout).expect("it can be written");
            prop_assert_eq!(serde_json::from_str::<GuardedRollout>(&written).expect("it can be read"), rollout.clone());
        }
    }
}

/// Adds one subject in turn to those with and those without the feature, and looks each time; returns after how many
/// subjects with the feature a guard is violated. `rates`: the share of failures with and without the feature.
fn violated_after(seed: u64, texts_each: u32, rates: [f64; 2], subjects: u64) -> Option<u64> {
    let mut coins = Coins::new(seed);
    let rollout = started();
    let mut groups = [crate::experiment::Clusters::default(); 2];
    (1..=subjects).find(|_| {
        for (group, rate) in groups.iter_mut().zip(rates) {
            // With several texts each, some subjects have more trouble than others.
            let own = if texts_each == 1 { rate } else { 2.0 * rate * coins.uniform() };
            let failed = (0..texts_each).filter(|_| coins.toss(own)).count();
            group.add(f64::from(texts_each), failed as f64);
        }
        let mut seen = Evidence::default();
        seen.treatment.insert(Measure::Error, groups[0]);
        seen.control.insert(Measure::Error, groups[1]);
        let assessment = rollout.assess(&seen, at(0.1));
        matches!(assessment.next, Next::RollBack(_))
    })
}

#[test]
fn looking_after_every_user_a_harmless_feature_is_rarely_taken_back() {
    const RUNS: u64 = 200;
    // The worst that is harmless: as bad as control, and exactly at the bound of 1 %.
    for (texts_each, subjects) in [(1, 3_000), (5, 1_500)] {
        let alarms = (1..=RUNS).filter(|&seed| violated_after(seed, texts_each, [0.01; 2], subjects).is_some()).count();
        assert!(alarms as f64 <= FALSE_ALARM_RATE * RUNS as f64, "{alarms} false alarms in {RUNS} runs");
    }
}

#[test]
fn harm_is_noticed_the_sooner_the_worse_it_is() {
    let mean = |rate: f64| {
        let found: Vec<u64> =
            (1..=20).map(|seed| violated_after(seed, 1, [rate, 0.002], 20_000).expect("it is noticed")).collect();
        found.iter().sum::<u64>() / found.len() as u64
    };
    let after = [1.0, 0.5, 0.2, 0.1, 0.05].map(mean);
    assert!(after.is_sorted(), "{after:?}");
    assert_eq!(after[0], MINIMUM_SUBJECTS, "an outage is noticed as soon as there are enough users");
    assert!(after[4] < 1_000, "{after:?}");
}
