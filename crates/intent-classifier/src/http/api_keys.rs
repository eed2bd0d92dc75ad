//! `/api/v1/api-keys`: keys for programs.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    App,
    body::{JsonBody, JsonRequest},
    caller::Caller,
    error::{ApiKeyProblems, FieldError, Kind, NewApiKeyProblems, Problem, StorageProblems},
    time::Timestamp,
};
use crate::{
    auth::{NewKey, Scope},
    config::InputSettings,
    storage::{ApiKey, NewApiKey},
};

/// The longest name of a key, in characters.
const MAX_NAME_CHARS: usize = 100;
/// The largest body, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "support desk", "scopes": ["classify", "feedback"]}))]
pub(crate) struct NewApiKeyBody {
    /// What it is for; for people. No control characters.
    #[schema(
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000-\u001f\u007f-\u009f]*$"
    )]
    name: String,
    /// What it allows: any of `classify`, `feedback`, `flags:read`, `flags:write`, `admin`.
    #[schema(inline, schema_with = scopes_schema)]
    scopes: Vec<String>,
}

/// A key that was made.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreatedApiKey {
    /// The key itself. It is shown this once: only its hash is kept.
    #[schema(example = "ick_0199d2f45b7c7cc398c4dc0c0c07398f_…")]
    key: String,
    #[serde(flatten)]
    listed: ListedApiKey,
}

/// All keys.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ApiKeyList {
    /// The oldest first; those that are no longer valid included.
    api_keys: Vec<ListedApiKey>,
}

/// What is known of a key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListedApiKey {
    /// Names it in lists and logs.
    id: Uuid,
    /// What it is for.
    #[schema(example = "support desk")]
    name: String,
    /// What it allows.
    scopes: Vec<String>,
    /// When it was made.
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    created_at: Timestamp,
    /// Who made it.
    #[schema(example = "token:alice")]
    created_by: String,
    /// When it stopped to be valid; absent while it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, nullable = false)]
    revoked_at: Option<Timestamp>,
}

/// A key that is no longer valid.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RevokedApiKey {
    /// Its id.
    id: Uuid,
    /// Always `revoked`.
    #[schema(example = "revoked")]
    status: &'static str,
}

/// Makes a key.
#[utoipa::path(
    post, path = "/api/v1/api-keys", tag = "access", request_body = NewApiKeyBody,
    responses((status = 201, body = CreatedApiKey), NewApiKeyProblems)
)]
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    JsonBody(body): JsonBody<NewApiKeyBody>,
) -> Result<(StatusCode, Json<CreatedApiKey>), Problem> {
    body.check()?;
    let NewKey { id, key, hash } = NewKey::generate();
    let created_by = caller.to_string();
    let stored = NewApiKey { id, name: &body.name, hash: &hash, scopes: &body.scopes, created_by: &created_by };
    app.storage.create_api_key(stored).await?;
    take_note(&app).await;
    info!(%id, name = body.name, created_by, "API key created");
    let created_at = Timestamp(SystemTime::now());
    let NewApiKeyBody { name, scopes } = body;
    let listed = ListedApiKey { id, name, scopes, created_at, created_by, revoked_at: None };
    Ok((StatusCode::CREATED, Json(CreatedApiKey { key, listed })))
}

/// Lists all keys, without what would let anybody use them.
#[utoipa::path(
    get, path = "/api/v1/api-keys", tag = "access",
    responses((status = 200, body = ApiKeyList), StorageProblems)
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<ApiKeyList>, Problem> {
    let api_keys = app.storage.api_keys().await?.into_iter().map(ListedApiKey::from).collect();
    Ok(Json(ApiKeyList { api_keys }))
}

/// Ends the validity of a key, on every replica within a second.
#[utoipa::path(
    delete, path = "/api/v1/api-keys/{id}", tag = "access", params(("id" = Uuid, Path, description = "Its id")),
    responses((status = 200, body = RevokedApiKey), ApiKeyProblems)
)]
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<RevokedApiKey>, Problem> {
    let unknown = || Problem::new(Kind::NotFound, "there is no valid API key with this id; the list names all");
    let id = Uuid::try_parse(&id).map_err(|_| unknown())?;
    if !app.storage.revoke_api_key(id).await? {
        return Err(unknown());
    }
    take_note(&app).await;
    info!(%id, revoked_by = %caller, "API key revoked");
    Ok(Json(RevokedApiKey { id, status: "revoked" }))
}

/// Lets a change be in force here when it is answered; other replicas hear of it within a second.
async fn take_note(app: &App) {
    if let Some(api_keys) = app.authenticator.api_keys() {
        api_keys.read_now().await;
    }
}

impl NewApiKeyBody {
    fn check(&self) -> Result<(), Problem> {
        let mut errors = Vec::new();
        let chars = self.name.chars().count();
        if self.name.trim().is_empty() || chars > MAX_NAME_CHARS || self.name.chars().any(char::is_control) {
            let message = format!("must have 1 to {MAX_NAME_CHARS} characters, none of them control characters");
            errors.push(FieldError::new("name", message));
        }
        if self.scopes.is_empty() || self.scopes.len() > Scope::ALL.len() {
            errors.push(FieldError::new("scopes", format!("must have 1 to {} scopes", Scope::ALL.len())));
        }
        for (index, scope) in self.scopes.iter().enumerate() {
            if Scope::from_name(scope).is_none() {
                let known = Scope::ALL.map(|scope| format!("`{scope}`")).join(", ");
                errors.push(FieldError::new(format!("scopes[{index}]"), format!("must be one of {known}")));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid(errors)) }
    }
}

impl JsonRequest for NewApiKeyBody {
    fn max_bytes(_: &InputSettings) -> usize {
        MAX_BODY_BYTES
    }
}

impl From<ApiKey> for ListedApiKey {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            name: key.name,
            scopes: key.scopes,
            created_at: Timestamp(key.created_at),
            created_by: key.created_by,
            revoked_at: key.revoked_at.map(Timestamp),
        }
    }
}

fn scopes_schema() -> utoipa::openapi::schema::Schema {
    use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
    let scope = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(Scope::ALL.map(Scope::as_str)));
    let scopes = ArrayBuilder::new().items(scope);
    Schema::Array(scopes.min_items(Some(1)).max_items(Some(Scope::ALL.len())).build())
}
