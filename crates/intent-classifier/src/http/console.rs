//! `/console`: one page for people, in the binary; it loads nothing from elsewhere.

use axum::{
    Router,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION},
    },
    response::{IntoResponse, Response},
    routing::get,
};

use super::{error, parameters::PathText};

/// What a browser lets the page do: use its own files and call this server, nothing else; not even within a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the page: its name, its type, its content.
type File = (&'static str, &'static str, &'static str);

macro_rules! files {
    ($($name:literal as $kind:literal),* $(,)?) => {
        [$(($name, $kind, include_str!(concat!("../../console/", $name)))),*]
    };
}

const PAGE: File = ("index.html", "text/html; charset=utf-8", include_str!("../../console/index.html"));

const FILES: [File; 15] = files![
    "base.css" as "text/css; charset=utf-8",
    "sections.css" as "text/css; charset=utf-8",
    "icon.svg" as "image/svg+xml",
    "main.js" as "text/javascript; charset=utf-8",
    "api.js" as "text/javascript; charset=utf-8",
    "dom.js" as "text/javascript; charset=utf-8",
    "try.js" as "text/javascript; charset=utf-8",
    "decision.js" as "text/javascript; charset=utf-8",
    "feedback.js" as "text/javascript; charset=utf-8",
    "health.js" as "text/javascript; charset=utf-8",
    "traffic.js" as "text/javascript; charset=utf-8",
    "routing.js" as "text/javascript; charset=utf-8",
    "flags.js" as "text/javascript; charset=utf-8",
    "experiments.js" as "text/javascript; charset=utf-8",
    "low-confidence.js" as "text/javascript; charset=utf-8",
];

/// Serves the page and its files; who comes to the root is sent there.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    // Relative, so that they lead home behind a proxy that serves all this under a path of its own.
    let to =
        |location: &'static str| get(move || async move { (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]) });
    Router::new()
        .route("/", to("console"))
        .route("/console/", to("../console"))
        .route("/console", get(|| async { answer(PAGE) }))
        .route("/console/{file}", get(file))
}

async fn file(PathText(name): PathText) -> Response {
    match FILES.into_iter().find(|file| file.0 == name) {
        Some(file) => answer(file),
        None => error::not_found().await.into_response(),
    }
}

fn answer((_, kind, content): File) -> Response {
    let headers = [(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), content).into_response()
}
