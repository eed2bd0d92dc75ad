//! The server as a process of its own, on a free port.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use reqwest::{Client, ClientBuilder, RequestBuilder, Response};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{desk_pack, program};

/// A running server; killed when dropped.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    log: Receiver<Value>,
    client: Client,
    _directory: TempDir,
}

/// Longer than any start or stop on the slowest machine; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl Server {
    /// Starts a server that has the pack of the tests and no trained models.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with more settings.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        Self::start_in(TempDir::new().expect("there is room for a folder"), settings)
    }

    /// Starts a server in a folder that holds what it needs.
    pub(crate) fn start_in(directory: TempDir, settings: &[(&str, &str)]) -> Self {
        // The first to install one wins; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut process = program(directory.path())
            .env("PORT", "0")
            .env("INTENT_PACK", desk_pack())
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let log = read_log(&mut process);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self {
            process,
            address,
            log,
            client: client_builder().build().expect("a client needs nothing"),
            _directory: directory,
        };
        let listening = server.wait_for_log("listening");
        server.address =
            listening["address"].as_str().and_then(|address| address.parse().ok()).expect("the line names the address");
        server.wait_for_log("ready");
        server
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for a log line.
    pub(crate) fn wait_for_log(&self, message: &str) -> Value {
        let mut before = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line["message"] == message => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("no log line `{message}` among {before:#?}"),
            }
        }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://{}{path}", self.address))
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.client.put(format!("http://{}{path}", self.address))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("http://{}{path}", self.address))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(format!("http://{}{path}", self.address))
    }

    /// Posts JSON and expects an answer.
    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Response {
        self.post(path).json(body).send().await.expect("the server answers")
    }

    /// Sends a signal: `TERM`, `INT` or `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let status = std::process::Command::new("kill").args(["-s", name, &id]).status().expect("`kill` is there");
        assert!(status.success(), "the server is running");
    }

    /// Limits how large a file the server may make, in bytes: `prlimit` of util-linux.
    pub(crate) fn limit_file_size(&self, limit: Option<u64>) {
        // The soft limit alone, which anybody may raise again.
        let limit = limit.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let (id, limit) = (self.process.id().to_string(), format!("--fsize={limit}:"));
        let status = std::process::Command::new("prlimit").args(["--pid", &id, &limit]).status();
        assert!(status.expect("`prlimit` is part of every Linux").success(), "the server is running");
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("the process can be waited for") {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "the server does not end");
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Builds clients that encrypt as the server does.
pub(crate) fn client_builder() -> ClientBuilder {
    // Whoever comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
}

/// Reads an answer as JSON, whatever its status.
pub(crate) async fn json(response: Response) -> Value {
    let text = response.text().await.expect("the answer arrives whole");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn read_log(process: &mut Child) -> Receiver<Value> {
    let stderr = process.stderr.take().expect("standard error is a pipe");
    let (sender, log) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    log
}
