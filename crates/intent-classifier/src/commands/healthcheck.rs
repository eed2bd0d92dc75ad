//! `healthcheck`: what a container runtime asks.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{Failure, output};
use crate::{config::Sources, tls};

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
    /// Bearer token to show, where `AUTH_OPEN_HEALTH` is `none`.
    #[arg(long, value_name = "TOKEN", env = "INTENT_CLASSIFIER_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let settings = sources.load()?.settings;
    let address = local(settings.server.address());
    let pinned = settings.tls.cert_file.as_deref().map(tls::pinned).transpose()?;
    let path = if arguments.live { "/health/live" } else { "/health/ready" };
    let scheme = if pinned.is_some() { "https" } else { "http" };
    let question = Question { path, token: arguments.token.as_deref(), pinned };
    let answer = question
        .ask(address, Duration::from_millis(arguments.timeout_ms))
        .with_context(|| format!("no answer from {scheme}://{address}{path}"))?;
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

/// What is asked, and how.
struct Question<'a> {
    path: &'a str,
    token: Option<&'a str>,
    /// How to encrypt, when the server does.
    pinned: Option<Arc<ClientConfig>>,
}

impl Question<'_> {
    /// Sends one request without an async runtime: a probe should cost as little as possible.
    fn ask(self, address: SocketAddr, timeout: Duration) -> anyhow::Result<String> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        match &self.pinned {
            None => self.exchange(address, stream),
            Some(config) => {
                let connection = ClientConnection::new(Arc::clone(config), address.ip().into())?;
                self.exchange(address, StreamOwned::new(connection, stream))
            }
        }
    }

    fn exchange(&self, address: SocketAddr, mut stream: impl Read + Write) -> anyhow::Result<String> {
        let path = self.path;
        let authorization = self.token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n{authorization}Connection: close\r\n\r\n")?;
        stream.flush()?;
        let mut answer = String::new();
        stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
        Ok(answer)
    }
}
