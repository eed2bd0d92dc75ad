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
    is_encrypted: bool,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().expect("there is room for a folder"), false).await
    }

    /// Starts one that speaks TLS alone, shows `cert.pem` of the folder, and wants to see a certificate of `ca.pem`.
    pub(crate) async fn start_encrypted(directory: TempDir) -> Self {
        Self::start_in(directory, true).await
    }

    async fn start_in(directory: TempDir, is_encrypted: bool) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let redis = Self { process: spawn(port, &directory, is_encrypted), port, directory, is_encrypted };
        redis.until_it_answers().await;
        redis
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path of a file in its folder.
    pub(crate) fn file(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().expect("a path in UTF-8").to_owned()
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
        self.process = spawn(self.port, &self.directory, self.is_encrypted);
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
        let mut client = Command::new("redis-cli");
        client.args(["-p", &port]);
        if self.is_encrypted {
            client.current_dir(self.directory.path());
            client.args(["--tls", "--cacert", "ca.pem", "--cert", "cert.pem", "--key", "key.pem"]);
        }
        let output = client.args(arguments).output();
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

fn spawn(port: u16, directory: &TempDir, is_encrypted: bool) -> Child {
    let mut server = Command::new("redis-server");
    server.current_dir(directory.path());
    if is_encrypted {
        server.args(["--port", "0", "--tls-port", &port.to_string(), "--tls-ca-cert-file", "ca.pem"]);
        server.args(["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"]);
    } else {
        server.args(["--port", &port.to_string()]);
    }
    server
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
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
