//! What is true of models on rows they have not seen.

pub mod metrics;
