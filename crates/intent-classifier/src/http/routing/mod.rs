//! `/api/v1/intents/routing`: how the router decides, and what it has decided.

pub(super) mod config;
pub(super) mod stats;
