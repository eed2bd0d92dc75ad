//! Routing strategies compared on live traffic.
//!
//! A share of the subjects is spread evenly over the strategies that are tried; everybody else is the control group.
//! A subject keeps its group, on every replica and after every restart, and raising the share moves nobody who is in
//! the experiment already.

mod clusters;
mod results;
mod statistics;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{
    StrategyName,
    flags::{BUCKETS, bucket},
};

pub use clusters::Clusters;
pub use results::{Difference, GroupOutcome, GroupResult, Recommendation, Results};
pub(crate) use statistics::one_sided_multiplier;
pub use statistics::{confidence_sequence_multiplier, sample_ratio_p_value};

/// The experiment on routing strategies.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Its name; part of the hash, so that a new name mixes the subjects anew.
    pub name: Arc<str>,
    /// The share of the subjects that tries something else than `control`, 0 to 1.
    pub share: f64,
    /// What they try.
    pub treatments: Vec<StrategyName>,
}

/// That the strategy of a decision was decided by the experiment alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// See [`Experiment::allocation`].
    pub allocation: Arc<str>,
    /// Stands for the subject.
    pub subject: String,
}

/// Returns what stands for a subject where outcomes are kept: the same for the same subject, and not the subject itself.
pub fn subject_digest(subject: &str) -> String {
    let digest = Sha256::digest(subject.as_bytes());
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            name: "routing_strategy".into(),
            // Nobody tries anything unless somebody asks for it.
            share: 0.0,
            treatments: vec![StrategyName::AggressiveRules, StrategyName::Balanced, StrategyName::QualityFirst],
        }
    }
}

impl Experiment {
    /// Returns the group of a subject; `None` when it is in the control group.
    pub fn treatment(&self, subject: &str) -> Option<StrategyName> {
        let position = f64::from(bucket(&self.name, subject)) / f64::from(BUCKETS);
        if self.treatments.is_empty() || position >= self.share {
            return None;
        }
        // A second, independent hash, so that a higher share leaves everybody in the group he has.
        let arm = u64::from(bucket(&format!("{}:treatment", self.name), subject));
        let index = arm * self.treatments.len() as u64 / u64::from(BUCKETS);
        self.treatments.get(index as usize).copied()
    }

    /// Tells whether anybody tries anything.
    pub fn is_running(&self) -> bool {
        self.share > 0.0 && !self.treatments.is_empty()
    }

    /// Names what the subjects were divided by: outcomes are comparable only while share and treatments stay the same.
    pub fn allocation(&self) -> Arc<str> {
        let treatments: Vec<&str> = self.treatments.iter().map(|treatment| treatment.as_str()).collect();
        format!("{} {} {}", self.name, self.share, treatments.join(",")).into()
    }

    /// Returns the groups with the share of the subjects that each should have; control first, summing to 1.
    pub fn expected_shares(&self) -> Vec<(StrategyName, f64)> {
        if self.treatments.is_empty() {
            return vec![(StrategyName::Control, 1.0)];
        }
        let each = self.share / self.treatments.len() as f64;
        let treatments = self.treatments.iter().map(|treatment| (*treatment, each));
        std::iter::once((StrategyName::Control, 1.0 - self.share)).chain(treatments).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_share(share: f64) -> Experiment {
        Experiment { share, ..Experiment::default() }
    }

    #[test]
    fn the_groups_have_the_sizes_they_should() {
        const SUBJECTS: usize = 100_000;
        let experiment = with_share(0.3);
        let subjects = || (0..SUBJECTS).map(|subject| format!("user-{subject}"));
        for (group, share) in experiment.expected_shares() {
            let count = subjects()
                .filter(|subject| experiment.treatment(subject).unwrap_or(StrategyName::Control) == group)
                .count() as f64;
            let deviation = (share * (1.0 - share) * SUBJECTS as f64).sqrt();
            assert!((count - share * SUBJECTS as f64).abs() < 4.0 * deviation, "{group}: {count}");
        }
    }

    #[test]
    fn a_share_of_zero_leaves_everybody_in_control() {
        assert!((0..1_000).all(|subject| with_share(0.0).treatment(&subject.to_string()).is_none()));
    }

    proptest! {
        #[test]
        fn a_higher_share_moves_nobody_who_is_in(subject in ".*", share in 0.0..1.0_f64, more in 0.0..1.0_f64) {
            let before = with_share(share).treatment(&subject);
            prop_assert!(before.is_none() || with_share((share + more).min(1.0)).treatment(&subject) == before);
        }
    }
}
