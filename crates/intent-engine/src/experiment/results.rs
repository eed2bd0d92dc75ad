//! What an experiment has shown so far.

use std::collections::BTreeMap;

use super::{Experiment, confidence_sequence_multiplier, sample_ratio_p_value};
use crate::StrategyName;

/// The probability of a false alarm, over the whole life of an experiment.
const ALPHA: f64 = 0.05;
/// A sample-ratio p value below this withholds all conclusions.
const SAMPLE_RATIO_ALPHA: f64 = 0.001;
/// Fewer feedbacks than this in a group are too few for the asymptotics.
const MINIMUM_FEEDBACK: u64 = 50;

/// What was observed in each group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcomes(BTreeMap<StrategyName, GroupOutcome>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct GroupOutcome {
    exposures: u64,
    right: u64,
    wrong: u64,
}

impl Outcomes {
    /// Counts a decision that was made in a group.
    pub fn record_exposure(&mut self, group: StrategyName) {
        self.0.entry(group).or_default().exposures += 1;
    }

    /// Counts a user's word on a decision of a group.
    pub fn record_feedback(&mut self, group: StrategyName, was_right: bool) {
        let outcome = self.0.entry(group).or_default();
        *if was_right { &mut outcome.right } else { &mut outcome.wrong } += 1;
    }

    /// Compares every group with control.
    pub fn results(&self, experiment: &Experiment) -> Results {
        let shares = experiment.expected_shares();
        let of = |group: &StrategyName| self.0.get(group).copied().unwrap_or_default();
        let observed: Vec<u64> = shares.iter().map(|(group, _)| of(group).exposures).collect();
        let expected: Vec<f64> = shares.iter().map(|(_, share)| *share).collect();
        let sample_ratio_p_value = sample_ratio_p_value(&observed, &expected);
        let control = of(&StrategyName::Control);
        let groups: Vec<GroupResult> =
            shares.iter().map(|(group, _)| of(group).compared_with(&control, *group)).collect();
        let recommendation = if sample_ratio_p_value < SAMPLE_RATIO_ALPHA {
            Recommendation::SampleRatioMismatch
        } else {
            Recommendation::from_groups(&groups)
        };
        Results { groups, sample_ratio_p_value, recommendation }
    }
}

impl GroupOutcome {
    fn feedback(&self) -> u64 {
        self.right + self.wrong
    }

    fn accuracy(&self) -> Option<f64> {
        (self.feedback() > 0).then(|| self.right as f64 / self.feedback() as f64)
    }

    /// Returns the squared standard error of the accuracy.
    fn squared_error(&self) -> f64 {
        // Agresti and Coull's two of each: an accuracy of exactly 0 or 1 is not known without error.
        let (n, p) = (self.feedback() as f64 + 4.0, (self.right as f64 + 2.0) / (self.feedback() as f64 + 4.0));
        p * (1.0 - p) / n
    }

    fn compared_with(&self, control: &Self, group: StrategyName) -> GroupResult {
        let enough = self.feedback().min(control.feedback()) >= MINIMUM_FEEDBACK;
        let difference = match (self.accuracy(), control.accuracy()) {
            (Some(own), Some(other)) if enough && group != StrategyName::Control => {
                let half_width = (self.squared_error() + control.squared_error()).sqrt()
                    * confidence_sequence_multiplier(self.feedback() + control.feedback(), ALPHA);
                Some((own - other - half_width, own - other + half_width))
            }
            _ => None,
        };
        GroupResult {
            group,
            exposures: self.exposures,
            feedback: self.feedback(),
            accuracy: self.accuracy(),
            accuracy_difference: difference,
        }
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
    /// The strategy that the group tries.
    pub group: StrategyName,
    /// Decisions made.
    pub exposures: u64,
    /// Decisions on which a user gave his word.
    pub feedback: u64,
    /// The share of them that was right; `None` without feedback.
    pub accuracy: Option<f64>,
    /// The 95 % confidence sequence of the difference to control's accuracy: valid at any time. `None` while there is
    /// too little feedback, and for control itself.
    pub accuracy_difference: Option<(f64, f64)>,
}

/// What the results say to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recommendation {
    /// The groups do not have the sizes they should: find out why before believing anything.
    SampleRatioMismatch,
    /// Nothing can be said yet.
    KeepCollecting,
    /// This group answers more accurately than control.
    Adopt(StrategyName),
    /// This group answers less accurately than control.
    Stop(StrategyName),
}

impl Recommendation {
    fn from_groups(groups: &[GroupResult]) -> Self {
        let decided = groups.iter().filter_map(|group| Some((group.group, group.accuracy_difference?)));
        let best = decided.clone().filter(|(_, (low, _))| *low > 0.0).max_by(|a, b| a.1.0.total_cmp(&b.1.0));
        let worst = decided.filter(|(_, (_, high))| *high < 0.0).min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        match (best, worst) {
            (Some((group, _)), _) => Self::Adopt(group),
            (None, Some((group, _))) => Self::Stop(group),
            (None, None) => Self::KeepCollecting,
        }
    }

    /// Says it in words.
    pub fn in_words(self) -> String {
        match self {
            Self::SampleRatioMismatch => {
                "the groups do not have the sizes they should; no conclusion is safe until the cause is found".into()
            }
            Self::KeepCollecting => "no difference is certain yet; keep collecting feedback".into(),
            Self::Adopt(group) => format!("`{group}` answers more accurately than `control`; adopt it"),
            Self::Stop(group) => format!("`{group}` answers less accurately than `control`; stop trying it"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StrategyName::{Balanced, Control};

    fn half_and_half() -> Experiment {
        Experiment { share: 0.5, treatments: vec![Balanced], ..Experiment::default() }
    }

    /// A small deterministic generator; the tests need many cheap coin tosses that are the same in every run.
    struct Coins(u64);

    impl Coins {
        fn toss(&mut self, probability: f64) -> bool {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as f64 / (1_u64 << 53) as f64 <= probability
        }
    }

    /// Runs an experiment and looks after every observation; returns the first conclusion.
    fn first_conclusion(seed: u64, control: f64, treatment: f64, observations: usize) -> Option<Recommendation> {
        let (mut coins, mut outcomes, experiment) = (Coins(seed), Outcomes::default(), half_and_half());
        for index in 0..observations {
            let (group, accuracy) = if index % 2 == 0 { (Control, control) } else { (Balanced, treatment) };
            outcomes.record_exposure(group);
            outcomes.record_feedback(group, coins.toss(accuracy));
            let recommendation = outcomes.results(&experiment).recommendation;
            if !matches!(recommendation, Recommendation::KeepCollecting) {
                return Some(recommendation);
            }
        }
        None
    }

    #[test]
    fn looking_after_every_observation_raises_few_false_alarms_when_there_is_no_difference() {
        const RUNS: u64 = 200;
        let alarms =
            (1..=RUNS).filter(|seed| first_conclusion(seed * 0x9e37_79b9, 0.85, 0.85, 3_000).is_some()).count();
        assert!(alarms as f64 <= ALPHA * RUNS as f64, "{alarms} false alarms in {RUNS} runs");
    }

    #[test]
    fn a_real_difference_is_found_in_both_directions() {
        for seed in 1..=20_u64 {
            let seed = seed * 0x9e37_79b9;
            assert_eq!(first_conclusion(seed, 0.80, 0.90, 6_000), Some(Recommendation::Adopt(Balanced)));
            assert_eq!(first_conclusion(seed, 0.90, 0.80, 6_000), Some(Recommendation::Stop(Balanced)));
        }
    }

    #[test]
    fn uneven_groups_withhold_every_conclusion() {
        let mut outcomes = Outcomes::default();
        for (group, exposures) in [(Control, 600), (Balanced, 400)] {
            (0..exposures).for_each(|_| outcomes.record_exposure(group));
            (0..exposures).for_each(|_| outcomes.record_feedback(group, group == Balanced));
        }
        let results = outcomes.results(&half_and_half());
        assert_eq!(results.recommendation, Recommendation::SampleRatioMismatch);
        assert!(results.recommendation.in_words().contains("no conclusion is safe"));
    }

    #[test]
    fn little_feedback_says_nothing() {
        let mut outcomes = Outcomes::default();
        for group in [Control, Balanced] {
            (0..49).for_each(|_| outcomes.record_exposure(group));
            (0..49).for_each(|_| outcomes.record_feedback(group, group == Balanced));
        }
        let results = outcomes.results(&half_and_half());
        assert_eq!(results.recommendation, Recommendation::KeepCollecting);
        assert_eq!(results.groups[1].accuracy_difference, None);
        assert_eq!(results.groups[1].accuracy, Some(1.0));
    }
}
