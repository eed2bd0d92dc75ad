//! Text in, intent out: the server and the command line.
//!
//! Everything that touches the outside lives in this crate: HTTP, configuration, telemetry, commands. What a text means
//! is decided in `intent-engine` and `intent-model`, which know nothing of it.

mod auth;
mod bench;
mod cache;
mod causes;
mod commands;
mod config;
mod connection;
mod experiments;
mod feedback;
mod flags;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
mod http;
mod limits;
mod memory;
mod promotions;
mod remote;
mod rollouts;
mod routing;
mod screening;
mod serve;
mod serving;
mod spool;
mod storage;
mod telemetry;
mod tls;

use std::process::ExitCode;

/// Does what the command line says.
pub fn run() -> ExitCode {
    commands::run()
}
