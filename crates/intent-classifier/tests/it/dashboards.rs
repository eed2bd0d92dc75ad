//! The dashboards of Grafana.

use std::{collections::BTreeSet, fs, process::Command};

use serde_json::{Value, json};

use crate::{
    alerts::{expressions, fast_rules, prometheus_configuration},
    metrics::{exported_names, family_name, family_names, mixed_load},
    program::repository,
    prometheus::Daemon,
    promql::metrics_in,
    server::Server,
};

/// Exported, and deliberately neither on a dashboard nor in an alert.
const NEITHER: [&str; 1] = [
    // Reserved address space says nothing of memory in use; it is there because every Prometheus client has it.
    "process_virtual_memory_bytes",
];

/// Panels that are empty on a server without what they are about.
const EMPTY_WITHOUT: [(&str, &str); 8] = [
    ("Rollout by step", "a rollout"),
    ("Rollout status", "a rollout"),
    ("Sample ratio", "an experiment"),
    ("Certificate", "TLS"),
    ("Dependencies", "dependencies"),
    ("Confidence and feedback", "feedback"),
    ("Refused and cancelled", "limits: at zero"),
    ("Suspicious texts", "suspicious texts: at zero"),
];

struct Query {
    dashboard: String,
    panel: String,
    expression: String,
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = repository().join("deploy/grafana/dashboards");
    let paths = fs::read_dir(folder).expect("the dashboards are there").map(|entry| entry.expect("an entry").path());
    let read = |path: std::path::PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&fs::read_to_string(&path).expect("UTF-8")).expect("JSON"))
    };
    let mut dashboards: Vec<(String, Value)> = paths.map(read).collect();
    dashboards.sort_by(|a, b| a.0.cmp(&b.0));
    dashboards
}

fn list<'a>(value: &'a Value, what: &str) -> &'a Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{what} are a list"))
}

fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"], "panels").iter().filter(|panel| panel["type"] != "row")
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("`{field}` of {value:#} is a text"))
}

fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for (name, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in list(&panel["targets"], "targets") {
                let expression = text(target, "expr").to_owned();
                queries.push(Query { dashboard: name.clone(), panel: text(panel, "title").to_owned(), expression });
            }
        }
    }
    assert!(queries.len() > 50);
    queries
}

/// Puts values where Grafana does.
fn filled(expression: &str) -> String {
    expression.replace("$__rate_interval", "5s").replace("$job", "intent-classifier").replace("$instance", ".+")
}

#[test]
fn the_dashboards_are_what_their_script_writes() {
    let output =
        Command::new(repository().join("deploy/grafana/build-dashboards")).arg("--check").output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names: Vec<String> = dashboards().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["feature-flags-and-experiments", "model-performance", "service-overview", "system-resources"]);
}

/// The rules of Grafana's dashboard-linter, and that runbooks are there.
#[test]
fn the_dashboards_keep_the_rules_of_the_linter() {
    let mut uids = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert!(uids.insert(text(&dashboard, "uid").to_owned()) && text(&dashboard, "uid").contains(&name), "{name}");
        assert_eq!(dashboard["editable"], false, "{name}: uneditable-dashboard");
        let variables = list(&dashboard["templating"]["list"], "variables");
        let variable = |of: &str| variables.iter().find(|variable| variable["name"] == of).expect("a variable");
        let source = variable("datasource");
        assert_eq!((&source["type"], &source["query"]), (&json!("datasource"), &json!("prometheus")), "{name}");
        for of in ["job", "instance"] {
            let variable = variable(of);
            assert_eq!(variable["datasource"]["uid"], "$datasource", "{name}: template-{of}-rule");
            assert_eq!(variable["refresh"], 2, "{name}: template-on-time-change-reload-rule");
            assert!(text(variable, "definition").starts_with("label_values("), "{name}: template-label-promql-rule");
        }
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"], "panels") {
            assert!(ids.insert(panel["id"].as_u64()), "{name}: ids are unique");
        }
        for panel in panels(&dashboard) {
            let title = text(panel, "title");
            assert!(
                !title.is_empty() && !text(panel, "description").is_empty(),
                "{name}: panel-title-description-rule"
            );
            assert_eq!(panel["datasource"]["uid"], "$datasource", "{name}, {title}: panel-datasource-rule");
            assert!(!text(&panel["fieldConfig"]["defaults"], "unit").is_empty(), "{name}, {title}: panel-units-rule");
            if let Some(runbook) = text(panel, "description").split("Runbook: ").nth(1) {
                assert!(repository().join(runbook.trim_end_matches('.')).is_file(), "{title}: {runbook}");
            }
            let targets = list(&panel["targets"], "targets");
            assert!(!targets.is_empty(), "{name}, {title}: panel-no-targets-rule");
            for target in targets {
                let expression = text(target, "expr");
                let is_recorded = expression.contains("job:");
                assert!(expression.contains(r#"job="$job""#), "{title}: target-job-rule: {expression}");
                let selects = is_recorded || expression.contains(r#"instance=~"$instance""#);
                assert!(selects, "{title}: target-instance-rule: {expression}");
                for counter in metrics_in(expression).iter().filter(|metric| metric.ends_with("_total")) {
                    let is_rated = expression.contains(&format!("rate({counter}"))
                        || expression.contains(&format!("increase({counter}"));
                    assert!(is_rated, "{title}: target-counter-agg-rule: {expression}");
                }
                let fixed = expression.contains("rate(") && !expression.contains("$__rate_interval");
                assert!(!fixed, "{title}: target-rate-interval-rule: {expression}");
            }
        }
    }
}

#[test]
fn dashboards_name_only_what_is_exported_and_everything_exported_is_looked_at() {
    let exported = exported_names();
    let mut used = BTreeSet::new();
    for query in queries() {
        for name in metrics_in(&query.expression) {
            let is_known = exported.contains(&name) || name.starts_with("job:") || name == "up";
            assert!(is_known, "`{name}` in `{}` of {}", query.panel, query.dashboard);
            used.insert(name);
        }
    }
    used.extend(expressions().iter().flat_map(|expression| metrics_in(expression)));
    for (_, dashboard) in dashboards() {
        for variable in list(&dashboard["templating"]["list"], "variables") {
            used.extend(variable["definition"].as_str().map(metrics_in).unwrap_or_default());
            // `label_values` names its metric first.
            let definition = variable["definition"].as_str().unwrap_or_default();
            let first = definition.trim_start_matches("label_values(").split(['{', ',']).next().unwrap_or_default();
            used.insert(first.to_owned());
        }
    }
    let families = family_names();
    let used: BTreeSet<String> = used.iter().map(|name| family_name(name, &families)).collect();
    for family in &families {
        let is_listed = NEITHER.contains(&family.as_str());
        assert_ne!(
            used.contains(family),
            is_listed,
            "`{family}` is on a dashboard, in an alert, or listed, and not both"
        );
    }
}

#[tokio::test]
async fn every_query_parses_and_returns_data_after_a_short_mixed_load() {
    let server = Server::start();
    let target = server.address().to_string();
    let prometheus = Daemon::prometheus(&prometheus_configuration(&target, None), &fast_rules()).await;
    prometheus.until("up", |rows| rows.iter().any(|(_, value)| *value == 1.0)).await;
    mixed_load(&server, 3).await;
    // Two scrapes later the rates know of the load.
    prometheus.until("sum(rate(http_requests_total[5s]))", |rows| rows.iter().any(|(_, rate)| *rate > 5.0)).await;
    for query in queries() {
        let (expression, panel) = (filled(&query.expression), &query.panel);
        if let Err(error) = prometheus.ask("/api/v1/format_query", &[("query", &expression)]).await {
            panic!("`{panel}` of {}: {error}", query.dashboard);
        }
        // A panel may need one more evaluation of a rule, or one more round of traffic.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        let is_excused = EMPTY_WITHOUT.iter().any(|(title, _)| title == panel);
        loop {
            let rows = prometheus.query(&expression).await;
            if is_excused || rows.iter().any(|(_, value)| value.is_finite()) {
                break;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "`{panel}` of {}: {expression} gives {rows:?}",
                query.dashboard
            );
            mixed_load(&server, 1).await;
        }
    }
}
