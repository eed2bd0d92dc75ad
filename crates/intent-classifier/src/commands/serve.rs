//! `serve`: the server.

use std::{net::IpAddr, process::ExitCode};

use clap::Args;

use super::Failure;
use tracing::warn;

use crate::{
    auth::Authenticator,
    config::{Origin, Settings, Sources},
    serve,
    telemetry::{self, traces::Traces},
    tls::Tls,
};

/// Serve over HTTP; also what happens without any command.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  intent-classifier serve
  intent-classifier serve --host 0.0.0.0 --port 9000
  MODEL_DIR=/srv/models LOG_FORMAT=pretty intent-classifier serve

Signals: SIGTERM and SIGINT stop it after requests in flight are answered; SIGHUP reloads the models
and the certificate.")]
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
    let traces = Traces::start(&settings.trace)?;
    telemetry::logging::start(&settings.log, traces.as_ref());
    let pack = super::configured_pack(&settings.models)?;
    let authenticator = Authenticator::new(&settings.auth)?;
    let tls = Tls::load(&settings.tls)?;
    warn_of_open_doors(&settings, &authenticator);
    serve::run(settings, authenticator, tls, pack)?;
    // The last spans are sent before the process ends.
    drop(traces);
    Ok(ExitCode::SUCCESS)
}

/// Says loudly what an operator may not have meant.
fn warn_of_open_doors(settings: &Settings, authenticator: &Authenticator) {
    let host = settings.server.host;
    if !authenticator.is_enabled() && !host.is_loopback() {
        warn!(
            %host,
            "AUTHENTICATION IS OFF and the server is reachable from other machines: anybody who reaches it may classify, \
             change feature flags and reload models; set `AUTH_ENABLED=true` and `JWT_SECRET`, or listen on 127.0.0.1"
        );
    }
    if settings.rate_limit.per_minute.is_none() && settings.rate_limit.ip_per_minute.is_none() && !host.is_loopback() {
        warn!("no rate limit is set: one caller can take all there is; set `RATE_LIMIT_PER_MINUTE`");
    }
    if settings.server.cors_allowed_origins.iter().any(Origin::is_any) {
        warn!("`CORS_ALLOWED_ORIGINS` is `*`: any page that a person opens may call this server from his browser");
    }
    if authenticator.is_enabled() && !authenticator.takes_tokens() {
        warn!(
            "no key for tokens is set, so only API keys are taken; set `JWT_SECRET`, `JWT_PUBLIC_KEY_FILE` or \
             `JWT_JWKS_URL` to take tokens too"
        );
    }
}
