//! `healthcheck`: what a container runtime asks.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::Args;

use super::{Failure, output};
use crate::config::Sources;

/// Ask the server on this machine whether it is ready; exit status 0 when it is, 1 when not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier healthcheck
  intent-classifier healthcheck --live
  HEALTHCHECK CMD [\"intent-classifier\", \"healthcheck\"]      in a Dockerfile")]
pub(super) struct Arguments {
    /// Ask only whether the process answers.
    #[arg(long)]
    live: bool,
    /// Give up after this many milliseconds.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout_ms: u64,
}

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let address = local(sources.load()?.settings.server.address());
    let path = if arguments.live { "/health/live" } else { "/health/ready" };
    let answer = get(address, path, Duration::from_millis(arguments.timeout_ms))
        .with_context(|| format!("no answer from http://{address}{path}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    output::text(body)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    Ok(if status == "200" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns where to reach a server that listens on every interface.
pub(super) fn local(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Sends one request without an async runtime: a probe should cost as little as possible.
fn get(address: SocketAddr, path: &str, timeout: Duration) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    Ok(answer)
}
