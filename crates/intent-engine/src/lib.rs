//! Request to decision.
//!
//! The [`Engine`] takes a text and a latency budget and returns a [`Decision`]: it admits or refuses the work, lets a
//! strategy plan which models to ask in which order, runs them on their own threads in micro-batches, steps over what
//! fails or does not fit the budget, and says why it answered what it did.
//!
//! This crate does no I/O: no HTTP, no SQL, no files, no environment. It records no metrics; everything worth counting
//! travels back inside the decision.

pub mod admission;
pub mod cache;
pub mod catalog;
pub mod circuit;
#[cfg(test)]
mod coins;
mod course;
pub mod decision;
pub mod engine;
pub mod error;
pub mod experiment;
pub mod flags;
mod health;
pub mod latency;
pub mod probe;
pub mod remote;
pub mod request;
pub mod rollout;
mod router;
pub mod routing;
pub mod strategy;
pub mod workers;

pub use admission::Admission;
pub use cache::{
    CacheLookup, CacheOptions, CacheUse, DecisionCache, SharedCache, SharedCacheError, SharedKey, TextDigest,
};
pub use catalog::{Backend, Catalog, LoadedModel};
pub use decision::{Decision, Fallback, FallbackReason, RankedIntent, SelectionReason, Timings};
pub use engine::{Engine, EngineOptions};
pub use error::EngineError;
pub use experiment::Experiment;
pub use flags::{Flag, FlagSet, FlagSnapshot};
pub use health::ModelStatus;
pub use probe::ProbeError;
pub use remote::{RemoteError, RemoteModel};
pub use request::{ClassifyRequest, LatencyRequirement};
pub use rollout::GuardedRollout;
pub use routing::RoutingConfig;
pub use strategy::{Strategy, StrategyName};
