//! What was observed, and what it says of a guard.
//!
//! Each guard is a one-sided sequential test: it is looked at all the time, and is called violated only when its lower
//! confidence sequence, valid at all times at once, lies above the line. The errors count subjects, not texts.

use std::collections::BTreeMap;

use super::{Guard, Measure, Outcome};
use crate::experiment::{Clusters, one_sided_multiplier};

/// The probability that a rollout that harms nobody is taken back, over all its steps, guards and looks.
pub const FALSE_ALARM_RATE: f64 = 0.05;
/// Fewer subjects than this in a group are too few for the asymptotics.
pub const MINIMUM_SUBJECTS: u64 = 50;
/// The tests are sharpest after about so many subjects: harm should be noticed early.
const TIGHTEST_AT: f64 = 500.0;

/// What was observed in one group, measure by measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupEvidence(BTreeMap<Measure, Clusters>);

/// What was observed while one step was in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// With those who do not have the feature.
    pub control: GroupEvidence,
    /// With those who have it.
    pub treatment: GroupEvidence,
}

/// What the evidence says of a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing speaks against it.
    Holds,
    /// Too few subjects were observed to say anything.
    TooFew,
    /// What was observed lies beyond the bound, which may be chance.
    Exceeded,
    /// It lies beyond the bound, which is not chance.
    Violated,
}

/// A guard with what was observed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuardReport {
    /// The guard.
    pub guard: Guard,
    /// What follows.
    pub verdict: Verdict,
    /// With those who have the feature.
    pub treatment: Clusters,
    /// With those who do not.
    pub control: Clusters,
    /// What the mean of the guard's measure with the feature, or its difference to that without, is at least; `None` while
    /// there are too few subjects.
    pub at_least: Option<f64>,
}

impl GroupEvidence {
    /// Returns what was observed of one measure.
    pub fn of(&self, measure: Measure) -> Clusters {
        self.0.get(&measure).copied().unwrap_or_default()
    }

    /// Puts what was observed of one measure in place of what was known.
    pub fn insert(&mut self, measure: Measure, observed: Clusters) {
        self.0.insert(measure, observed);
    }

    /// Adds a text of a subject that is observed once.
    pub fn add(&mut self, measures: &[Measure], outcome: &Outcome) {
        for measure in measures {
            if let Some(value) = measure.of(outcome) {
                self.0.entry(*measure).or_default().add(1.0, value);
            }
        }
    }

    /// Returns how many decisions, or failures to decide, there were.
    pub fn decisions(&self) -> u64 {
        self.of(Measure::Error).observations as u64
    }

    /// Returns by how many subjects.
    pub fn subjects(&self) -> u64 {
        self.of(Measure::Error).subjects
    }
}

impl Verdict {
    /// Returns the name used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::TooFew => "too_few",
            Self::Exceeded => "exceeded",
            Self::Violated => "violated",
        }
    }
}

impl Guard {
    /// Tests the guard with a probability `alpha` of a false alarm, over all looks at the evidence as it grows.
    pub fn test(&self, evidence: &Evidence, alpha: f64) -> GuardReport {
        let measure = self.measure();
        let (treatment, control) = (evidence.treatment.of(measure), evidence.control.of(measure));
        let report = |verdict, at_least| GuardReport { guard: *self, verdict, treatment, control, at_least };
        let groups = if self.compares() { vec![treatment, control] } else { vec![treatment] };
        let (Some(own), true) = (treatment.mean(), groups.iter().all(|group| group.subjects >= MINIMUM_SUBJECTS))
        else {
            return report(Verdict::TooFew, None);
        };
        let estimate = if self.compares() { own - control.mean().unwrap_or_default() } else { own };
        let squared_error: f64 = groups.iter().map(|group| squared_error(group, measure)).sum();
        let subjects = groups.iter().map(|group| group.subjects).sum();
        let low = estimate - squared_error.sqrt() * one_sided_multiplier(subjects, alpha, TIGHTEST_AT);
        let verdict = if low > self.harm_limit() {
            Verdict::Violated
        } else if !self.compares() && estimate > self.harm_limit() {
            // Of two groups that are alike, one is always a little worse.
            Verdict::Exceeded
        } else {
            Verdict::Holds
        };
        report(verdict, Some(low))
    }
}

/// A share that was always 0 or always 1 is not known without error.
fn squared_error(observed: &Clusters, measure: Measure) -> f64 {
    let own = observed.squared_error();
    if measure.is_share() { own.max(observed.with_pseudo_subjects().squared_error()) } else { own }
}

impl GuardReport {
    /// Says what was observed, in words.
    pub fn in_words(&self) -> String {
        let Self { guard, treatment, control, .. } = self;
        let measure = guard.measure();
        let value = |harm: f64| {
            if measure.is_share() { format!("{:.2} %", harm * 100.0) } else { format!("{harm:.2} ms") }
        };
        let what = match measure {
            Measure::Error => " without a decision",
            Measure::Fallback => " with a fallback",
            Measure::Degraded => " degraded",
            Measure::Wrong => " wrong",
            Measure::SlowerThan(_) => " slower",
            Measure::LatencyMs => " on average",
        };
        let of = |observed: &Clusters, whom: &str| match observed.mean() {
            Some(mean) => format!("{}{what} {whom} the feature ({} observations)", value(mean), observed.observations),
            None => format!("nothing observed {whom} the feature"),
        };
        let verdict = match self.verdict {
            Verdict::Holds => "holds",
            Verdict::TooFew => "cannot be told yet",
            Verdict::Exceeded => "is exceeded, which may be chance",
            Verdict::Violated => "is violated",
        };
        if treatment.mean().or(control.mean()).is_none() {
            return format!("`{guard}` {verdict}: nothing was observed");
        }
        let mut words = format!("`{guard}` {verdict}: {}, {}", of(treatment, "with"), of(control, "without"));
        if let (Verdict::Violated, Some(at_least)) = (self.verdict, self.at_least) {
            let more = if guard.compares() { " more" } else { "" };
            words += &format!("; at least {}{more} is certain, {} may be", value(at_least), value(guard.harm_limit()));
        }
        words
    }
}
