//! All flags at one moment.

use std::{collections::BTreeMap, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{BUCKETS, Flag, FlagSet, bucket};

/// A share of the subjects, in steps of 0.001 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rollout {
    buckets: u32,
}

impl Rollout {
    /// Everybody.
    pub const FULL: Self = Self { buckets: BUCKETS };
    /// Nobody.
    pub const NONE: Self = Self { buckets: 0 };

    /// Makes a rollout of `percent`, 0 to 100, rounded to steps of 0.001.
    ///
    /// # Errors
    /// A sentence for the user when the number is not from 0 to 100.
    pub fn from_percent(percent: f64) -> Result<Self, String> {
        if (0.0..=100.0).contains(&percent) {
            Ok(Self { buckets: (percent / 100.0 * f64::from(BUCKETS)).round() as u32 })
        } else {
            Err(format!("expected a percentage from 0 to 100, found {percent}"))
        }
    }

    /// Returns the share in percent.
    pub fn percent(self) -> f64 {
        f64::from(self.buckets) * 100.0 / f64::from(BUCKETS)
    }
}

impl TryFrom<f64> for Rollout {
    type Error = String;

    fn try_from(percent: f64) -> Result<Self, Self::Error> {
        Self::from_percent(percent)
    }
}

impl From<Rollout> for f64 {
    fn from(rollout: Rollout) -> Self {
        rollout.percent()
    }
}

/// Which layer decided about a flag; later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FlagSource {
    /// Built in.
    Default,
    /// The flags file.
    File,
    /// Environment variables.
    Env,
    /// A change through the API.
    Api,
}

/// What one layer says of a flag; what it leaves open is decided by the layers below.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FlagChange {
    /// On or off.
    pub enabled: Option<bool>,
    /// For which share of the subjects.
    pub rollout: Option<Rollout>,
    /// When it was said.
    pub updated_at: Option<SystemTime>,
}

/// What one layer says.
pub type Overrides = BTreeMap<Flag, FlagChange>;

/// One flag, all layers put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FlagState {
    /// On or off.
    pub enabled: bool,
    /// For which share of the subjects it is on.
    pub rollout: Rollout,
    /// The highest layer that says anything of it.
    pub source: FlagSource,
    /// When that layer said it; `None` when it does not know, as defaults and the environment.
    pub updated_at: Option<SystemTime>,
}

impl FlagState {
    /// Tells whether some subjects have the feature and others do not.
    pub fn depends_on_subject(&self) -> bool {
        self.enabled && self.rollout != Rollout::FULL && self.rollout != Rollout::NONE
    }
}

/// All flags at one moment; immutable, so that a request sees the same flags from beginning to end.
#[derive(Clone, Debug, PartialEq)]
pub struct FlagSnapshot {
    revision: u64,
    states: [FlagState; Flag::ALL.len()],
}

/// The answer for one subject, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// Whether the subject has the feature.
    pub enabled: bool,
    /// Why.
    pub reason: EvaluationReason,
}

/// Why a subject has a feature or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationReason {
    /// The flag is off.
    Disabled,
    /// The flag is on for everybody.
    FullRollout,
    /// The subject is among those for whom the flag is on.
    InRollout,
    /// The subject is not among them.
    NotInRollout,
}

impl FlagSnapshot {
    /// Puts the layers together; a later layer wins over an earlier one, setting by setting.
    pub fn resolve(revision: u64, file: &Overrides, env: &Overrides, api: &Overrides) -> Self {
        let layers = [(FlagSource::File, file), (FlagSource::Env, env), (FlagSource::Api, api)];
        let states = Flag::ALL.map(|flag| {
            let mut state = FlagState {
                enabled: flag.is_enabled_by_default(),
                rollout: Rollout::FULL,
                source: FlagSource::Default,
                updated_at: None,
            };
            for (source, change) in layers.iter().filter_map(|(source, layer)| Some((*source, layer.get(&flag)?))) {
                state = FlagState {
                    enabled: change.enabled.unwrap_or(state.enabled),
                    rollout: change.rollout.unwrap_or(state.rollout),
                    source,
                    updated_at: change.updated_at,
                };
            }
            state
        });
        Self { revision, states }
    }

    /// Returns the number that grows with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns one flag.
    pub fn state(&self, flag: Flag) -> &FlagState {
        &self.states[flag as usize]
    }

    /// Returns the flags that are on for `subject`.
    pub fn of(&self, subject: &str) -> FlagSet {
        Flag::ALL.into_iter().filter(|flag| self.evaluate(*flag, subject).enabled).collect()
    }

    /// Decides whether `subject` (a user, or the request itself) has the feature.
    pub fn evaluate(&self, flag: Flag, subject: &str) -> Evaluation {
        let state = self.state(flag);
        let reason = if !state.enabled {
            EvaluationReason::Disabled
        } else if state.rollout == Rollout::FULL {
            EvaluationReason::FullRollout
        } else if bucket(flag.as_str(), subject) < state.rollout.buckets {
            EvaluationReason::InRollout
        } else {
            EvaluationReason::NotInRollout
        };
        let enabled = matches!(reason, EvaluationReason::FullRollout | EvaluationReason::InRollout);
        Evaluation { enabled, reason }
    }
}

impl Default for FlagSnapshot {
    fn default() -> Self {
        let none = Overrides::new();
        Self::resolve(0, &none, &none, &none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rolled_out(flag: Flag, percent: f64) -> FlagSnapshot {
        let rollout = Some(Rollout::from_percent(percent).expect("a test uses valid percentages"));
        let api = Overrides::from([(flag, FlagChange { enabled: Some(true), rollout, updated_at: None })]);
        FlagSnapshot::resolve(1, &Overrides::new(), &Overrides::new(), &api)
    }

    fn has(snapshot: &FlagSnapshot, flag: Flag, subject: &str) -> bool {
        snapshot.evaluate(flag, subject).enabled
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let on: Vec<&str> = Flag::ALL
            .into_iter()
            .filter(|flag| has(&FlagSnapshot::default(), *flag, "anybody"))
            .map(Flag::as_str)
            .collect();
        assert_eq!(on, ["adaptive_routing", "ab_testing", "zero_shot_fallback", "caching", "feedback_learning"]);
    }

    #[test]
    fn later_layers_win_setting_by_setting() {
        let change = |enabled, percent: Option<f64>| FlagChange {
            enabled,
            rollout: percent.map(|percent| Rollout::from_percent(percent).expect("valid")),
            updated_at: None,
        };
        let file = Overrides::from([
            (Flag::QualityMode, change(Some(true), Some(10.0))),
            (Flag::Caching, change(Some(false), None)),
        ]);
        let env = Overrides::from([(Flag::QualityMode, change(None, Some(20.0)))]);
        let api = Overrides::from([(Flag::Caching, change(Some(true), None))]);
        let snapshot = FlagSnapshot::resolve(7, &file, &env, &api);
        let quality = snapshot.state(Flag::QualityMode);
        assert_eq!((quality.enabled, quality.rollout.percent(), quality.source), (true, 20.0, FlagSource::Env));
        let caching = snapshot.state(Flag::Caching);
        assert_eq!((caching.enabled, caching.source), (true, FlagSource::Api));
        assert_eq!(snapshot.state(Flag::AbTesting).source, FlagSource::Default);
    }

    #[test]
    fn every_answer_has_its_reason() {
        let off = FlagSnapshot::default().evaluate(Flag::QualityMode, "u").reason;
        assert_eq!(off, EvaluationReason::Disabled);
        assert_eq!(
            rolled_out(Flag::QualityMode, 100.0).evaluate(Flag::QualityMode, "u").reason,
            EvaluationReason::FullRollout
        );
        assert_eq!(
            rolled_out(Flag::QualityMode, 0.0).evaluate(Flag::QualityMode, "u").reason,
            EvaluationReason::NotInRollout
        );
        assert_eq!(
            rolled_out(Flag::QualityMode, 99.999).evaluate(Flag::QualityMode, "u").reason,
            EvaluationReason::InRollout
        );
    }

    #[test]
    fn shares_of_a_hundred_thousand_users_are_within_four_standard_deviations() {
        const USERS: usize = 100_000;
        for percent in [0.1, 1.0, 5.0, 37.5, 50.0, 95.0] {
            let snapshot = rolled_out(Flag::DistilbertModel, percent);
            let users =
                (0..USERS).filter(|user| has(&snapshot, Flag::DistilbertModel, &format!("user-{user}"))).count();
            let share = percent / 100.0;
            let deviation = (share * (1.0 - share) * USERS as f64).sqrt();
            assert!((users as f64 - share * USERS as f64).abs() < 4.0 * deviation, "{users} users at {percent} %");
        }
    }

    #[test]
    fn two_flags_are_independent() {
        const USERS: usize = 100_000;
        let (one, other) = (rolled_out(Flag::QualityMode, 50.0), rolled_out(Flag::PerformanceMode, 50.0));
        let both = (0..USERS)
            .map(|user| format!("user-{user}"))
            .filter(|user| has(&one, Flag::QualityMode, user) && has(&other, Flag::PerformanceMode, user))
            .count();
        // A quarter, within four standard deviations.
        assert!((both as f64 - 25_000.0).abs() < 4.0 * (0.25 * 0.75 * USERS as f64).sqrt(), "{both}");
    }

    #[test]
    fn percentages_outside_0_to_100_are_refused() {
        for percent in [-1.0, 100.001, 101.0, f64::NAN, f64::INFINITY] {
            assert!(Rollout::from_percent(percent).is_err(), "{percent}");
        }
    }

    proptest! {
        #[test]
        fn raising_a_rollout_never_takes_a_feature_away(subject in ".*", low in 0.0..100.0_f64, more in 0.0..100.0_f64) {
            let high = (low + more).min(100.0);
            let before = has(&rolled_out(Flag::Caching, low), Flag::Caching, &subject);
            let after = has(&rolled_out(Flag::Caching, high), Flag::Caching, &subject);
            prop_assert!(!before || after);
        }

        #[test]
        fn a_rollout_survives_being_written_as_percent(buckets in 0..=BUCKETS) {
            let rollout = Rollout { buckets };
            prop_assert_eq!(Rollout::from_percent(rollout.percent()), Ok(rollout));
        }
    }
}
