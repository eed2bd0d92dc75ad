//! Spans of requests, sent to a collector by OTLP.

use std::{fmt, sync::Arc};

use anyhow::Context as _;
use async_trait::async_trait;
use axum::{body::Bytes, http};
use opentelemetry::{
    propagation::{Extractor, TextMapPropagator},
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::runtime::{self, Runtime};
use tracing::{Span, Subscriber, level_filters::LevelFilter};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use crate::config::TraceSettings;

/// The target of all spans: no log line has it, so that spans cost nothing while no traces are wanted.
const TARGET: &str = "span";

/// Sends spans until it is dropped; what is left is sent then.
pub(crate) struct Traces(SdkTracerProvider);

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    /// Starts to send; `None` when no collector is configured.
    ///
    /// # Errors
    /// When the client cannot be built. A collector that is away is no error: spans are dropped meanwhile.
    pub(crate) fn start(settings: &TraceSettings) -> anyhow::Result<Option<Self>> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Client::new()?)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()
            .context("cannot send traces")?;
        let resource = Resource::builder()
            .with_service_name(env!("CARGO_PKG_NAME"))
            .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource)
            .build();
        // What goes on to other services is told there in the same way.
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        Ok(Some(Self(provider)))
    }

    /// Returns what takes spans from the program.
    pub(super) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(Targets::new().with_target(TARGET, LevelFilter::INFO))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Nobody is left to be told that the last spans are lost.
        let _ = self.0.shutdown();
    }
}

/// Makes a span a part of its caller's trace, when the request says which that is.
pub(crate) fn adopt(span: &Span, headers: &http::HeaderMap) {
    if span.is_disabled() || !headers.contains_key("traceparent") {
        return;
    }
    // A span that nobody traces has no place for a parent.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
}

/// Returns the trace that the current span is part of, for log lines.
pub(crate) fn current_trace_id() -> Option<String> {
    let span = Span::current();
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| context.trace_id().to_string())
}

struct Headers<'a>(&'a http::HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// An HTTP client on a runtime of its own: spans are sent from a thread that has none, also while the server's is busy.
#[derive(Clone, Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Arc<Runtime>,
}

impl Client {
    fn new() -> anyhow::Result<Self> {
        // The first to install one wins; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).thread_name("otlp").enable_all().build()?;
        Ok(Self { client: reqwest::Client::builder().build()?, runtime: Arc::new(runtime) })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}
