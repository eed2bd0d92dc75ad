//! The engine with scripted models and paused time: every branch of the router, failures included, without a sleep.

#![expect(clippy::unwrap_used, reason = "a failed step of a test should stop it")]

mod batching;
mod cache;
mod flags;
mod invariants;
mod overload;
mod probe;
mod remote;
mod routing;
mod scripted;
mod shared_cache;
mod spans;
