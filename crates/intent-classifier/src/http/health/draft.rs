//! The shape of draft-inadarei-api-health-check-06, for those who accept `application/health+json`.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::status::Status;

/// The media type of the draft.
const HEALTH_JSON: &str = "application/health+json";

/// A health answer in the shape of the draft.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Draft {
    /// `pass`, `warn` or `fail`.
    status: &'static str,
    /// The version of the interface.
    version: &'static str,
    release_id: &'static str,
    service_id: &'static str,
    /// Why the status is not `pass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<String>,
    /// Each check by `component:measurement`; the draft wants a list of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    checks: BTreeMap<String, [Check; 1]>,
}

/// One check in the shape of the draft.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    component_type: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_unit: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
}

impl Draft {
    /// Makes an answer without checks.
    pub(super) fn new(status: Status) -> Self {
        Self {
            status: word(status),
            version: "1",
            release_id: env!("CARGO_PKG_VERSION"),
            service_id: env!("CARGO_PKG_NAME"),
            output: None,
            checks: BTreeMap::new(),
        }
    }

    /// Adds a check.
    pub(super) fn add(&mut self, name: String, check: Check) {
        self.checks.insert(name, [check]);
    }
}

impl Check {
    /// Makes a check; `output` says why it does not pass.
    pub(super) fn of(component_type: &'static str, status: Status, output: Option<String>) -> Self {
        let output = output.filter(|_| word(status) != "pass");
        Self { component_type, status: word(status), observed_value: None, observed_unit: None, time: None, output }
    }

    /// Says how long the check took and when it was.
    pub(super) fn observe(&mut self, latency_ms: Option<f64>, seconds_ago: Option<f64>) {
        self.observed_value = latency_ms;
        self.observed_unit = latency_ms.map(|_| "ms");
        self.time = seconds_ago.map(|seconds| {
            let at = SystemTime::now() - Duration::from_secs_f64(seconds);
            humantime::format_rfc3339_millis(at).to_string()
        });
    }
}

/// What nobody wants, or loads when it is needed, is in order.
fn word(status: Status) -> &'static str {
    match status {
        Status::Healthy | Status::NotConfigured | Status::NotLoaded => "pass",
        Status::Degraded => "warn",
        Status::Unhealthy => "fail",
    }
}

/// Answers in the shape that is accepted: our own unless the draft's is named.
pub(super) fn answer(
    headers: &HeaderMap,
    code: StatusCode,
    own: &impl Serialize,
    draft: impl FnOnce() -> Draft,
) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let wants_draft = accept.split([',', ';']).any(|kind| kind.trim() == HEALTH_JSON);
    let mut response = if wants_draft {
        let mut response = Json(draft()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(HEALTH_JSON));
        response
    } else {
        Json(own).into_response()
    };
    *response.status_mut() = code;
    // An answer that is kept somewhere would hide a change.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}
