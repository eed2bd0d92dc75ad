//! Debian's Prometheus and Alertmanager as processes of the tests.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::postgres::free_port;

/// Longer than anything takes on the slowest machine; only a hang reaches it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A process that serves HTTP on a free port; killed when dropped.
pub(crate) struct Daemon {
    process: Child,
    port: u16,
    client: Client,
    _directory: TempDir,
}

impl Daemon {
    /// Starts Prometheus with this configuration; `rules` are files by name beside it.
    pub(crate) async fn prometheus(configuration: &str, rules: &[(String, String)]) -> Self {
        Self::start("prometheus", "prometheus.yml", configuration, rules, |file, data, address| {
            vec![
                format!("--config.file={file}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address={address}"),
                "--log.level=warn".to_owned(),
            ]
        })
        .await
    }

    /// Starts Alertmanager with this configuration.
    pub(crate) async fn alertmanager(configuration: &str) -> Self {
        Self::start("prometheus-alertmanager", "alertmanager.yml", configuration, &[], |file, data, address| {
            vec![
                format!("--config.file={file}"),
                format!("--storage.path={data}"),
                format!("--web.listen-address={address}"),
                // One instance: no cluster, no other port.
                "--cluster.listen-address=".to_owned(),
                "--log.level=warn".to_owned(),
            ]
        })
        .await
    }

    async fn start(
        program: &str,
        file: &str,
        configuration: &str,
        others: &[(String, String)],
        arguments: impl Fn(&str, &str, &str) -> Vec<String>,
    ) -> Self {
        // The first to install one wins; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = TempDir::new().expect("there is room for a folder");
        let path = |name: &str| directory.path().join(name);
        for (name, content) in
            others.iter().map(|(name, content)| (name.as_str(), content.as_str())).chain([(file, configuration)])
        {
            fs::write(path(name), content).expect("the folder can be written");
        }
        let port = free_port();
        let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
        let arguments = arguments(&text(&path(file)), &text(&path("data")), &format!("127.0.0.1:{port}"));
        let process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; run `scripts/install-system-packages test`"));
        let daemon = Self { process, port, client: Client::new(), _directory: directory };
        let deadline = Instant::now() + PATIENCE;
        let ready = daemon.url("/-/ready");
        while !daemon.client.get(&ready).send().await.is_ok_and(|response| response.status() == 200) {
            assert!(Instant::now() < deadline, "{program} is not ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        daemon
    }

    /// Returns an address of the daemon.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Asks Prometheus something; returns `data` of the answer, or its error.
    pub(crate) async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let mut url = reqwest::Url::parse(&self.url(path)).expect("an address");
        url.query_pairs_mut().extend_pairs(parameters);
        let response = self.client.get(url).send().await.expect("Prometheus answers");
        let body: Value = response.json().await.expect("JSON");
        match body["status"].as_str() {
            Some("success") => Ok(body["data"].clone()),
            _ => Err(body["error"].to_string()),
        }
    }

    /// Returns the series that a query gives now, each with its labels and value.
    pub(crate) async fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let data = self.ask("/api/v1/query", &[("query", query)]).await;
        let data = data.unwrap_or_else(|error| panic!("{query}: {error}"));
        let rows = data["result"].as_array().expect("a vector").iter();
        rows.map(|row| {
            let value = row["value"][1].as_str().expect("a value").parse().expect("a number");
            (row["metric"].clone(), value)
        })
        .collect()
    }

    /// Waits until a query gives series that are as they should be.
    pub(crate) async fn until(&self, query: &str, is_so: impl Fn(&[(Value, f64)]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rows = self.query(query).await;
            if is_so(&rows) {
                return;
            }
            assert!(Instant::now() < deadline, "{query} gives {rows:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Makes minutes of a rule file seconds, in `for:` and in ranges, so that a test sees in seconds what takes minutes.
pub(crate) fn sixty_times_faster(rules: &str) -> String {
    let faster = |duration: &str| {
        let (number, unit) = duration.split_at(duration.len() - 1);
        let number: u32 = number.parse().expect("a duration has one unit");
        match unit {
            "m" => format!("{number}s"),
            "h" => format!("{number}m"),
            "d" => format!("{}m", 24 * number),
            _ => duration.to_owned(),
        }
    };
    let mut lines = Vec::new();
    for line in rules.lines() {
        let mut line = match line.split_once("for: ") {
            Some((indent, duration)) if indent.trim().is_empty() => format!("{indent}for: {}", faster(duration)),
            _ => line.to_owned(),
        };
        let mut from = 0;
        while let Some(open) = line[from..].find('[').map(|at| at + from) {
            let close = line[open..].find(']').expect("a bracket closes") + open;
            let inside = line[open + 1..close].to_owned();
            let is_range = inside.starts_with(|first: char| first.is_ascii_digit());
            if is_range {
                line.replace_range(open + 1..close, &faster(&inside));
            }
            from = open + 1;
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[test]
fn durations_shrink_and_nothing_else() {
    let rules = "- record: job:x:rate5m\n  expr: rate(x[5m]) > y[3d] # [text]\n  for: 2m\n";
    let faster = "- record: job:x:rate5m\n  expr: rate(x[5s]) > y[72m] # [text]\n  for: 2s";
    assert_eq!(sixty_times_faster(rules), faster);
}
