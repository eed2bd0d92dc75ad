//! Who may call which route: the check before every handler, and its description in the OpenAPI document.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::info;
use utoipa::openapi::{
    OpenApi,
    path::{Operation, PathItem},
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};

use super::{
    App,
    caller::{Caller, Peer, source},
    error::{self, Kind, Problem},
    metering::Meter,
    request_id::RequestId,
    routes,
};
use crate::{
    auth::{AuthError, Scope, Scopes, X_API_KEY},
    config::{AuthSettings, OpenHealth},
};

/// Who may call a route when authentication is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever has the scope.
    Scope(Scope),
    /// The console: it is empty until the page itself asks with a token.
    Page,
    /// A health path that probes ask; a setting can close it.
    Probe,
    /// A health path with details; a setting can open it.
    HealthDetails,
    /// The metrics; a setting can close them.
    Metrics,
    /// The description of the interface; a setting can close it.
    Documents,
}

/// Which of the paths that a setting can open are open.
#[derive(Clone, Debug)]
pub(crate) struct AccessPolicy {
    health: OpenHealth,
    metrics: bool,
    documents: bool,
}

impl AccessPolicy {
    /// Takes the settings.
    pub(super) fn new(settings: &AuthSettings) -> Self {
        Self { health: settings.open_health, metrics: settings.open_metrics, documents: settings.open_docs }
    }

    /// Returns the scope a route needs; `Some(None)` asks only for a caller who is known, `None` for nothing.
    fn needs(&self, access: Access) -> Option<Option<Scope>> {
        let open = match access {
            Access::Scope(scope) => return Some(Some(scope)),
            Access::Page => true,
            Access::Probe => self.health != OpenHealth::None,
            Access::HealthDetails => self.health == OpenHealth::All,
            Access::Metrics => self.metrics,
            Access::Documents => self.documents,
        };
        if open { None } else { Some(None) }
    }
}

/// Finds out who calls, and lets only those pass who may.
pub(super) async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let source = source(peer, request.headers(), &app.trusted_proxies);
    let route = request.extensions().get::<MatchedPath>().cloned();
    // A path that leads nowhere is no secret: `/docs` lists all that lead somewhere.
    let access = route.map(|route| routes::access(request.method(), route.as_str()));
    let caller = match identify(&app, access, request.headers(), source).await {
        Ok(caller) => caller,
        Err(refusal) => {
            // Guessing costs as much as asking.
            if let Err(response) = Meter::start(&app, &Caller::anonymous(source, Scopes::default())).await {
                return *response;
            }
            let request_id = request.extensions().get::<RequestId>().map(ToString::to_string);
            info!(request_id, %source, reason = %refusal, "refused");
            return refusal.into_response();
        }
    };
    if !matches!(access, Some(Access::Scope(_))) {
        request.extensions_mut().insert(caller);
        return next.run(request).await;
    }
    let meter = match Meter::start(&app, &caller).await {
        Ok(meter) => meter,
        Err(response) => return *response,
    };
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(meter.clone());
    let mut response = next.run(request).await;
    meter.describe(response.headers_mut());
    response
}

async fn identify(app: &App, access: Option<Access>, headers: &HeaderMap, source: IpAddr) -> Result<Caller, Refusal> {
    if !app.authenticator.is_enabled() {
        return Ok(Caller::anonymous(source, Scopes::ALL));
    }
    let Some(scope) = access.and_then(|access| app.access_policy.needs(access)) else {
        return Ok(Caller::anonymous(source, Scopes::default()));
    };
    let caller = Caller::known(source, app.authenticator.authenticate(headers).await?);
    match scope {
        Some(scope) if !caller.may(scope) => Err(Refusal::Scope(scope)),
        _ => Ok(caller),
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error("this path needs the scope `{0}`, which the token or API key does not have")]
    Scope(Scope),
}

impl IntoResponse for Refusal {
    /// Says in `WWW-Authenticate` what to show, or what is wrong with what was shown (RFC 6750, section 3).
    fn into_response(self) -> Response {
        let (kind, code) = match &self {
            Self::Scope(_) => (Kind::Forbidden, Some("insufficient_scope")),
            Self::Auth(AuthError::Missing) => (Kind::Unauthenticated, None),
            Self::Auth(AuthError::Ambiguous | AuthError::Malformed) => {
                (Kind::InvalidCredentials, Some("invalid_request"))
            }
            Self::Auth(AuthError::InvalidToken(_) | AuthError::UnknownKey | AuthError::UnknownApiKey) => {
                (Kind::Unauthenticated, Some("invalid_token"))
            }
            Self::Auth(AuthError::KeysUnavailable) => (Kind::KeysUnavailable, None),
        };
        let mut challenge = r#"Bearer realm="intent-classifier""#.to_owned();
        if let Some(code) = code {
            // RFC 6750 allows no quotes in the description.
            let description = self.to_string().replace(['"', '\\', '`', '…'], "");
            challenge.push_str(&format!(r#", error="{code}", error_description="{description}""#));
        }
        if let Self::Scope(scope) = &self {
            challenge.push_str(&format!(r#", scope="{scope}""#));
        }
        let mut problem = Problem::new(kind, self.to_string());
        if kind == Kind::KeysUnavailable {
            problem = problem.retry_after(Duration::from_secs(30));
        }
        let mut response = problem.into_response();
        let challenge = HeaderValue::from_str(&challenge).expect("descriptions are visible ASCII without quotes");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}

/// The name of the scheme for tokens in the OpenAPI document.
const BEARER: &str = "bearer";
/// The name of the scheme for API keys in the OpenAPI document.
const API_KEY: &str = "api_key";

/// Adds to the OpenAPI document what each operation needs, and the answers to those who lack it.
pub(super) fn describe(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("A JSON Web Token with the scopes in `scope`; needed when `AUTH_ENABLED` is on."))
        .build();
    let api_key = ApiKeyValue::with_description(X_API_KEY.as_str(), "An API key, as `keys create` prints it.");
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    components.add_security_scheme(API_KEY, SecurityScheme::ApiKey(ApiKey::Header(api_key)));
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let access = routes::access(&method, path);
            let scopes: Vec<&str> = match access {
                Access::Scope(scope) => vec![scope.as_str()],
                _ => Vec::new(),
            };
            // The empty requirement: with authentication off, or on an open path, nothing is needed.
            operation.security = Some(vec![
                SecurityRequirement::default(),
                SecurityRequirement::new(BEARER, scopes.iter().copied()),
                SecurityRequirement::new(API_KEY, scopes),
            ]);
            for (status, response) in error::access_problems() {
                operation.responses.responses.entry(status).or_insert(response);
            }
        }
    }
}

/// Lists the operations of a path with their methods.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, item.get.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
        (Method::HEAD, item.head.as_mut()),
        (Method::OPTIONS, item.options.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}
