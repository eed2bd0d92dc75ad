//! `export`: what the service holds, for other programs.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, export_feedback, export_torchserve};
use crate::config::Sources;

/// Write what the service holds for other programs.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Feedback(export_feedback::Arguments),
    Torchserve(export_torchserve::Arguments),
}

pub(super) fn run(command: &Command, sources: Sources) -> Result<ExitCode, Failure> {
    match command {
        Command::Feedback(arguments) => export_feedback::run(arguments, sources),
        Command::Torchserve(arguments) => export_torchserve::run(arguments, sources),
    }
}
