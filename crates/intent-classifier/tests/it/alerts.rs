//! Rules, alerts, and who is told of them.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::post};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpListener, time::Instant};

use crate::{
    metrics::exported_names,
    postgres::free_port,
    program::repository,
    prometheus::{Daemon, PATIENCE, sixty_times_faster},
    promql::metrics_in,
    server::Server,
};

const ALERTMANAGER: &str = "deploy/alertmanager/alertmanager.yml";

/// The rule files, as YAML text by name.
pub(crate) fn rule_files() -> Vec<(String, String)> {
    let folder = repository().join("deploy/prometheus/rules");
    let files = fs::read_dir(folder).expect("the rules are there").map(|entry| entry.expect("an entry").path());
    files
        .map(|path| {
            let name = path.file_name().expect("a file").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("UTF-8"))
        })
        .collect()
}

/// The values of all lines `key: value` of a text, quotes removed.
fn values_of(text: &str, key: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    values.map(|value| value.trim_matches(['\'', '"']).to_owned()).collect()
}

/// Every expression of the rules.
pub(crate) fn expressions() -> Vec<String> {
    let mut expressions = Vec::new();
    for (_, text) in rule_files() {
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(expression) = line.trim().strip_prefix("expr: ") else { continue };
            if expression != "|" {
                expressions.push(expression.to_owned());
                continue;
            }
            let indent = |line: &str| line.len() - line.trim_start().len();
            let own = indent(line);
            let mut block = Vec::new();
            while let Some(next) = lines.next_if(|next| indent(next) > own) {
                block.push(next);
            }
            expressions.push(block.join("\n"));
        }
    }
    assert!(expressions.len() > 30, "{expressions:#?}");
    expressions
}

/// Runs a tool in the folder of the repository; returns what it says.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(repository())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}; run `scripts/install-system-packages test`"));
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

#[test]
fn prometheus_accepts_configuration_and_rules() {
    run("promtool", &["check", "config", "deploy/prometheus/prometheus.yml"]);
}

#[test]
fn every_alert_fires_and_does_not_fire_as_its_tests_say() {
    let folder = repository().join("deploy/prometheus/tests");
    let files: Vec<PathBuf> =
        fs::read_dir(folder).expect("they are there").map(|entry| entry.expect("one").path()).collect();
    let paths: Vec<&str> = files.iter().map(|path| path.to_str().expect("UTF-8")).collect();
    run("promtool", &[&["test", "rules"], &paths[..]].concat());

    let tests: String = files.iter().map(|path| fs::read_to_string(path).expect("UTF-8")).collect();
    let rules: String = rule_files().into_iter().map(|(_, text)| text).collect();
    let alerts = values_of(&rules, "alert");
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in alerts {
        let fires = tests.lines().any(|line| line.trim() == format!("- alertname: {alert}"));
        assert!(fires, "no test shows `{alert}` firing");
    }
}

#[test]
fn every_alert_has_a_severity_a_summary_and_a_runbook_that_says_what_to_do() {
    let rules: String = rule_files().into_iter().map(|(_, text)| text).collect();
    let alerts = values_of(&rules, "alert");
    let severities = values_of(&rules, "severity");
    assert!(severities.iter().all(|severity| ["critical", "warning"].contains(&severity.as_str())), "{severities:?}");
    let runbooks = values_of(&rules, "runbook_url");
    for count in
        [severities.len(), runbooks.len(), values_of(&rules, "summary").len(), values_of(&rules, "description").len()]
    {
        assert_eq!(count, alerts.len());
    }
    let mut used = BTreeSet::new();
    for (alert, runbook) in alerts.iter().zip(runbooks) {
        let page = fs::read_to_string(repository().join(&runbook)).unwrap_or_else(|_| panic!("{runbook} is not there"));
        for heading in ["## What it means", "## How to look", "## What to do"] {
            assert!(page.contains(heading), "{runbook} has no `{heading}`");
        }
        assert!(
            page.lines().next().is_some_and(|title| title.contains(alert.as_str())),
            "{runbook} is not about {alert}"
        );
        used.insert(runbook);
    }
    let pages = fs::read_dir(repository().join("docs/runbooks")).expect("they are there");
    let pages: BTreeSet<String> =
        pages.map(|page| format!("docs/runbooks/{}", page.expect("one").file_name().to_string_lossy())).collect();
    assert_eq!(pages, used, "every runbook belongs to an alert");
}

#[test]
fn rules_name_only_what_is_exported_or_recorded() {
    let rules: String = rule_files().into_iter().map(|(_, text)| text).collect();
    let mut known = exported_names();
    known.extend(values_of(&rules, "record"));
    known.insert("up".to_owned());
    for expression in expressions() {
        for name in metrics_in(&expression) {
            assert!(known.contains(&name), "`{name}` in\n{expression}");
        }
    }
}

#[test]
fn alertmanager_accepts_its_configuration_and_routes_by_severity() {
    run("amtool", &["check-config", ALERTMANAGER]);
    let file = format!("--config.file={ALERTMANAGER}");
    for (labels, receivers) in [
        (&["alertname=ServiceDown", "severity=critical"][..], "pagerduty,slack"),
        (&["alertname=HighErrorRate", "severity=critical", "job=intent-classifier"], "pagerduty,slack"),
        (&["alertname=ModelUnhealthy", "severity=warning"], "slack"),
        (&["alertname=SomethingElse"], "slack"),
    ] {
        let expected = format!("--verify.receivers={receivers}");
        run("amtool", &[&["config", "routes", "test", &file, &expected], labels].concat());
    }
    let configuration = fs::read_to_string(repository().join(ALERTMANAGER)).expect("it is there");
    for secret in ["slack_api_url:", "routing_key:", "service_key:", "api_url:"] {
        assert!(!configuration.contains(secret), "`{secret}` belongs into a file");
    }
}

/// What was posted to the receivers: the path and the body.
type Received = Arc<Mutex<Vec<(&'static str, Value)>>>;

/// Serves as Slack and as PagerDuty.
async fn receivers() -> (String, Received) {
    let received = Received::default();
    let keep = |path: &'static str| {
        post(move |State(received): State<Received>, Json(body): Json<Value>| async move {
            received.lock().expect("no code panics while it holds this lock").push((path, body));
            Json(json!({"status": "success", "message": "Event processed", "dedup_key": "test"}))
        })
    };
    let router: Router = Router::new()
        .route("/slack", keep("slack"))
        .route("/pagerduty", keep("pagerduty"))
        .with_state(Arc::clone(&received));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

async fn until_received(received: &Received, what: &str, is_it: impl Fn(&str, &Value) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let messages = received.lock().expect("no code panics while it holds this lock").clone();
        if messages.iter().any(|(path, body)| is_it(path, body)) {
            return;
        }
        assert!(Instant::now() < deadline, "{what} is not in {messages:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The configuration of the repository with the secrets of a test, and waits of a second.
fn alertmanager_configuration(secrets: &TempDir, receivers: &str) -> String {
    let file = |name: &str, content: &str| {
        let path = secrets.path().join(name);
        fs::write(&path, content).expect("the folder can be written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let slack = file("slack_url", &format!("{receivers}/slack"));
    let pagerduty = file("pagerduty_key", "0123456789abcdef0123456789abcdef");
    let mut configuration = fs::read_to_string(repository().join(ALERTMANAGER))
        .expect("it is there")
        .replace("/run/secrets/slack_url", &slack)
        .replace("/run/secrets/pagerduty_key", &pagerduty)
        .replace("global:\n", &format!("global:\n  pagerduty_url: {receivers}/pagerduty\n"));
    for wait in ["group_wait: 30s", "group_wait: 10s", "group_interval: 5m"] {
        assert!(configuration.contains(wait), "{wait}");
        let (name, _) = wait.split_once(": ").expect("a setting");
        configuration = configuration.replace(wait, &format!("{name}: 1s"));
    }
    configuration
}

pub(crate) fn prometheus_configuration(target: &str, alertmanager: Option<&str>) -> String {
    let alerting = alertmanager.map_or(String::new(), |address| {
        format!("alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: [\"{address}\"]\n")
    });
    format!(
        "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\n  evaluation_interval: 500ms\n\
         rule_files: [\"*.rules.yml\"]\n{alerting}\
         scrape_configs:\n  - job_name: intent-classifier\n    static_configs:\n      - targets: [\"{target}\"]\n"
    )
}

/// The rules of the repository, sixty times faster.
pub(crate) fn fast_rules() -> Vec<(String, String)> {
    let fast = |(name, text): (String, String)| (name.replace(".yml", ".rules.yml"), sixty_times_faster(&text));
    rule_files().into_iter().map(fast).collect()
}

#[tokio::test]
async fn faults_of_a_real_server_are_seen_firing_told_and_resolved() {
    let (receivers, received) = receivers().await;
    let secrets = TempDir::new().expect("there is room for a folder");
    let alertmanager = Daemon::alertmanager(&alertmanager_configuration(&secrets, &receivers)).await;

    // A folder that should hold the encoder and holds nothing: two models that are configured cannot be loaded.
    let directory = TempDir::new().expect("there is room for a folder");
    let encoder = directory.path().join("models/encoder");
    fs::create_dir_all(&encoder).expect("it can be made");
    let port = free_port().to_string();
    let server = Server::start_in(directory, &[("PORT", &port)]);
    let target = format!("127.0.0.1:{port}");
    let prometheus =
        Daemon::prometheus(&prometheus_configuration(&target, Some(&alertmanager.address())), &fast_rules()).await;

    let unhealthy = r#"ALERTS{alertname="ModelUnhealthy", alertstate="firing", model="hybrid"}"#;
    prometheus.until(unhealthy, |rows| rows.len() == 1).await;
    let tells = |status: &'static str, alert: &'static str| {
        move |path: &str, body: &Value| {
            let title = body["attachments"][0]["title"].as_str().unwrap_or_default();
            path == "slack" && title.starts_with(status) && title.contains(alert)
        }
    };
    until_received(&received, "the warning in Slack", tells("FIRING", "ModelUnhealthy")).await;
    fs::remove_dir_all(&encoder).expect("it is there");
    server.signal("HUP");
    prometheus.until(unhealthy, <[_]>::is_empty).await;
    until_received(&received, "its end in Slack", tells("RESOLVED", "ModelUnhealthy")).await;
    let paged =
        received.lock().expect("no code panics while it holds this lock").iter().any(|(path, _)| *path == "pagerduty");
    assert!(!paged, "a warning wakes nobody");

    let down = format!(r#"ALERTS{{alertname="ServiceDown", alertstate="firing", instance="{target}"}}"#);
    drop(server);
    prometheus.until(&down, |rows| rows.len() == 1).await;
    let pages = |action: &'static str| {
        move |path: &str, body: &Value| {
            path == "pagerduty" && body["event_action"] == action && body["payload"]["class"] == "ServiceDown"
        }
    };
    until_received(&received, "the page", pages("trigger")).await;
    until_received(&received, "the same in Slack", tells("FIRING", "ServiceDown")).await;
    let _again = Server::with(&[("PORT", &port)]);
    prometheus.until(&down, <[_]>::is_empty).await;
    until_received(&received, "the end of the page", pages("resolve")).await;
}
