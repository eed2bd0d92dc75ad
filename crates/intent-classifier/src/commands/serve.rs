//! `serve`: the server.

use std::{net::IpAddr, process::ExitCode};

use clap::Args;

use super::Failure;
use crate::{config::Sources, serve, telemetry};

/// Serve over HTTP; also what happens without any command.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  intent-classifier serve
  intent-classifier serve --host 0.0.0.0 --port 9000
  MODEL_DIR=/srv/models LOG_FORMAT=pretty intent-classifier serve

Signals: SIGTERM and SIGINT stop it after requests in flight are answered; SIGHUP reloads the models.")]
pub(super) struct Arguments {
    /// Listen on this address.
    #[arg(long)]
    host: Option<IpAddr>,
    /// Listen on this port; 0 takes any free one.
    #[arg(long)]
    port: Option<u16>,
}

pub(super) fn run(arguments: Arguments, mut sources: Sources) -> Result<ExitCode, Failure> {
    sources.flags.server.host = arguments.host;
    sources.flags.server.port = arguments.port;
    let settings = sources.load()?.settings;
    telemetry::logging::start(&settings.log);
    let pack = super::configured_pack(&settings.models)?;
    serve::run(settings, pack)?;
    Ok(ExitCode::SUCCESS)
}
