//! Entity tags: answers that have not changed are not sent again, and changes do not overwrite what nobody has seen
//! (RFC 9110, section 13).

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
};

use axum::{
    body::Bytes,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};

/// Names a state of a resource: `"REVISION-HASH"`. The revision tells changes made here apart, the hash everything else
/// that the answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntityTag(String);

impl EntityTag {
    /// Makes the tag of an answer that depends on nothing but `content`.
    pub(super) fn new(revision: u64, content: &impl Hash) -> Self {
        // Its keys are fixed, so that replicas of one version agree.
        let mut hasher = DefaultHasher::new();
        content.hash(&mut hasher);
        Self(format!("\"{revision}-{:016x}\"", hasher.finish()))
    }

    /// Tells whether the client has this state already.
    pub(super) fn is_known_to_client(&self, headers: &HeaderMap) -> bool {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        known
            .flat_map(|list| list.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0)
    }

    fn header_value(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a tag is visible ASCII")
    }
}

/// Answers with JSON and its tag; 304 without a body when the client has it already.
pub(super) fn json(headers: &HeaderMap, revision: u64, body: &impl Serialize) -> Response {
    let body = Bytes::from(serde_json::to_vec(body).expect("an answer is plain data"));
    tagged(headers, &EntityTag::new(revision, &body), body)
}

/// Answers with JSON that is written already.
pub(super) fn tagged(headers: &HeaderMap, tag: &EntityTag, body: Bytes) -> Response {
    let tag_header = (header::ETAG, tag.header_value());
    if tag.is_known_to_client(headers) {
        return (StatusCode::NOT_MODIFIED, [tag_header]).into_response();
    }
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([tag_header, kind], body).into_response()
}

/// Stands for a tag that was never given out: nothing has this revision.
const NEVER: u64 = u64::MAX;

/// The revision that the client has seen and wants changed, from `If-Match`; `None` when it does not care.
///
/// A tag that was never given out matches nothing, so that the change is refused as stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpectedRevision(pub(super) Option<u64>);

impl ExpectedRevision {
    fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::IF_MATCH) else { return Self(None) };
        let value = value.to_str().unwrap_or_default().trim();
        if value == "*" {
            return Self(None);
        }
        let content = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        // The revision alone will do, for those who type.
        let revision = content.and_then(|content| content.split('-').next()).and_then(|revision| revision.parse().ok());
        Self(Some(revision.unwrap_or(NEVER)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ExpectedRevision {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl IntoParams for ExpectedRevision {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The `ETag` of an earlier answer, or its revision quoted";
        vec![text_header("If-Match", description)]
    }
}

/// What a client has already, as `If-None-Match` says; for the description of operations only.
#[derive(Debug)]
pub(super) struct KnownTag;

impl IntoParams for KnownTag {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![text_header("If-None-Match", "The `ETag` of an earlier answer")]
    }
}

fn text_header(name: &str, description: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header).required(Required::False);
    header.description(Some(description)).schema(Some(schema)).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().expect("a header"))).collect()
    }

    #[test]
    fn a_tag_is_known_by_any_of_the_ways_to_say_it() {
        let tag = EntityTag::new(7, &"content");
        let EntityTag(text) = tag.clone();
        assert_ne!(tag, EntityTag::new(7, &"other"));
        assert_ne!(tag, EntityTag::new(8, &"content"));
        let known: [&[&str]; 5] = [&[&text], &["*"], &["\"a\"", &text], &[], &["\"7\""]];
        let weak = [format!("\"x\", W/{text}")];
        for (values, expected) in known.into_iter().zip([true, true, true, false, false]) {
            assert_eq!(tag.is_known_to_client(&with(header::IF_NONE_MATCH, values)), expected, "{values:?}");
        }
        assert!(tag.is_known_to_client(&with(header::IF_NONE_MATCH, &[&weak[0]])));
    }

    #[test]
    fn if_match_names_a_revision_or_matches_nothing() {
        let revision = |value: &str| ExpectedRevision::of(&with(header::IF_MATCH, &[value])).0;
        assert_eq!(revision("\"17-00000000deadbeef\""), Some(17));
        assert_eq!(revision(" \"0\" "), Some(0));
        assert_eq!(revision("*"), None);
        for wrong in ["17", "\"\"", "\"abc\"", "W/\"17\"", "\"1\", \"2\"", "\"-1\"", "\"99999999999999999999\""] {
            assert_eq!(revision(wrong), Some(NEVER), "{wrong}");
        }
        assert_eq!(ExpectedRevision::of(&HeaderMap::new()).0, None);
    }
}
