//! A server in a process of its own, as `serve` starts it: what it needs to be ready, and the memory it takes.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde::Serialize;
use serde_json::Value;

use super::{
    CLASSIFY,
    load::{Limits, Load},
};
use crate::telemetry::process::resident_bytes_of;

/// How many texts it answers before its memory is looked at again.
const REQUESTS: usize = 1_000;

/// What a server alone needs.
#[derive(Debug, Serialize)]
pub(crate) struct OwnProcess {
    /// From the start of the process to the first answer that it could give, in milliseconds.
    pub(crate) ready_ms: f64,
    /// Its memory in use then, in megabytes.
    pub(crate) ready_mb: Option<f64>,
    /// How many texts it answered after that.
    pub(crate) texts: usize,
    /// Its memory in use after them, in megabytes.
    pub(crate) resident_mb: Option<f64>,
}

/// Killed when dropped: what it has stored goes, too.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server with the settings of this process but those that would hinder the measurement, and asks it.
///
/// # Errors
/// When it does not start or does not answer.
pub(super) fn measure(config: Option<&Path>, bodies: &[String]) -> anyhow::Result<OwnProcess> {
    let data = tempfile::tempdir()?;
    let mut command = Command::new(env::current_exe()?);
    command.arg("serve").envs(config.map(|path| ("CONFIG_FILE", path)));
    command.env("HOST", "127.0.0.1").env("PORT", "0").env("DATA_DIR", data.path());
    command.env("LOG_LEVEL", "info").env("LOG_FORMAT", "json");
    let began = Instant::now();
    let mut process = Process(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?);
    let log = process.0.stderr.take().expect("standard error is a pipe");
    let mut lines = BufReader::new(log).lines();
    let mut wait_for = |message: &str| {
        let mut last = String::new();
        for line in lines.by_ref() {
            last = line?;
            let line: Value = serde_json::from_str(&last).unwrap_or_default();
            if line["message"] == message {
                return Ok(line);
            }
        }
        Err(anyhow::anyhow!("the server ended before it was {message}: {last}"))
    };
    let address: SocketAddr = wait_for("listening")?["address"].as_str().context("no address")?.parse()?;
    wait_for("ready")?;
    let ready_ms = began.elapsed().as_secs_f64() * 1e3;
    // What it goes on to write must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));

    let megabytes = |process: &Process| resident_bytes_of(process.0.id()).map(|bytes| bytes as f64 / 1e6);
    let ready_mb = megabytes(&process);
    let load = Load { address, path: CLASSIFY, bodies };
    let figures = load.run(Limits { connections: 1, requests: REQUESTS, duration: Duration::from_secs(30) })?;
    ensure!(process.0.try_wait()?.is_none(), "the server ended");
    Ok(OwnProcess { ready_ms, ready_mb, texts: figures.requests, resident_mb: megabytes(&process) })
}
