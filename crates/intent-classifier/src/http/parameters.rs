//! Parameters of paths and queries, read with care: what is wrong with one is a 422 that names it.

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{
    body::{field_in, shorten},
    error::{FieldError, Problem},
};

/// The one text in a path.
#[derive(Debug)]
pub(super) struct PathText(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Problem::invalid(vec![FieldError::new("path", "must be UTF-8 after percent-decoding")])),
        }
    }
}

/// The parameters of a query.
#[derive(Debug)]
pub(super) struct QueryParameters<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for QueryParameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                let text = rejection.body_text();
                // It begins with "Failed to deserialize query string: ", which the caller knows.
                let message = text.split_once(": ").map_or(text.as_str(), |(_, message)| message);
                let (field, message) = match message.split_once(": ") {
                    Some((field, message)) => (field, message),
                    None => (field_in(message).unwrap_or("query"), message),
                };
                Err(Problem::invalid(vec![FieldError::new(shorten(field), shorten(message))]))
            }
        }
    }
}
