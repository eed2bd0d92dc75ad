//! What a caller asks of the engine.

use std::{fmt, str::FromStr, time::Duration};

use intent_model::ModelKind;
use serde::{Deserialize, Serialize};

use crate::StrategyName;

/// A text to classify, and how.
#[derive(Clone, Debug)]
pub struct ClassifyRequest {
    /// Names the request; stands in for the user where nobody is named.
    pub request_id: String,
    /// The text as the user sent it.
    pub text: String,
    /// Who asks; keeps flags and experiments the same for one user.
    pub user_id: Option<String>,
    /// Which latency target applies.
    pub latency_requirement: LatencyRequirement,
    /// Replaces the target of `latency_requirement`.
    pub latency_budget: Option<Duration>,
    /// How many intents to return, best first; at least 1.
    pub top_k: usize,
    /// Asks this model alone, whatever the strategy says.
    pub model: Option<ModelKind>,
    /// Replaces the strategy in force.
    pub strategy: Option<StrategyName>,
}

impl ClassifyRequest {
    /// How many intents an answer lists unless the request says otherwise.
    pub const DEFAULT_TOP_K: usize = 3;

    /// Returns whom flags and experiments go by: the user, or the request itself.
    pub fn subject(&self) -> &str {
        self.user_id.as_deref().unwrap_or(&self.request_id)
    }

    /// Tells whether two requests, whoever makes them, ask the same of the same text.
    pub(crate) fn asks_the_same(&self, other: &Self) -> bool {
        let question = |request: &Self| {
            let Self { latency_requirement, latency_budget, top_k, model, strategy, .. } = *request;
            (latency_requirement, latency_budget, top_k, model, strategy)
        };
        self.text == other.text && question(self) == question(other)
    }

    /// Makes a request with the defaults of the service.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            request_id: String::new(),
            text: text.into(),
            user_id: None,
            latency_requirement: LatencyRequirement::default(),
            latency_budget: None,
            top_k: Self::DEFAULT_TOP_K,
            model: None,
            strategy: None,
        }
    }
}

/// How soon the caller needs the answer; the targets are in [`crate::RoutingConfig`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LatencyRequirement {
    /// 50 ms unless configured otherwise.
    Critical,
    /// 200 ms unless configured otherwise.
    #[default]
    Standard,
    /// 500 ms unless configured otherwise.
    Relaxed,
}

impl LatencyRequirement {
    /// All requirements, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Standard, Self::Relaxed];

    /// Returns the name used in requests and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Standard => "standard",
            Self::Relaxed => "relaxed",
        }
    }
}

impl fmt::Display for LatencyRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LatencyRequirement {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|requirement| requirement.as_str() == name).ok_or_else(|| {
            format!("unknown latency requirement `{name}`, expected `critical`, `standard` or `relaxed`")
        })
    }
}
