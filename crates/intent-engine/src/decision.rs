//! What the engine answers, and why.

use std::{fmt, sync::Arc, time::Duration};

use intent_model::ModelKind;

use crate::{LatencyRequirement, StrategyName, cache::CacheUse, experiment::Exposure, flags::FlagSet};

/// The answer to one request, with everything that is worth telling or counting about how it came about.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The intents, best first, at most as many as were asked for. The first is the answer; it may be
    /// [`intent_model::OUT_OF_SCOPE`].
    pub ranking: Vec<RankedIntent>,
    /// The model that decided.
    pub model: ModelKind,
    /// Why it was this model; for a cached answer, why it was at that time.
    pub selection: SelectionReason,
    /// The version of the models that were asked.
    pub model_version: Arc<str>,
    /// The rule that decided, when it was a rule.
    pub rule: Option<String>,
    /// Whether the deciding model did not read the end of the text.
    pub truncated: bool,
    /// Whether the answer was kept from an earlier request.
    pub cached: bool,
    /// What the caches were asked and what came of it.
    pub cache: CacheUse,
    /// Whether a model that the strategy wanted, or the shared cache, could not be used.
    pub degraded: bool,
    /// The strategy that planned.
    pub strategy: StrategyName,
    /// The group of the experiment that the subject is in.
    pub experiment_group: StrategyName,
    /// What the outcome counts for in the results of the experiment; `None` when something else decided the strategy.
    pub exposure: Option<Exposure>,
    /// The flags that are on for the subject.
    pub flags: FlagSet,
    /// The latency requirement that applied.
    pub latency_requirement: LatencyRequirement,
    /// Why this model, in order; for people.
    pub reasons: Vec<String>,
    /// The models that were stepped over because they failed, in order.
    pub fallbacks: Vec<Fallback>,
    /// The models that were left out because they did not fit the budget.
    pub skipped: Vec<ModelKind>,
    /// How long it took.
    pub timings: Timings,
}

impl Decision {
    /// Tells whether the same request would get the same answer on a good day: nothing failed and nothing was left out
    /// for lack of time.
    pub fn is_representative(&self) -> bool {
        !self.degraded && self.skipped.is_empty()
    }

    /// Returns the decision for a caller who did nothing but wait for it: no model was asked for him.
    pub(crate) fn repeated(&self) -> Self {
        Self { timings: Timings { total: self.timings.total, models: Vec::new() }, ..self.clone() }
    }

    /// Returns the answer: the best intent and its confidence.
    pub fn best(&self) -> &RankedIntent {
        &self.ranking[0]
    }
}

/// An intent and how sure the model is of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RankedIntent {
    /// The intent's name, or [`intent_model::OUT_OF_SCOPE`].
    pub intent: Arc<str>,
    /// Calibrated probability, 0 to 1.
    pub confidence: f32,
}

/// Why the router took the answer of one model and not of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SelectionReason {
    /// The request named it.
    Requested,
    /// Its confidence reached its threshold.
    Confident,
    /// It found the text out of scope, and no better model was left to ask.
    OutOfScope,
    /// No model was sure; it is the most accurate of those that answered.
    MostAccurate,
    /// All that were planned failed; it is the next in the fallback chain.
    Fallback,
}

impl SelectionReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::Requested, Self::Confident, Self::OutOfScope, Self::MostAccurate, Self::Fallback];

    /// Returns the name used in metrics and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Confident => "confident",
            Self::OutOfScope => "out_of_scope",
            Self::MostAccurate => "most_accurate",
            Self::Fallback => "fallback",
        }
    }
}

/// A step from a model that could not answer to the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The model that could not answer.
    pub from: ModelKind,
    /// The model that was asked, or whose earlier answer was taken, instead.
    pub to: ModelKind,
    /// What was wrong with `from`.
    pub reason: FallbackReason,
}

/// Why a model was stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FallbackReason {
    /// It is not loaded.
    NotLoaded,
    /// It failed too often lately and is given time to recover.
    CircuitOpen,
    /// It returned an error.
    Failed,
    /// It panicked.
    Panicked,
    /// It did not answer within the budget.
    TimedOut,
    /// Its queue was full.
    Overloaded,
}

impl FallbackReason {
    /// All reasons.
    pub const ALL: [Self; 6] =
        [Self::NotLoaded, Self::CircuitOpen, Self::Failed, Self::Panicked, Self::TimedOut, Self::Overloaded];

    /// Returns the words used in answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotLoaded => "not loaded",
            Self::CircuitOpen => "circuit open",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed out",
            Self::Overloaded => "overloaded",
        }
    }
}

impl fmt::Display for FallbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the time of a request went.
#[derive(Clone, Debug, Default)]
pub struct Timings {
    /// From the engine taking the request to the decision.
    pub total: Duration,
    /// Each model that was asked, in order, waiting for a worker included.
    pub models: Vec<(ModelKind, Duration)>,
}
