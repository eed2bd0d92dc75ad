//! Feature flags: immutable snapshots and a pure evaluation.
//!
//! Where flags come from (file, environment, store) is not this crate's business: sources hand over [`Overrides`], and
//! [`FlagSnapshot::resolve`] puts the layers together. One snapshot serves a whole request.

mod bucket;
mod set;
mod snapshot;

use std::{fmt, str::FromStr, sync::Arc};

use arc_swap::ArcSwap;

pub use bucket::{BUCKETS, bucket};
pub use set::FlagSet;
pub use snapshot::{Evaluation, EvaluationReason, FlagChange, FlagSnapshot, FlagSource, FlagState, Overrides, Rollout};

/// The flags in force, shared by those who change them and the engine that goes by them.
pub type SharedFlags = Arc<ArcSwap<FlagSnapshot>>;

/// The feature flags of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// Choose models by confidence and latency budget.
    AdaptiveRouting,
    /// Route part of the traffic by the strategies of the experiment.
    AbTesting,
    /// Use the fine-tuned transformer classifier.
    DistilbertModel,
    /// Let `zero_shot` stand in for models that fail.
    ZeroShotFallback,
    /// Answer repeated texts from the cache.
    Caching,
    /// Learn from feedback.
    FeedbackLearning,
    /// Rules first.
    PerformanceMode,
    /// `distilbert` first.
    QualityMode,
    /// Log every decision with the beginning of its text and all its steps.
    EnhancedLogging,
}

impl Flag {
    /// All flags.
    pub const ALL: [Self; 9] = [
        Self::AdaptiveRouting,
        Self::AbTesting,
        Self::DistilbertModel,
        Self::ZeroShotFallback,
        Self::Caching,
        Self::FeedbackLearning,
        Self::PerformanceMode,
        Self::QualityMode,
        Self::EnhancedLogging,
    ];

    /// Returns the name used in requests, files and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AdaptiveRouting => "adaptive_routing",
            Self::AbTesting => "ab_testing",
            Self::DistilbertModel => "distilbert_model",
            Self::ZeroShotFallback => "zero_shot_fallback",
            Self::Caching => "caching",
            Self::FeedbackLearning => "feedback_learning",
            Self::PerformanceMode => "performance_mode",
            Self::QualityMode => "quality_mode",
            Self::EnhancedLogging => "enhanced_logging",
        }
    }

    /// Returns what the flag does, for people.
    pub fn description(self) -> &'static str {
        match self {
            Self::AdaptiveRouting => "choose models by confidence and latency budget; off: plain fallback chain",
            Self::AbTesting => "route part of the traffic by the strategies of the experiment",
            Self::DistilbertModel => "use the fine-tuned transformer classifier",
            Self::ZeroShotFallback => "let zero_shot stand in for models that fail",
            Self::Caching => "answer repeated texts from the cache",
            Self::FeedbackLearning => "let corrections change what is answered and learned",
            Self::PerformanceMode => "rules first: the fastest answers",
            Self::QualityMode => "distilbert first: the most accurate answers",
            Self::EnhancedLogging => "log every decision with the beginning of its text and all its steps",
        }
    }

    /// Tells whether the flag is on when nobody says otherwise.
    pub fn is_enabled_by_default(self) -> bool {
        matches!(
            self,
            Self::AdaptiveRouting | Self::AbTesting | Self::ZeroShotFallback | Self::Caching | Self::FeedbackLearning
        )
    }
}

impl serde::Serialize for Flag {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Flag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Flag {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|flag| flag.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(|flag| format!("`{flag}`")).join(", ");
            format!("unknown flag `{name}`, expected one of {known}")
        })
    }
}
