//! What Prometheus scrapes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    exposition::{Page, Series},
    program::program,
    server::Server,
};

const CLASSIFY: &str = "/api/v1/intents/classify";
const BATCH: &str = "/api/v1/intents/classify/batch";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0";

async fn scrape(server: &Server) -> Page {
    Page::parse(&page(server, "text/plain").await)
}

async fn page(server: &Server, accept: &str) -> String {
    let response = server.get("/metrics").header("accept", accept).send().await.expect("the server answers");
    assert_eq!(response.status(), 200);
    response.text().await.expect("text")
}

/// Every metric as the program declares it, by the name that is exported.
fn declared() -> BTreeMap<String, Value> {
    let output = program(Path::new("/")).args(["metrics", "--format", "json"]).output().expect("the program runs");
    let declarations: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let name = |declaration: &Value| declaration["name"].as_str().expect("a name").to_owned();
    declarations.into_iter().map(|declaration| (name(&declaration), declaration)).collect()
}

/// The names of all metrics as they are declared; a histogram's has no suffix.
pub(crate) fn family_names() -> Vec<String> {
    declared().into_keys().collect()
}

/// The names of all series that queries may use.
pub(crate) fn exported_names() -> BTreeSet<String> {
    let names = |(name, declaration): (String, Value)| match declaration["kind"].as_str() {
        Some("histogram") => ["_bucket", "_sum", "_count"].iter().map(|suffix| format!("{name}{suffix}")).collect(),
        _ => vec![name],
    };
    declared().into_iter().flat_map(names).collect()
}

/// The metric that a series belongs to.
pub(crate) fn family_name(series: &str, families: &[String]) -> String {
    let families = || families.iter().filter(|family| series.starts_with(family.as_str()));
    families().max_by_key(|family| family.len()).cloned().unwrap_or_default()
}

/// Sends requests that end in every way a client can bring about.
pub(crate) async fn mixed_load(server: &Server, rounds: usize) {
    let post = |path: &str, body: Value| {
        let request = server.post(path).json(&body);
        async move { drop(request.send().await.expect("the server answers")) }
    };
    let get = |path: &str| {
        let request = server.get(path);
        async move { drop(request.send().await.expect("the server answers")) }
    };
    for round in 0..rounds {
        let texts: Vec<String> = (0..8).map(|text| format!("refund number {round} {text}")).collect();
        let answered = (0..8).map(|_| post(CLASSIFY, json!({"text": "I want my money back!"})));
        tokio::join!(
            join_all(answered),
            post(BATCH, json!({"texts": texts})),
            post(CLASSIFY, json!({"text": ""})),
            post(CLASSIFY, json!({"txt": "refund"})),
            get("/no/such/path"),
            get(CLASSIFY),
            get("/health/ready"),
        );
    }
}

#[tokio::test]
async fn exactly_the_declared_metrics_are_exported_with_the_declared_labels() {
    let server = Server::start();
    mixed_load(&server, 1).await;
    let (page, declared) = (scrape(&server).await, declared());
    let exported: BTreeMap<&str, &str> = page.families.iter().map(|(name, kind)| (&**name, &**kind)).collect();
    let expected: BTreeMap<&str, &str> =
        declared.iter().map(|(name, declaration)| (&**name, declaration["kind"].as_str().expect("a kind"))).collect();
    assert_eq!(exported, expected);

    for series in page.samples.keys() {
        let family = family_of(series, &page);
        let labels = declared[family]["labels"].as_object().expect("labels");
        let found: BTreeSet<&str> = series.labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
        assert_eq!(found, labels.keys().map(String::as_str).collect(), "{series:?}");
        for (label, values) in labels {
            if let Some(values) = values.as_array() {
                assert!(values.iter().any(|value| *value == *series.labels[label]), "{label} of {series:?}");
            }
        }
    }
}

fn family_of<'a>(series: &Series, page: &'a Page) -> &'a str {
    let names = ["", "_bucket", "_sum", "_count"].into_iter().filter_map(|end| series.name.strip_suffix(end));
    names
        .filter_map(|name| page.families.get_key_value(name))
        .map(|(name, _)| name.as_str())
        .next()
        .unwrap_or_else(|| panic!("{series:?} has no family"))
}

#[tokio::test]
async fn every_series_with_known_labels_is_there_at_zero_from_the_first_scrape() {
    let server = Server::start();
    let (first, declared) = (scrape(&server).await, declared());
    for (name, declaration) in &declared {
        let kind = declaration["kind"].as_str().expect("a kind");
        let suffix = if kind == "histogram" { "_count" } else { "" };
        let there = first.samples.keys().filter(|series| series.name == format!("{name}{suffix}")).count();
        let is_absent_for_a_reason =
            ["tls_certificate_expiry_timestamp_seconds", "experiment_sample_ratio_p_value"].contains(&name.as_str());
        assert!(there > 0 || is_absent_for_a_reason, "no series of `{name}`");
    }
    for (name, labels) in [
        ("http_requests_total", &[("method", "POST"), ("endpoint", CLASSIFY), ("status", "500")][..]),
        ("http_requests_cancelled_total", &[("method", "POST"), ("endpoint", CLASSIFY)]),
        ("http_request_duration_seconds_count", &[("method", "POST"), ("endpoint", BATCH)]),
        ("intent_classification_requests_total", &[("intent", "refund"), ("model", "rules"), ("status", "ok")]),
        ("intent_classification_requests_total", &[("intent", "none"), ("model", "none"), ("status", "overloaded")]),
        ("model_selection_total", &[("model", "distilbert"), ("reason", "fallback")]),
        ("model_fallbacks_total", &[("from", "hybrid"), ("to", "linear"), ("reason", "timed out")]),
        ("feature_flag_usage_total", &[("flag_name", "quality_mode"), ("enabled", "true")]),
        ("cache_requests_total", &[("layer", "redis"), ("result", "error")]),
        ("feedback_total", &[("type", "correction"), ("result", "spooled")]),
        ("rate_limited_requests_total", &[("scope", "ip")]),
        ("adversarial_inputs_total", &[("kind", "homoglyphs")]),
        ("feedback_spool_entries", &[]),
        ("read_only_mode", &[]),
        ("dependency_up", &[("dependency", "postgres")]),
        ("intent_classifier_model_health", &[("model", "hybrid")]),
    ] {
        assert_eq!(first.value(name, labels), Some(0.0), "{name} {labels:?}");
    }
    assert_eq!(first.value("intent_classifier_model_health", &[("model", "rules")]), Some(1.0));
    assert_eq!(first.value("intent_classifier_ready", &[]), Some(1.0));
}

#[tokio::test]
async fn requests_are_counted_by_route_and_decisions_by_intent() {
    let server = Server::start();
    server.post_json(CLASSIFY, &json!({"text": "refund"})).await;
    server.post_json(CLASSIFY, &json!({"text": "refund"})).await;
    server.post_json(CLASSIFY, &json!({"text": ""})).await;
    server.get("/no/such/path").send().await.expect("the server answers");
    let page = scrape(&server).await;
    let classify = [("method", "POST"), ("endpoint", CLASSIFY)];
    for (name, labels, expected) in [
        ("http_requests_total", &[classify[0], classify[1], ("status", "200")][..], 2.0),
        ("http_requests_total", &[classify[0], classify[1], ("status", "422")], 1.0),
        ("http_requests_total", &[("method", "GET"), ("endpoint", "unmatched"), ("status", "404")], 1.0),
        ("http_request_duration_seconds_count", &classify, 3.0),
        ("http_requests_active", &[], 1.0),
        ("intent_classification_requests_total", &[("intent", "refund"), ("model", "rules"), ("status", "ok")], 2.0),
        ("model_selection_total", &[("model", "rules"), ("reason", "confident")], 1.0),
        ("model_selection_total", &[("model", "rules"), ("reason", "cached")], 1.0),
        ("model_confidence_count", &[("model", "rules")], 2.0),
        ("model_inference_duration_seconds_count", &[("model", "rules")], 1.0),
        ("cache_requests_total", &[("layer", "memory"), ("result", "hit")], 1.0),
        ("cache_requests_total", &[("layer", "memory"), ("result", "miss")], 1.0),
        ("feature_flag_usage_total", &[("flag_name", "caching"), ("enabled", "true")], 2.0),
        ("feature_flag_usage_total", &[("flag_name", "distilbert_model"), ("enabled", "false")], 2.0),
        ("experiment_decisions_total", &[("group", "control"), ("strategy", "control")], 2.0),
    ] {
        assert_eq!(page.value(name, labels), Some(expected), "{name} {labels:?}");
    }
    assert!(page.value("http_connections_active", &[]) >= Some(1.0));
    assert!(page.value("process_resident_memory_bytes", &[]) > Some(1e6));
    assert!(page.value("process_memory_limit_bytes", &[]) > page.value("process_resident_memory_bytes", &[]));
}

#[tokio::test]
async fn under_load_every_request_ends_in_exactly_one_way() {
    let server = Server::start();
    let (rounds, each) = (20, 14);
    let (load, scrapes) = tokio::join!(mixed_load(&server, rounds), async {
        let mut during = Vec::new();
        for _ in 0..10 {
            during.push(scrape(&server).await);
        }
        during
    });
    let () = load;
    for page in scrapes {
        let ended = page.sum("http_requests_total", &[]) + page.sum("http_requests_cancelled_total", &[]);
        let received = page.sum("http_requests_received_total", &[]);
        assert!(ended <= received, "nothing ends before it begins: {ended} of {received}");
    }
    let page = scrape(&server).await;
    let by_class = |classes: &[u8]| -> f64 {
        let all = page.samples.iter().filter(|(series, _)| series.name == "http_requests_total");
        all.filter(|(series, _)| classes.contains(&series.labels["status"].as_bytes()[0])).map(|(_, value)| value).sum()
    };
    let (answered, rejected, failed) = (by_class(b"23"), by_class(b"4"), by_class(b"5"));
    let cancelled = page.sum("http_requests_cancelled_total", &[]);
    // The scrape that tells has been received and is not answered yet.
    let active = page.value("http_requests_active", &[]).expect("it is exported");
    assert_eq!(page.sum("http_requests_received_total", &[]), answered + rejected + failed + cancelled + active);
    assert_eq!((rejected, failed, cancelled, active), (4.0 * rounds as f64, 0.0, 0.0, 1.0));
    assert_eq!(answered, ((each - 4) * rounds + 10) as f64);
    // Eight single texts and eight of a batch in each round.
    assert_eq!(page.sum("intent_classification_requests_total", &[]), 16.0 * rounds as f64);
    assert_eq!(page.sum("model_selection_total", &[]), 16.0 * rounds as f64);
}

#[tokio::test]
async fn both_formats_say_the_same_and_each_goes_to_those_who_accept_it() {
    let server = Server::start();
    mixed_load(&server, 1).await;
    for (accept, content_type) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPEN_METRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    ] {
        let response = server.get("/metrics").header("accept", accept).send().await.expect("the server answers");
        assert_eq!(response.headers()["content-type"], content_type);
        assert_eq!(response.headers()["vary"], "accept");
        let text = response.text().await.expect("text");
        assert_eq!(text.ends_with("# EOF\n"), accept == OPEN_METRICS);
    }
    let classic = Page::parse(&page(&server, "text/plain").await);
    let open = Page::parse(&page(&server, OPEN_METRICS).await);
    assert_eq!(classic.samples.keys().collect::<Vec<_>>(), open.samples.keys().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_parsers_of_the_python_client_read_every_line() {
    let server = Server::start();
    mixed_load(&server, 1).await;
    let samples = scrape(&server).await.samples.len();
    for (accept, parser) in
        [("text/plain", "prometheus_client.parser"), (OPEN_METRICS, "prometheus_client.openmetrics.parser")]
    {
        let script = format!(
            "import sys\nfrom {parser} import text_string_to_metric_families as parse\n\
             print(sum(len(family.samples) for family in parse(sys.stdin.read())))"
        );
        let read = filter(Command::new("/usr/bin/python3").args(["-c", &script]), &page(&server, accept).await);
        assert_eq!(read.trim(), samples.to_string(), "{parser}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_to_object_to() {
    let server = Server::start();
    mixed_load(&server, 1).await;
    let objections = filter(Command::new("promtool").args(["check", "metrics"]), &page(&server, "text/plain").await);
    assert_eq!(objections, "");
}

/// Runs a program of `scripts/install-system-packages test` on an input; returns its output.
fn filter(command: &mut Command, input: &str) -> String {
    let name = command.get_program().to_owned();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name:?}: {error}; run `scripts/install-system-packages test`"));
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("the program ends");
    writer.join().expect("the writer does not panic").expect("the program reads its input");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name:?} says {stdout}{stderr}");
    format!("{stdout}{stderr}")
}
