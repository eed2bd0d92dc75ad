//! JSON bodies, read with care: the right status for each way of being wrong, and the field's name.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody, to_bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, IgnoredAny},
};
use serde_json::error::Category;
use serde_path_to_error::Segment;
use tokio::time::timeout;

use super::{
    App,
    error::{FieldError, Kind, Problem},
    metering::Meter,
};
use crate::config::InputSettings;

/// What is read of a refused body, so that its sender gets to read the answer; more ends the connection. In bytes.
const MAX_DISCARDED_BYTES: u64 = 32 * 1024 * 1024;
/// The longest field path and the longest message of a field, in characters: both may quote what was sent.
const MAX_QUOTED_CHARS: usize = 120;

/// A request body that can be read from JSON.
pub(super) trait JsonRequest: DeserializeOwned + Send {
    /// Returns the most bytes it may have.
    fn max_bytes(input: &InputSettings) -> usize;

    /// Returns how many texts it holds, for the rate limit.
    fn texts(&self) -> usize {
        1
    }
}

/// Reads a JSON body.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T: JsonRequest> FromRequest<Arc<App>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let limit_bytes = T::max_bytes(&app.input);
        let too_large = || Problem::new(Kind::BodyTooLarge, format!("the body may have at most {limit_bytes} bytes"));
        if body.size_hint().lower() > limit_bytes as u64 {
            discard(body, app.request_timeout).await;
            return Err(too_large());
        }
        if !is_json(&head.headers) {
            discard(body, app.request_timeout).await;
            return Err(Problem::new(
                Kind::UnsupportedMediaType,
                format!("found {}, expected `Content-Type: application/json`", content_type(&head.headers)),
            ));
        }
        let bytes = match timeout(app.request_timeout, to_bytes(body, limit_bytes)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(_)) => return Err(too_large()),
            Err(_) => {
                let limit_ms = app.request_timeout.as_millis();
                return Err(Problem::new(Kind::BodyTimeout, format!("the body must arrive within {limit_ms} ms")));
            }
        };
        let body: T = parse(&bytes)?;
        if let Some(meter) = head.extensions.get::<Meter>() {
            meter.take_more(app, body.texts()).await?;
        }
        Ok(Self(body))
    }
}

/// Parses a body, twice when it is wrong: only the slower parser knows the path of the field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // Structures can be read from arrays too; a body is an object.
    if bytes.trim_ascii_start().first().is_some_and(|&first| first != b'{') {
        return Err(match serde_json::from_slice::<IgnoredAny>(bytes) {
            Ok(_) => Problem::new(Kind::InvalidField, "the body is JSON, but not an object"),
            Err(error) => Problem::new(Kind::MalformedJson, shorten(&error.to_string())),
        });
    }
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, &error))
}

fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let message = error.to_string();
    let path = match serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_slice(bytes)) {
        Err(error) if error.path().iter().any(is_known) => Some(error.path().to_string()),
        _ => field_in(&message).map(str::to_owned),
    };
    let errors = path.map(|path| FieldError::new(shorten(&path), shorten(&message))).into_iter().collect();
    // A number that no type holds is well-formed.
    let is_well_formed = error.classify() == Category::Data || message.starts_with("number out of range");
    let kind = if is_well_formed { Kind::InvalidField } else { Kind::MalformedJson };
    Problem::new(kind, shorten(&message)).in_fields(errors)
}

/// Tells whether a part of a path names anything: what ends within a key does not.
fn is_known(segment: &Segment) -> bool {
    !matches!(segment, Segment::Unknown)
}

/// Returns the field that a message of serde is about when it has no path: one that is missing or stands there twice.
pub(super) fn field_in(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("missing field `").or_else(|| message.strip_prefix("duplicate field `"))?;
    rest.split('`').next()
}

/// Reads an optional field that may be left out and not be null, which could mean anything.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads an optional whole number, which JSON may write as `3` or as `3.0`.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    /// Above this, floating-point numbers leave whole ones out.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let is_whole = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(number);
    let whole = number.as_u64().or_else(|| number.as_f64().filter(is_whole).map(|number| number as u64));
    whole.map(Some).ok_or_else(|| D::Error::custom(format!("expected a whole number from 0 on, found `{number}`")))
}

/// Shortens what a message quotes of a request.
pub(super) fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn content_type(headers: &HeaderMap) -> String {
    match headers.get(header::CONTENT_TYPE) {
        Some(kind) => format!("`Content-Type: {}`", shorten(&String::from_utf8_lossy(kind.as_bytes()))),
        None => "no `Content-Type`".to_owned(),
    }
}

/// Reads what a client still sends before it listens; a connection closed on it would lose it the answer.
async fn discard(mut body: Body, limit: Duration) {
    if body.size_hint().lower() > MAX_DISCARDED_BYTES {
        return;
    }
    let all = async {
        let mut discarded_bytes = 0;
        while discarded_bytes <= MAX_DISCARDED_BYTES {
            match std::future::poll_fn(|context| std::pin::Pin::new(&mut body).poll_frame(context)).await {
                Some(Ok(frame)) => discarded_bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
                Some(Err(_)) | None => break,
            }
        }
    };
    // Whoever sends slower than this does without the answer.
    let _ = timeout(limit, all).await;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::{batch::BatchBody, classify::ClassifyBody};

    const VALID: &str = r#"{"text":"a\u00e9😀","user_id":"u","latency_requirement":"standard","latency_budget_ms":1.5e2,"top_k":3,"context":{"a":[1,{"b":null}]}}"#;

    proptest! {
        #[test]
        fn any_bytes_are_a_body_or_a_problem(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parse::<ClassifyBody>(&bytes).is_ok(), parse::<BatchBody>(&bytes).is_ok());
        }

        #[test]
        fn a_damaged_body_is_still_valid_or_a_problem_that_quotes_little(
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = VALID.as_bytes().to_vec();
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Err(problem) = parse::<ClassifyBody>(&bytes) {
                prop_assert!(problem.to_string().chars().count() <= MAX_QUOTED_CHARS + 1);
            }
        }
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        let is_taken = |top_k: &str| {
            let body = format!(r#"{{"text":"a","top_k":{top_k}}}"#);
            parse::<ClassifyBody>(body.as_bytes()).is_ok()
        };
        for (top_k, expected) in [
            ("3", true),
            ("3.0", true),
            ("3e0", true),
            ("null", true),
            ("3.5", false),
            ("-1", false),
            ("1e300", false),
            ("\"3\"", false),
        ] {
            assert_eq!(is_taken(top_k), expected, "{top_k}");
        }
    }

    #[test]
    fn the_undamaged_body_is_valid() {
        assert!(parse::<ClassifyBody>(VALID.as_bytes()).is_ok());
    }
}
