//! The name of a request, in its answer, its header and its log lines.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use uuid::Uuid;

/// Carries the id, both ways.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Names one request. A caller's own UUID is kept, so that a request can be followed through several services; anything
/// else is replaced by a new UUIDv7, which sorts by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct RequestId(Uuid);

impl RequestId {
    /// Makes a new one.
    pub(crate) fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Takes the caller's UUID, or makes a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers
            .get(X_REQUEST_ID)
            .and_then(|value| Uuid::try_parse_ascii(value.as_bytes()).ok())
            .map_or_else(Self::new, Self)
    }

    /// Returns the id itself.
    pub(crate) fn uuid(self) -> Uuid {
        self.0
    }

    /// Returns the value of the header.
    pub(super) fn header_value(self) -> HeaderValue {
        let mut buffer = Uuid::encode_buffer();
        HeaderValue::from_str(self.0.hyphenated().encode_lower(&mut buffer)).expect("a UUID is visible ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
