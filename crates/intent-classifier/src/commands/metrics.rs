//! `metrics`: the reference of what `/metrics` exports.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, output};
use crate::telemetry::reference;

/// Print the reference of all metrics that the server exports.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier metrics
  intent-classifier metrics --format json | jq -r '.[].name'")]
pub(super) struct Arguments {
    /// How to write them: `text` is Markdown.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    match arguments.format {
        output::Format::Text => output::text(&reference::markdown())?,
        output::Format::Json => output::json(&reference::json())?,
    }
    Ok(ExitCode::SUCCESS)
}
