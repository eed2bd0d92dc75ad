//! A real Redis.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Longer than any start on the slowest machine; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis of Debian's `redis-server` on a free port; killed when dropped.
pub(crate) struct Redis {
    process: Child,
    port: u16,
    directory: TempDir,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let directory = TempDir::new().expect("there is room for a folder");
        let redis = Self { process: spawn(port, &directory), port, directory };
        redis.until_it_answers().await;
        redis
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it is running");
        self.process.wait().expect("it ends");
    }

    /// Starts it again on the same port, with nothing in it.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.port, &self.directory);
        self.until_it_answers().await;
    }

    /// Sends a signal: `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process.id().to_string()]).status();
        assert!(status.expect("`kill` is there").success(), "redis is running");
    }

    /// Runs a command and returns what it prints.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output();
        let output = output.expect("`redis-cli` is installed by `make test`");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until Redis holds something.
    pub(crate) async fn until_written(&self) {
        eventually("an answer is written to redis", async || self.command(&["DBSIZE"]) != "0").await;
    }

    async fn until_it_answers(&self) {
        eventually("redis answers", async || self.command(&["PING"]) == "PONG").await;
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already, or stand still.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(port: u16, directory: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("`redis-server` is installed by `make test`")
}

/// Waits until something holds, looking again and again.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(PATIENCE, what, &mut holds).await;
}

/// Waits until something holds, for so long at most.
pub(crate) async fn within(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
