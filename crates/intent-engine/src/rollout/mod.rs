//! Guarded rollouts: a flag that is given to more and more users, step by step, for as long as nothing gets worse.
//!
//! A [`GuardedRollout`] is a pure state machine: it is told the time and what was observed, says what is to be done next,
//! and does it to itself. Who observes, who keeps it, and who changes the flag is not this crate's business.

mod evidence;
mod guard;
mod millis;
mod plan;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

pub use evidence::{Evidence, FALSE_ALARM_RATE, GroupEvidence, GuardReport, MINIMUM_SUBJECTS, Verdict};
pub use guard::{Guard, Measure, Metric, Outcome};
pub use plan::{Plan, PlanProblem};

use crate::flags::{FlagState, Rollout};

/// The most events that a rollout remembers.
const MAX_EVENTS: usize = 100;

/// A rollout as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardedRollout {
    /// Its id; every rollout has its own.
    pub id: String,
    /// What it is going to do.
    pub plan: Plan,
    /// What the flag was when it began.
    pub before: FlagSetting,
    /// Whether it goes on.
    pub status: Status,
    /// The step in force, from 0; `None` before the first, after a violation there.
    pub step: Option<usize>,
    /// Grows with every step, back and forth; evidence is gathered for each anew.
    pub stage: u64,
    /// Since when this stage is in force.
    #[serde(rename = "stage_since_ms", with = "millis")]
    pub stage_since: SystemTime,
    /// Why it does not go on; `None` when nothing is to be said.
    pub reason: Option<String>,
    /// What happened, the latest last.
    pub events: Vec<Event>,
}

/// What a flag is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlagSetting {
    /// On or off.
    pub enabled: bool,
    /// For which share of the users, when it is on.
    pub rollout: Rollout,
}

/// Whether a rollout goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It takes step after step.
    Running,
    /// Somebody stopped it for a while; nothing is changed meanwhile.
    Paused,
    /// A guard was violated; it takes no further step, but goes back further when a guard is violated again.
    RolledBack,
    /// Somebody ended it; the flag is what it was before.
    Aborted,
    /// All steps were taken.
    Completed,
}

/// Something that happened to a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    #[serde(rename = "at_ms", with = "millis")]
    pub at: SystemTime,
    /// What.
    pub action: Action,
    /// For which share of the users the flag is on from then on; 0 when it is off.
    pub percent: f64,
    /// Who or what did it.
    pub by: String,
    /// Why; `None` when it was time.
    pub reason: Option<String>,
}

/// What can happen to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It began.
    Started,
    /// It took a step.
    Stepped,
    /// It went back.
    RolledBack,
    /// It was stopped for a while.
    Paused,
    /// It goes on.
    Resumed,
    /// It was ended.
    Aborted,
    /// It came to its end.
    Completed,
}

/// What the evidence says, and what is to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// Every guard, those of the plan first.
    pub guards: Vec<GuardReport>,
    /// What is to be done.
    pub next: Next,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Nothing, until somebody says so.
    Nothing,
    /// Nothing, until all of this has come.
    Wait(Vec<Waiting>),
    /// Take the next step.
    Step,
    /// Say that the last step was taken.
    Complete,
    /// Go back a step, for this reason.
    RollBack(String),
}

/// What a rollout waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// The interval of the step has to pass.
    Until(SystemTime),
    /// There have to be more decisions.
    Decisions {
        /// Of those who have the feature, or of those who do not.
        with_feature: bool,
        /// How many there are.
        found: u64,
        /// How many there have to be.
        needed: u64,
    },
    /// They have to come from more subjects.
    Subjects {
        /// Of those who have the feature, or of those who do not.
        with_feature: bool,
        /// How many there are.
        found: u64,
    },
    /// A guard has to hold, or there has to be enough to tell.
    Guard(GuardReport),
}

/// What somebody wants done to a rollout whose status does not allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rollout is {status}; only one that is {allowed} can be {wanted}")]
pub struct WrongStatus {
    status: Status,
    allowed: &'static str,
    wanted: &'static str,
}

impl GuardedRollout {
    /// Begins: the first step is in force from now on.
    pub fn start(id: String, plan: Plan, before: FlagSetting, by: &str, now: SystemTime) -> Self {
        let now = millis::whole(now);
        let mut rollout = Self {
            id,
            plan,
            before,
            status: Status::Running,
            step: Some(0),
            stage: 0,
            stage_since: now,
            reason: None,
            events: Vec::new(),
        };
        rollout.note(Action::Started, by, None, now);
        rollout
    }

    /// Tells what is wrong with one that was read: the rest relies on its plan and its step fitting together.
    ///
    /// # Errors
    /// What does not fit, for people.
    pub fn check(&self) -> Result<(), String> {
        if let Some(problem) = self.plan.problems().first() {
            return Err(format!("`{}` {}", problem.field, problem.message));
        }
        match self.step {
            Some(step) if step >= self.plan.steps.len() => Err(format!("there is no step {step}")),
            _ => Ok(()),
        }
    }

    /// Returns what the flag should be set to. While the rollout is paused, it is left as it is.
    pub fn setting(&self) -> FlagSetting {
        match (self.status, self.step) {
            (Status::Aborted, _) => self.before,
            (_, Some(step)) => FlagSetting { enabled: true, rollout: self.plan.steps[step] },
            (_, None) => self.before_the_first_step(),
        }
    }

    /// Returns what is safe when not even the first step is: what the flag was, unless more users had it then.
    fn before_the_first_step(&self) -> FlagSetting {
        let first = self.plan.steps[0];
        if self.before.percent() < first.percent() {
            self.before
        } else {
            FlagSetting { enabled: true, rollout: Rollout::NONE }
        }
    }

    /// Tells whether it may still change the flag by itself.
    pub fn is_active(&self) -> bool {
        match self.status {
            Status::Running => true,
            Status::RolledBack => self.step.is_some(),
            Status::Paused | Status::Aborted | Status::Completed => false,
        }
    }

    /// Tells whether another rollout of the flag would be in its way.
    pub fn is_under_way(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// Returns all that has to be observed.
    pub fn measures(&self) -> Vec<Measure> {
        let mut measures = vec![Measure::Error];
        measures.extend(self.plan.all_guards().iter().map(Guard::measure));
        measures.sort_unstable();
        measures.dedup();
        measures
    }

    /// Judges what was observed in this stage.
    pub fn assess(&self, evidence: &Evidence, now: SystemTime) -> Assessment {
        let guards = self.plan.all_guards();
        let alpha = FALSE_ALARM_RATE / (guards.len() * self.plan.steps.len()) as f64;
        let guards: Vec<GuardReport> = guards.iter().map(|guard| guard.test(evidence, alpha)).collect();
        let violated: Vec<String> =
            guards.iter().filter(|report| report.verdict == Verdict::Violated).map(GuardReport::in_words).collect();
        let next = if !self.is_active() {
            Next::Nothing
        } else if !violated.is_empty() {
            Next::RollBack(violated.join("; "))
        } else if self.status != Status::Running {
            Next::Nothing
        } else {
            let waiting = self.waiting_for(evidence, &guards, now);
            match self.step {
                _ if !waiting.is_empty() => Next::Wait(waiting),
                Some(step) if step + 1 == self.plan.steps.len() => Next::Complete,
                _ => Next::Step,
            }
        };
        Assessment { guards, next }
    }

    fn waiting_for(&self, evidence: &Evidence, guards: &[GuardReport], now: SystemTime) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        let until = self.stage_since + self.plan.every;
        if now < until {
            waiting.push(Waiting::Until(until));
        }
        let everybody_has_it = self.setting().rollout == Rollout::FULL;
        let groups = [(true, &evidence.treatment), (false, &evidence.control)];
        for (with_feature, group) in groups.into_iter().filter(|(with_feature, _)| *with_feature || !everybody_has_it) {
            let (found, needed) = (group.decisions(), self.plan.minimum_decisions);
            if found < needed {
                waiting.push(Waiting::Decisions { with_feature, found, needed });
            } else if group.subjects() < MINIMUM_SUBJECTS {
                waiting.push(Waiting::Subjects { with_feature, found: group.subjects() });
            }
        }
        let has_enough = waiting.iter().all(|waiting| matches!(waiting, Waiting::Until(_)));
        for report in guards {
            let blocks = match report.verdict {
                Verdict::Exceeded | Verdict::Violated => true,
                // What is compared without being asked for need not wait for users to say what they think.
                Verdict::TooFew => has_enough && !report.guard.compares(),
                Verdict::Holds => false,
            };
            if blocks {
                waiting.push(Waiting::Guard(*report));
            }
        }
        waiting
    }

    /// Does what an assessment says; returns whether anything is different now.
    pub fn advance(&mut self, next: &Next, now: SystemTime) -> bool {
        let by = self.actor();
        match next {
            Next::Nothing | Next::Wait(_) => return false,
            Next::Step => {
                let last = self.plan.steps.len() - 1;
                self.enter(self.step.map_or(0, |step| (step + 1).min(last)).into(), now);
                self.note(Action::Stepped, &by, None, now);
            }
            Next::Complete => {
                self.status = Status::Completed;
                self.reason = None;
                self.note(Action::Completed, &by, None, now);
            }
            Next::RollBack(reason) => {
                self.status = Status::RolledBack;
                self.reason = Some(reason.clone());
                self.enter(self.step.and_then(|step| step.checked_sub(1)), now);
                self.note(Action::RolledBack, &by, Some(reason.clone()), now);
            }
        }
        true
    }

    /// Stops it for a while; the flag stays as it is.
    ///
    /// # Errors
    /// [`WrongStatus`] unless it is running or was rolled back.
    pub fn pause(&mut self, by: &str, reason: Option<String>, now: SystemTime) -> Result<(), WrongStatus> {
        self.must_be(&[Status::Running, Status::RolledBack], "running or rolled back", "paused")?;
        self.status = Status::Paused;
        self.reason = Some(reason.clone().unwrap_or_else(|| format!("paused by {by}")));
        self.note(Action::Paused, by, reason, now);
        Ok(())
    }

    /// Lets it go on: the step in force begins anew, as does its evidence. A rollout that went back takes the step again
    /// that it went back from when this one has lasted.
    ///
    /// # Errors
    /// [`WrongStatus`] unless it is paused or was rolled back.
    pub fn resume(&mut self, by: &str, now: SystemTime) -> Result<(), WrongStatus> {
        self.must_be(&[Status::Paused, Status::RolledBack], "paused or rolled back", "resumed")?;
        self.status = Status::Running;
        self.reason = None;
        self.enter(self.step.or(Some(0)), now);
        self.note(Action::Resumed, by, None, now);
        Ok(())
    }

    /// Ends it; the flag becomes what it was before.
    ///
    /// # Errors
    /// [`WrongStatus`] when it is at its end.
    pub fn abort(&mut self, by: &str, now: SystemTime) -> Result<(), WrongStatus> {
        let allowed = [Status::Running, Status::Paused, Status::RolledBack];
        self.must_be(&allowed, "running, paused or rolled back", "aborted")?;
        self.status = Status::Aborted;
        self.reason = Some(format!("ended by {by}"));
        self.note(Action::Aborted, by, None, now);
        Ok(())
    }

    /// Returns what the audit trail of the flag calls it.
    pub fn actor(&self) -> String {
        format!("rollout/{}", self.id)
    }

    fn must_be(&self, statuses: &[Status], allowed: &'static str, wanted: &'static str) -> Result<(), WrongStatus> {
        if statuses.contains(&self.status) { Ok(()) } else { Err(WrongStatus { status: self.status, allowed, wanted }) }
    }

    fn enter(&mut self, step: Option<usize>, now: SystemTime) {
        self.step = step;
        self.stage += 1;
        self.stage_since = millis::whole(now);
    }

    fn note(&mut self, action: Action, by: &str, reason: Option<String>, now: SystemTime) {
        let percent = self.setting().percent();
        self.events.push(Event { at: millis::whole(now), action, percent, by: by.to_owned(), reason });
        if self.events.len() > MAX_EVENTS {
            self.events.remove(0);
        }
    }
}

impl FlagSetting {
    /// Returns for which share of the users the flag is on, in percent; 0 when it is off.
    pub fn percent(&self) -> f64 {
        if self.enabled { self.rollout.percent() } else { 0.0 }
    }
}

impl From<&FlagState> for FlagSetting {
    fn from(state: &FlagState) -> Self {
        Self { enabled: state.enabled, rollout: state.rollout }
    }
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 5] = [Self::Running, Self::Paused, Self::RolledBack, Self::Aborted, Self::Completed];

    /// Returns the name used in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::RolledBack => "rolled_back",
            Self::Aborted => "aborted",
            Self::Completed => "completed",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RolledBack => "rolled back",
            other => other.as_str(),
        })
    }
}

impl Action {
    /// Returns the name used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Stepped => "stepped",
            Self::RolledBack => "rolled_back",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Aborted => "aborted",
            Self::Completed => "completed",
        }
    }
}

impl Waiting {
    /// Says what it waits for, in words, with moments as so long from `now`.
    pub fn in_words(&self, now: SystemTime) -> String {
        let whom = |with_feature: bool| if with_feature { "with" } else { "without" };
        match self {
            Self::Until(until) => {
                let left = until.duration_since(now).unwrap_or(Duration::ZERO);
                format!("the step lasts {} s longer", left.as_secs_f64().ceil())
            }
            Self::Decisions { with_feature, found, needed } => {
                format!("{found} of {needed} decisions {} the feature", whom(*with_feature))
            }
            Self::Subjects { with_feature, found } => {
                format!("{found} of {MINIMUM_SUBJECTS} users {} the feature", whom(*with_feature))
            }
            Self::Guard(report) => report.in_words(),
        }
    }
}
