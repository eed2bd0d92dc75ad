//! The labels of metrics: which there are, and which values they can have.

use std::sync::Arc;

use intent_engine::{
    CacheLookup, FallbackReason, Flag, SelectionReason, StrategyName,
    rollout::{Metric, Status},
};
use intent_model::ModelKind;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// Declares a closed set of label values.
macro_rules! label_values {
    ($(#[$of_set:meta])* $set:ident { $($(#[$of_value:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$of_set])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum $set {
            $($(#[$of_value])* $value,)+
        }

        impl $set {
            /// All values.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$value),+];

            /// Returns all values as they are in metrics.
            pub(super) fn names() -> Vec<&'static str> {
                Self::ALL.iter().map(|value| value.as_str()).collect()
            }

            /// Returns the value in metrics.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }

        impl EncodeLabelValue for $set {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                self.as_str().encode(encoder)
            }
        }
    };
}

label_values! {
    /// A layer of the cache of decisions.
    CacheLayer {
        /// In this process.
        Memory = "memory",
        /// Redis, shared by replicas.
        Redis = "redis",
    }
}

label_values! {
    /// What came of asking a layer of the cache.
    CacheResult {
        /// It had the answer.
        Hit = "hit",
        /// It had no answer.
        Miss = "miss",
        /// It could not be asked.
        Error = "error",
    }
}

label_values! {
    /// What a user says of an answer.
    FeedbackType {
        /// It was wrong.
        Correction = "correction",
        /// It was right.
        Confirmation = "confirmation",
    }
}

label_values! {
    /// What became of a feedback.
    FeedbackResult {
        /// It is in the database.
        Stored = "stored",
        /// It waits on disk for the database.
        Spooled = "spooled",
        /// It had been sent before.
        Duplicate = "duplicate",
        /// It was not valid.
        Rejected = "rejected",
        /// It could be kept nowhere.
        Failed = "failed",
    }
}

label_values! {
    /// Whether an answer was right, by a user's word.
    Verdict {
        /// It was confirmed.
        Right = "right",
        /// It was corrected.
        Wrong = "wrong",
    }
}

label_values! {
    /// Whose limit a refused request had reached.
    RateLimitScope {
        /// A user's.
        User = "user",
        /// An API key's.
        ApiKey = "api_key",
        /// An address's.
        Ip = "ip",
    }
}

label_values! {
    /// What is suspicious about a text.
    AdversarialKind {
        /// Control characters.
        ControlCharacters = "control_characters",
        /// Characters that change the direction of writing.
        BidiControls = "bidi_controls",
        /// Characters that nobody sees.
        ZeroWidth = "zero_width",
        /// Letters of several scripts that look alike.
        Homoglyphs = "homoglyphs",
        /// The same over and over.
        Repetition = "repetition",
        /// Something encoded, such as a long Base64 run.
        EncodedPayload = "encoded_payload",
        /// A phrase that tries to command a language model.
        PromptInjection = "prompt_injection",
        /// One source feels its way along a threshold.
        ThresholdProbing = "threshold_probing",
    }
}

label_values! {
    /// What the service depends on besides its own process.
    Dependency {
        /// The database, when it is Postgres.
        Postgres = "postgres",
        /// The shared layer of the cache.
        Redis = "redis",
        /// Where `distilbert` computes, when it is remote.
        Torchserve = "torchserve",
    }
}

/// Labels of requests over HTTP by their answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HttpRequestLabels {
    pub(super) method: &'static str,
    pub(super) endpoint: Arc<str>,
    pub(super) status: u16,
}

/// Labels of requests over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HttpEndpointLabels {
    pub(super) method: &'static str,
    pub(super) endpoint: Arc<str>,
}

/// Labels of classified texts. `intent` and `model` are `none` when there was no decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClassificationLabels {
    pub(super) intent: Arc<str>,
    pub(super) model: &'static str,
    pub(super) status: &'static str,
}

/// Labels of decisions by the model that made them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct SelectionLabels {
    pub(super) model: &'static str,
    pub(super) reason: &'static str,
}

/// Labels of metrics of one model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ModelLabels {
    pub(super) model: &'static str,
}

/// Labels of steps from one model to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FallbackLabels {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) reason: &'static str,
}

/// Labels of uses of a flag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FlagLabels {
    pub(super) flag_name: &'static str,
    pub(super) enabled: bool,
}

/// Labels of a guard that took a rollout back.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ViolationLabels {
    pub(super) flag_name: &'static str,
    pub(super) metric: &'static str,
}

/// Labels of what a group of an experiment did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GroupLabels {
    pub(super) group: &'static str,
    pub(super) strategy: &'static str,
}

/// Labels of what was asked of the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CacheLabels {
    pub(super) layer: CacheLayer,
    pub(super) result: CacheResult,
}

/// Labels of feedback.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FeedbackLabels {
    pub(super) r#type: FeedbackType,
    pub(super) result: FeedbackResult,
}

/// Labels of answers that a user judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VerdictLabels {
    pub(super) verdict: Verdict,
}

/// Labels of requests over a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ScopeLabels {
    pub(super) scope: RateLimitScope,
}

/// Labels of suspicious texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AdversarialLabels {
    pub(super) kind: AdversarialKind,
}

/// The status of a classified text that got a decision as it was wanted.
pub(super) const OK: &str = "ok";
/// … a decision, while a model that was wanted could not be used.
pub(super) const DEGRADED: &str = "degraded";
/// … no decision, because too much was in flight.
pub(super) const OVERLOADED: &str = "overloaded";
/// … no decision, because the model it asked for is not loaded.
pub(super) const MODEL_NOT_LOADED: &str = "model_not_loaded";
/// … no decision, because every model failed.
pub(super) const NO_MODEL: &str = "no_model";
/// Stands for the intent and the model where there was no decision.
pub(super) const NONE: &str = "none";
/// The reason of a selection that was made for an earlier request.
pub(super) const CACHED: &str = "cached";

/// The method label of a request whose method is not one of [`methods`].
pub(crate) const OTHER_METHOD: &str = "other";

pub(super) fn methods() -> Vec<&'static str> {
    vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER_METHOD]
}

pub(super) fn models() -> Vec<&'static str> {
    ModelKind::ALL.map(ModelKind::as_str).to_vec()
}

pub(super) fn models_or_none() -> Vec<&'static str> {
    [models(), vec![NONE]].concat()
}

pub(super) fn classification_statuses() -> Vec<&'static str> {
    vec![OK, DEGRADED, OVERLOADED, MODEL_NOT_LOADED, NO_MODEL]
}

pub(super) fn selection_reasons() -> Vec<&'static str> {
    [SelectionReason::ALL.map(SelectionReason::as_str).to_vec(), vec![CACHED]].concat()
}

pub(super) fn fallback_reasons() -> Vec<&'static str> {
    FallbackReason::ALL.map(FallbackReason::as_str).to_vec()
}

pub(super) fn flags() -> Vec<&'static str> {
    Flag::ALL.map(Flag::as_str).to_vec()
}

pub(super) fn rollout_statuses() -> Vec<&'static str> {
    Status::ALL.map(Status::as_str).to_vec()
}

pub(super) fn guard_metrics() -> Vec<&'static str> {
    Metric::ALL.map(Metric::as_str).to_vec()
}

pub(super) fn booleans() -> Vec<&'static str> {
    vec!["true", "false"]
}

pub(super) fn strategies() -> Vec<&'static str> {
    StrategyName::ALL.map(StrategyName::as_str).to_vec()
}

/// Everything that has a circuit breaker: the models, and what the service depends on.
pub(super) fn circuits() -> Vec<&'static str> {
    [models(), Dependency::names()].concat()
}

impl CacheResult {
    /// Returns what came of a lookup; `None` when nobody looked.
    pub(super) fn of(lookup: CacheLookup) -> Option<Self> {
        match lookup {
            CacheLookup::NotAsked => None,
            CacheLookup::Hit => Some(Self::Hit),
            CacheLookup::Miss => Some(Self::Miss),
            CacheLookup::Failed => Some(Self::Error),
        }
    }
}
