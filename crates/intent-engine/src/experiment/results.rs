//! What an experiment has shown so far.

use super::{Clusters, Experiment, confidence_sequence_multiplier, sample_ratio_p_value};
use crate::StrategyName;

/// The probability of a false alarm, over the whole life of an experiment and all its treatments.
const ALPHA: f64 = 0.05;
/// A sample-ratio p value below this withholds all conclusions.
const SAMPLE_RATIO_ALPHA: f64 = 0.001;
/// Fewer subjects than this in a group are too few for the asymptotics.
const MINIMUM_SUBJECTS: u64 = 50;

/// What was observed in one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupOutcome {
    /// The strategy that the group tries.
    pub group: StrategyName,
    /// How long decisions took, in milliseconds: one observation per decision.
    pub latency_ms: Clusters,
    /// How sure they were, 0 to 1: one observation per decision.
    pub confidence: Clusters,
    /// 1 where a user found the answer right, 0 where wrong: one observation per feedback.
    pub accuracy: Clusters,
}

impl GroupOutcome {
    /// A group in which nothing was observed.
    pub fn new(group: StrategyName) -> Self {
        Self { group, latency_ms: Clusters::default(), confidence: Clusters::default(), accuracy: Clusters::default() }
    }
}

/// The state of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// The groups, control first.
    pub groups: Vec<GroupResult>,
    /// How likely group sizes as uneven as these are.
    pub sample_ratio_p_value: f64,
    /// What to do.
    pub recommendation: Recommendation,
}

/// One group, compared with control.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupResult {
    /// What was observed.
    pub outcome: GroupOutcome,
    /// The share of the subjects that the group should have, 0 to 1.
    pub expected_share: f64,
    /// How it differs from control: `None` for control itself, when the groups do not have the sizes they should, and
    /// while there are too few subjects.
    pub latency_ms: Option<Difference>,
    /// See `latency_ms`.
    pub confidence: Option<Difference>,
    /// See `latency_ms`.
    pub accuracy: Option<Difference>,
}

/// A mean minus that of control, with a confidence sequence: valid at any time, however often one looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The difference that was observed.
    pub estimate: f64,
    /// It is at least this.
    pub low: f64,
    /// It is at most this.
    pub high: f64,
}

/// What the results say to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recommendation {
    /// Nobody tries anything.
    NotRunning,
    /// The groups do not have the sizes they should: find out why before believing anything.
    SampleRatioMismatch,
    /// Nothing can be said yet.
    KeepCollecting,
    /// This group answers more accurately than control.
    Adopt(StrategyName),
    /// This group answers less accurately than control.
    Stop(StrategyName),
}

impl Experiment {
    /// Compares what was observed in every group with control. Groups that are not part of the experiment are left out.
    pub fn results(&self, outcomes: &[GroupOutcome]) -> Results {
        let of = |group: StrategyName| {
            let found = outcomes.iter().find(|outcome| outcome.group == group);
            found.cloned().unwrap_or_else(|| GroupOutcome::new(group))
        };
        let shares = self.expected_shares();
        let observed: Vec<u64> = shares.iter().map(|(group, _)| of(*group).latency_ms.subjects).collect();
        let expected: Vec<f64> = shares.iter().map(|(_, share)| *share).collect();
        let sample_ratio_p_value = sample_ratio_p_value(&observed, &expected);
        let is_mismatch = sample_ratio_p_value < SAMPLE_RATIO_ALPHA;
        let control = of(StrategyName::Control);
        // Every treatment is a chance of a false alarm.
        let alpha = ALPHA / self.treatments.len().max(1) as f64;
        let groups: Vec<GroupResult> = shares
            .iter()
            .map(|(group, expected_share)| {
                let outcome = of(*group);
                let is_compared = *group != StrategyName::Control && !is_mismatch;
                let compare = |own, other| if is_compared { Difference::between(own, other, alpha) } else { None };
                GroupResult {
                    expected_share: *expected_share,
                    latency_ms: compare(outcome.latency_ms, control.latency_ms),
                    confidence: compare(outcome.confidence, control.confidence),
                    accuracy: compare(outcome.accuracy.with_pseudo_subjects(), control.accuracy.with_pseudo_subjects()),
                    outcome,
                }
            })
            .collect();
        let recommendation = if is_mismatch {
            Recommendation::SampleRatioMismatch
        } else if !self.is_running() {
            Recommendation::NotRunning
        } else {
            Recommendation::from_groups(&groups)
        };
        Results { groups, sample_ratio_p_value, recommendation }
    }
}

impl Difference {
    fn between(own: Clusters, control: Clusters, alpha: f64) -> Option<Self> {
        if own.subjects.min(control.subjects) < MINIMUM_SUBJECTS {
            return None;
        }
        let estimate = own.mean()? - control.mean()?;
        let half_width = (own.squared_error() + control.squared_error()).sqrt()
            * confidence_sequence_multiplier(own.subjects + control.subjects, alpha);
        Some(Self { estimate, low: estimate - half_width, high: estimate + half_width })
    }

    /// Tells whether the difference is certainly above or below zero.
    pub fn is_certain(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

impl Results {
    /// Says in words what to do, and what is known of the latency besides.
    pub fn in_words(&self) -> String {
        let mut words = match self.recommendation {
            Recommendation::NotRunning => {
                "the experiment is not running: nobody tries another strategy; set its share above 0".into()
            }
            Recommendation::SampleRatioMismatch => {
                "the groups do not have the sizes they should; no conclusion is safe until the cause is found".into()
            }
            Recommendation::KeepCollecting => {
                "no difference in accuracy is certain yet; keep collecting feedback".to_owned()
            }
            Recommendation::Adopt(group) => format!("`{group}` answers more accurately than `control`; adopt it"),
            Recommendation::Stop(group) => format!("`{group}` answers less accurately than `control`; stop trying it"),
        };
        for group in &self.groups {
            if let Some(Difference { low, high, .. }) = group.latency_ms.filter(Difference::is_certain) {
                let (least, most, how) = if low > 0.0 { (low, high, "slower") } else { (-high, -low, "faster") };
                words += &format!("; `{}` is {least:.2} to {most:.2} ms {how}", group.outcome.group);
            }
        }
        words
    }
}

impl Recommendation {
    fn from_groups(groups: &[GroupResult]) -> Self {
        let decided = groups.iter().filter_map(|group| Some((group.outcome.group, group.accuracy?)));
        let best = decided.clone().filter(|(_, by)| by.low > 0.0).max_by(|a, b| a.1.low.total_cmp(&b.1.low));
        let worst = decided.filter(|(_, by)| by.high < 0.0).min_by(|a, b| a.1.high.total_cmp(&b.1.high));
        match (best, worst) {
            (Some((group, _)), _) => Self::Adopt(group),
            (None, Some((group, _))) => Self::Stop(group),
            (None, None) => Self::KeepCollecting,
        }
    }

    /// Returns the name used in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRunning => "not_running",
            Self::SampleRatioMismatch => "sample_ratio_mismatch",
            Self::KeepCollecting => "keep_collecting",
            Self::Adopt(_) => "adopt",
            Self::Stop(_) => "stop",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coins::Coins;
    use StrategyName::{Balanced, Control};

    fn half_and_half() -> Experiment {
        Experiment { share: 0.5, treatments: vec![Balanced], ..Experiment::default() }
    }

    /// Two groups, with one subject added to each in turn: decisions of a mean latency (milliseconds, exponential) and
    /// as many words on them, right with a probability that differs from subject to subject.
    struct Simulation {
        coins: Coins,
        groups: [GroupOutcome; 2],
        observations_each: u32,
    }

    impl Simulation {
        fn new(seed: u64, observations_each: u32) -> Self {
            let groups = [Control, Balanced].map(GroupOutcome::new);
            Self { coins: Coins::new(seed), groups, observations_each }
        }

        fn add_subject(&mut self, group: usize, accuracy: f64, mean_latency_ms: f64) {
            // Some subjects are easy, some are hard, and long texts come from the same people again and again.
            let (accuracy, mean_latency_ms) = if self.observations_each == 1 {
                (accuracy, mean_latency_ms)
            } else {
                let kind = 2.0 * self.coins.uniform();
                (accuracy + (1.0 - accuracy) * (kind - 1.0), mean_latency_ms * kind)
            };
            let (mut right, mut latency_ms) = (0.0, 0.0);
            for _ in 0..self.observations_each {
                right += f64::from(u8::from(self.coins.toss(accuracy)));
                latency_ms -= mean_latency_ms * self.coins.uniform().max(f64::MIN_POSITIVE).ln();
            }
            let n = f64::from(self.observations_each);
            self.groups[group].accuracy.add(n, right);
            self.groups[group].latency_ms.add(n, latency_ms);
            self.groups[group].confidence.add(n, right);
        }

        /// Looks after every subject; returns the first time that `is_alarm` says so.
        fn first(
            &mut self,
            subjects: usize,
            accuracy: [f64; 2],
            latency_ms: [f64; 2],
            is_alarm: impl Fn(&Results) -> bool,
        ) -> Option<Results> {
            let experiment = half_and_half();
            (0..subjects).find_map(|index| {
                self.add_subject(index % 2, accuracy[index % 2], latency_ms[index % 2]);
                Some(experiment.results(&self.groups)).filter(&is_alarm)
            })
        }
    }

    fn concludes(results: &Results) -> bool {
        results.recommendation != Recommendation::KeepCollecting
    }

    fn finds_latency(results: &Results) -> bool {
        results.groups[1].latency_ms.is_some_and(|difference| difference.is_certain())
    }

    #[test]
    fn looking_after_every_observation_raises_few_false_alarms_when_there_is_no_difference() {
        const RUNS: u64 = 200;
        for (observations_each, subjects) in [(1, 3_000), (5, 1_000)] {
            let alarms = |is_alarm: fn(&Results) -> bool| {
                let run =
                    |seed| Simulation::new(seed, observations_each).first(subjects, [0.85; 2], [2.0; 2], is_alarm);
                (1..=RUNS).filter(|&seed| run(seed).is_some()).count()
            };
            let (accuracy, latency) = (alarms(concludes), alarms(finds_latency));
            assert!(accuracy as f64 <= ALPHA * RUNS as f64, "{accuracy} false alarms in {RUNS} runs");
            assert!(latency as f64 <= ALPHA * RUNS as f64, "{latency} false alarms in {RUNS} runs");
        }
    }

    #[test]
    fn a_real_difference_is_found_in_both_directions() {
        for seed in 1..=20 {
            let conclusion = |accuracy| {
                let found = Simulation::new(seed, 1).first(6_000, accuracy, [2.0; 2], concludes);
                found.map(|results| results.recommendation)
            };
            assert_eq!(conclusion([0.80, 0.90]), Some(Recommendation::Adopt(Balanced)));
            assert_eq!(conclusion([0.90, 0.80]), Some(Recommendation::Stop(Balanced)));
            let latency = |latency_ms| {
                let found = Simulation::new(seed, 1).first(6_000, [0.85; 2], latency_ms, finds_latency);
                found.expect("it is found").in_words()
            };
            assert!(latency([2.0, 2.5]).ends_with("ms slower"));
            assert!(latency([2.5, 2.0]).ends_with("ms faster"));
        }
    }

    #[test]
    fn uneven_groups_withhold_every_conclusion() {
        let mut simulation = Simulation::new(1, 1);
        (0..600).for_each(|_| simulation.add_subject(0, 0.1, 2.0));
        (0..400).for_each(|_| simulation.add_subject(1, 0.9, 9.0));
        let results = half_and_half().results(&simulation.groups);
        assert_eq!(results.recommendation, Recommendation::SampleRatioMismatch);
        assert_eq!((results.groups[1].accuracy, results.groups[1].latency_ms), (None, None));
        assert!(results.in_words().contains("no conclusion is safe"));
    }

    #[test]
    fn many_requests_of_few_people_do_not_make_the_groups_uneven() {
        let mut groups = [Control, Balanced].map(GroupOutcome::new);
        (0..100).for_each(|_| groups[0].latency_ms.add(1.0, 2.0));
        (0..100).for_each(|_| groups[1].latency_ms.add(50.0, 100.0));
        assert_eq!(half_and_half().results(&groups).sample_ratio_p_value, 1.0);
    }

    #[test]
    fn little_feedback_says_nothing() {
        let mut groups = [Control, Balanced].map(GroupOutcome::new);
        (0..45).for_each(|_| groups[0].accuracy.add(1.0, 0.0));
        (0..45).for_each(|_| groups[1].accuracy.add(1.0, 1.0));
        let results = half_and_half().results(&groups);
        assert_eq!(results.recommendation, Recommendation::KeepCollecting);
        assert_eq!(results.groups[1].accuracy, None);
        assert_eq!(results.groups[1].outcome.accuracy.mean(), Some(1.0));
    }

    #[test]
    fn without_a_share_there_is_nothing_to_conclude() {
        let results = Experiment::default().results(&[]);
        assert_eq!(results.recommendation, Recommendation::NotRunning);
        assert_eq!(results.sample_ratio_p_value, 1.0);
    }
}
