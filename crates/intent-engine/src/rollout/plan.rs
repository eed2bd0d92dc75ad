//! What a rollout is going to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Guard;
use crate::flags::{Flag, Rollout};

/// The most steps of a rollout.
const MAX_STEPS: usize = 20;
/// The most guards of a rollout.
const MAX_GUARDS: usize = 10;
/// How long a step takes at least and at most.
const INTERVALS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(90 * 24 * 3600)];
/// The range of decisions that a step can be made to wait for.
const DECISIONS: [u64; 2] = [50, 100_000_000];

/// A flag, the shares of the users that get it one after the other, and what has to hold meanwhile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The flag.
    pub flag: Flag,
    /// For which share of the users it is on, step by step; each more than the one before.
    pub steps: Vec<Rollout>,
    /// How long each step lasts at least.
    #[serde(rename = "every_ms", with = "super::millis::duration")]
    pub every: Duration,
    /// What has to hold; [`Plan::all_guards`] adds to them.
    pub guards: Vec<Guard>,
    /// How many decisions with and without the feature a step waits for.
    pub minimum_decisions: u64,
}

/// What is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanProblem {
    /// The field: `steps`, `every`, `guards`, `minimum_decisions`.
    pub field: &'static str,
    /// What was found and what was expected.
    pub message: String,
}

impl Plan {
    /// How many decisions a step waits for unless somebody says otherwise.
    pub const DEFAULT_MINIMUM_DECISIONS: u64 = 500;

    /// Returns everything that is wrong with the plan.
    pub fn problems(&self) -> Vec<PlanProblem> {
        let mut problems = Vec::new();
        let mut wrong = |field, message| problems.push(PlanProblem { field, message });
        if !(1..=MAX_STEPS).contains(&self.steps.len()) {
            wrong("steps", format!("has {} steps, expected 1 to {MAX_STEPS}", self.steps.len()));
        }
        if self.steps.first().is_some_and(|first| *first == Rollout::NONE) {
            wrong("steps", "begins with 0, expected a share of the users above 0".to_owned());
        }
        if let Some(pair) = self.steps.windows(2).find(|pair| pair[0] >= pair[1]) {
            let (before, after) = (pair[0].percent(), pair[1].percent());
            wrong("steps", format!("has {after} after {before}, expected each step to be more than the one before"));
        }
        let [shortest, longest] = INTERVALS;
        if !(shortest..=longest).contains(&self.every) {
            wrong("every", format!("is {:?}, expected 1 second to 90 days", self.every));
        }
        if self.guards.len() > MAX_GUARDS {
            wrong("guards", format!("has {} guards, expected at most {MAX_GUARDS}", self.guards.len()));
        }
        for (index, guard) in self.guards.iter().enumerate() {
            if let Some(earlier) = self.guards[..index].iter().find(|earlier| earlier.is_of_the_kind_of(guard)) {
                wrong("guards", format!("has both `{earlier}` and `{guard}`, expected one of the two"));
            }
        }
        let [fewest, most] = DECISIONS;
        if !(fewest..=most).contains(&self.minimum_decisions) {
            wrong("minimum_decisions", format!("is {}, expected {fewest} to {most}", self.minimum_decisions));
        }
        problems
    }

    /// Returns the guards of the plan, and that those with the feature see no more errors and no more wrong answers than
    /// those without, unless the plan has its own margins for that.
    pub fn all_guards(&self) -> Vec<Guard> {
        let mut guards = self.guards.clone();
        for always in [Guard::ERRORS_LIKE_CONTROL, Guard::ACCURACY_LIKE_CONTROL] {
            if !guards.iter().any(|guard| guard.is_of_the_kind_of(&always)) {
                guards.push(always);
            }
        }
        guards
    }
}
