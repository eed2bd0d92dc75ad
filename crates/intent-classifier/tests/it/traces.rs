//! Spans as a collector gets them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;

use crate::server::Server;

const CLASSIFY: &str = "/api/v1/intents/classify";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";

/// What was exported.
type Received = Arc<Mutex<Vec<ExportTraceServiceRequest>>>;

/// Takes OTLP over HTTP, and refuses what is not protobuf of the right kind.
async fn collector() -> (String, Received) {
    async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        let export = ExportTraceServiceRequest::decode(body).expect("it is an export of traces");
        received.lock().expect("no code panics while it holds this lock").push(export);
        ExportTraceServiceResponse::default().encode_to_vec()
    }
    let received = Received::default();
    let router: Router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("there is a free port");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, received)
}

/// Stops the server, which sends what it has, and returns all spans.
async fn spans_of(mut server: Server, received: &Received) -> Vec<Span> {
    server.signal("TERM");
    assert!(server.ended().await.success());
    let exports = received.lock().expect("no code panics while it holds this lock").clone();
    let resources = exports.into_iter().flat_map(|export| export.resource_spans);
    let mut spans = Vec::new();
    for of_resource in resources {
        let resource = of_resource.resource.expect("it says who sends");
        assert_eq!(attributes(&resource.attributes)["service.name"], "intent-classifier");
        spans.extend(of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans));
    }
    spans
}

fn attributes(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    match (found.next(), found.next()) {
        (Some(span), None) => span,
        other => panic!("one span `{name}` expected, found {other:#?} in {spans:#?}"),
    }
}

#[tokio::test]
async fn a_request_is_part_of_its_callers_trace_and_shows_where_its_time_went() {
    let (address, received) = collector().await;
    let server = Server::with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]);
    let request = server.post(CLASSIFY).header("traceparent", format!("00-{TRACE_ID}-{PARENT_ID}-01"));
    let response = request.json(&json!({"text": "refund please"})).send().await.expect("the server answers");
    assert_eq!(response.status(), 200);
    let line = server.wait_for_log("classified");
    assert_eq!(line["trace_id"], TRACE_ID, "the log line leads to the trace");
    server.get("/health/ready").send().await.expect("the server answers");

    let spans = spans_of(server, &received).await;
    let request = named(&spans, "POST /api/v1/intents/classify");
    assert_eq!((hex(&request.trace_id).as_str(), hex(&request.parent_span_id).as_str()), (TRACE_ID, PARENT_ID));
    assert_eq!(request.kind, SpanKind::Server as i32);
    let found = attributes(&request.attributes);
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", CLASSIFY),
        ("http.response.status_code", "200"),
        ("request_id", line["request_id"].as_str().expect("it has an id")),
    ] {
        assert_eq!(found.get(name).map(String::as_str), Some(value), "{name} of {found:?}");
    }
    let cache = named(&spans, "cache");
    let infer = named(&spans, "infer");
    assert_eq!((&cache.parent_span_id, &infer.parent_span_id), (&request.span_id, &cache.span_id));
    assert_eq!(attributes(&infer.attributes)["model"], "rules");
    for span in [cache, infer] {
        assert_eq!(hex(&span.trace_id), TRACE_ID);
        assert!(span.start_time_unix_nano >= request.start_time_unix_nano, "{span:?}");
        assert!(span.end_time_unix_nano <= request.end_time_unix_nano, "{span:?}");
    }
    let all: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert!(!all.iter().any(|name| name.contains("health")), "probes are not traced: {all:?}");
    let everything = format!("{spans:?}");
    assert!(!everything.contains("refund please"), "no span holds a text");
}

#[tokio::test]
async fn a_request_without_a_trace_begins_one_and_a_caller_may_decide_against_it() {
    let (address, received) = collector().await;
    let server = Server::with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]);
    let ask = |traceparent: Option<String>| {
        let mut request = server.post(CLASSIFY).json(&json!({"text": "refund"}));
        if let Some(traceparent) = traceparent {
            request = request.header("traceparent", traceparent);
        }
        request.send()
    };
    for traceparent in [None, Some(format!("00-{TRACE_ID}-{PARENT_ID}-00")), Some("nonsense".to_owned())] {
        assert_eq!(ask(traceparent).await.expect("the server answers").status(), 200);
    }
    let spans = spans_of(server, &received).await;
    let requests: Vec<&Span> = spans.iter().filter(|span| span.kind == SpanKind::Server as i32).collect();
    // The one without a header, and the one whose header says nothing.
    assert_eq!(requests.len(), 2, "{requests:#?}");
    assert!(requests.iter().all(|span| span.parent_span_id.is_empty() && hex(&span.trace_id) != TRACE_ID));
    let failed = |span: &Span| span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32);
    assert!(!requests.iter().any(|span| failed(span)));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_no_answer() {
    let away = format!("http://127.0.0.1:{}", crate::postgres::free_port());
    let mut server = Server::with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &away)]);
    assert_eq!(server.post_json(CLASSIFY, &json!({"text": "refund"})).await.status(), 200);
    server.signal("TERM");
    assert!(server.ended().await.success());
}

#[test]
fn an_address_that_is_none_stops_the_start() {
    let mut program = crate::program::program(Path::new("/"));
    let output = program.env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317").output().expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("OTEL_EXPORTER_OTLP_ENDPOINT") || stderr.contains("otlp_endpoint"), "{stderr}");
}

/// A server with tiny models of random weights, which is sent one text that the rules are not sure of.
#[tokio::test]
async fn a_trace_shows_the_waiting_for_the_inference_threads_and_the_tokenising() {
    let (address, received) = collector().await;
    let folder = tempfile::TempDir::new().expect("there is room for a folder");
    crate::tiny_models::write(&folder.path().join("models"));
    let server = Server::start_in(folder, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address), ("PREWARM_MODELS", "true")]);
    let body = json!({"text": "hi there", "latency_budget_ms": 60_000});
    assert_eq!(server.post_json(CLASSIFY, &body).await.status(), 200);
    shows_every_stage(&spans_of(server, &received).await, "zero_shot");
}

#[tokio::test]
#[ignore = "needs the encoder and the trained default pack"]
async fn real_models_show_every_stage_in_a_trace() {
    let (address, received) = collector().await;
    let of = |variable: &str| std::env::var(variable).expect("`make test-real` says where the models are");
    let (models, encoder) = (of("MODEL_DIR"), of("ENCODER_DIR"));
    let pack = crate::program::repository().join("packs/prompt-tasks");
    let pack = pack.to_str().expect("UTF-8");
    let server = Server::with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &address),
        ("MODEL_DIR", &models),
        ("ENCODER_DIR", &encoder),
        ("INTENT_PACK", pack),
    ]);
    // Neither rules nor n-grams are sure of it.
    let body = json!({"text": "something about bananas and trains maybe", "latency_budget_ms": 60_000});
    assert_eq!(server.post_json(CLASSIFY, &body).await.status(), 200);
    shows_every_stage(&spans_of(server, &received).await, "hybrid");
}

/// Expects a request that waited for an inference thread, where `model` computed.
fn shows_every_stage(spans: &[Span], model: &str) {
    let (cache, queue, tokenise) = (named(spans, "cache"), named(spans, "queue"), named(spans, "tokenise"));
    assert_eq!(queue.parent_span_id, cache.span_id);
    let mut infer = spans.iter().filter(|span| span.name == "infer" && span.parent_span_id == cache.span_id);
    let infer = infer.find(|span| attributes(&span.attributes)["model"] == model);
    let infer = infer.unwrap_or_else(|| panic!("`{model}` was not asked: {spans:#?}"));
    assert_eq!(tokenise.parent_span_id, infer.span_id);
    assert!(queue.end_time_unix_nano <= tokenise.start_time_unix_nano, "{queue:?} {tokenise:?}");
    assert!(tokenise.end_time_unix_nano <= infer.end_time_unix_nano, "{tokenise:?} {infer:?}");
}
