//! Names of users, wherever a request has one: in bodies, queries and paths.

use axum::{extract::FromRequestParts, http::request::Parts};
use utoipa::{
    IntoParams,
    openapi::{
        Required,
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use super::{
    error::{FieldError, Problem},
    parameters::PathText,
};

/// The longest, in characters.
const MAX_CHARS: usize = 256;

/// The user whom a path names.
#[derive(Debug)]
pub(super) struct UserIdOfPath(pub(super) String);

/// Notes what is wrong with a user's name.
pub(super) fn check_user_id(user_id: Option<&str>, errors: &mut Vec<FieldError>) {
    let Some(user_id) = user_id else { return };
    if user_id.trim().is_empty() || user_id.chars().count() > MAX_CHARS || user_id.chars().any(char::is_control) {
        let message = format!(
            "must have 1 to {MAX_CHARS} characters, none of them control characters and not all of them white space"
        );
        errors.push(FieldError::new("user_id", message));
    }
}

/// Refuses a user's name that [`check_user_id`] finds wrong.
///
/// # Errors
/// 422 that names the field.
pub(super) fn must_be_user_id(user_id: Option<&str>) -> Result<(), Problem> {
    let mut errors = Vec::new();
    check_user_id(user_id, &mut errors);
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
}

/// Describes a user's name as [`check_user_id`] demands it.
pub(super) fn user_id_schema() -> Schema {
    schema(Type::String.into())
}

/// Describes the same where null says that there is none.
pub(super) fn optional_user_id_schema() -> Schema {
    schema(SchemaType::from_iter([Type::String, Type::Null]))
}

fn schema(schema_type: SchemaType) -> Schema {
    const CONTROL: &str = r"\u0000-\u001f\u007f-\u009f";
    const SPACE: &str = r"\u0020\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
    let pattern = format!("^[^{CONTROL}]*[^{CONTROL}{SPACE}][^{CONTROL}]*$");
    let object = ObjectBuilder::new().schema_type(schema_type).min_length(Some(1)).max_length(Some(MAX_CHARS));
    Schema::Object(object.pattern(Some(pattern)).build())
}

impl<S: Send + Sync> FromRequestParts<S> for UserIdOfPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathText(user_id) = PathText::from_request_parts(parts, state).await?;
        must_be_user_id(Some(&user_id))?;
        Ok(Self(user_id))
    }
}

impl IntoParams for UserIdOfPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter =
            ParameterBuilder::new().name("user_id").parameter_in(ParameterIn::Path).required(Required::True);
        let parameter = parameter.description(Some("The user")).example(Some("user123".into()));
        vec![parameter.schema(Some(user_id_schema())).build()]
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::meta::Regex;

    use super::*;

    #[test]
    fn the_description_says_what_is_checked() {
        let Schema::Object(object) = user_id_schema() else { panic!("a name is a text") };
        let pattern = Regex::new(object.pattern.as_deref().expect("it has a pattern")).expect("a regular expression");
        let is_described = |name: &str| pattern.is_match(name) && (1..=MAX_CHARS).contains(&name.chars().count());
        let of_one = ('\0'..=char::MAX).map(String::from);
        let longer = ["", "  ", " a", "a ", "a\u{3000}b", "\u{2003}\u{3000}", "a\nb"].map(str::to_owned);
        let of_limit = [MAX_CHARS, MAX_CHARS + 1].map(|chars| "ü".repeat(chars));
        for name in of_one.chain(longer).chain(of_limit) {
            assert_eq!(is_described(&name), must_be_user_id(Some(&name)).is_ok(), "{name:?}");
        }
        assert!(must_be_user_id(None).is_ok());
    }
}
