//! Where traces go.

use confique::Config;

/// Where traces go. Requests that come with a W3C `traceparent` become part of their caller's trace.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct TraceSettings {
    /// Base address of a collector that takes OTLP over HTTP, for example `http://localhost:4318`. Unset: no traces.
    #[config(env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    #[config(validate = http_address)]
    pub(crate) otlp_endpoint: Option<String>,

    /// Share of the requests that are traced when their caller has not decided, 0 to 1.
    #[config(env = "TRACE_SAMPLE_RATIO", default = 1.0)]
    #[config(validate((0.0..=1.0).contains(sample_ratio), "the share of traced requests must be 0 to 1"))]
    pub(crate) sample_ratio: f64,
}

fn http_address(address: &impl AsRef<str>) -> Result<(), &'static str> {
    let is_http = reqwest::Url::parse(address.as_ref()).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_http { Ok(()) } else { Err("expected an address such as `http://localhost:4318`") }
}
