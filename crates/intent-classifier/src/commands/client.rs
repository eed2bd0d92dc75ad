//! What commands share that talk to a running server.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use reqwest::{Method, StatusCode, Url, header};
use serde_json::Value;

use super::{Failure, healthcheck};
use crate::config::Sources;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// Which server to talk to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(super) struct Connection {
    /// Address of the server [default: the one that the settings name, on this machine].
    #[arg(long, global = true, value_name = "URL", env = "INTENT_CLASSIFIER_URL")]
    url: Option<String>,
    /// Bearer token to show to the server.
    #[arg(long, global = true, value_name = "TOKEN", env = "INTENT_CLASSIFIER_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// API key to show to the server, instead of a token.
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "INTENT_CLASSIFIER_API_KEY",
        hide_env_values = true,
        conflicts_with = "token"
    )]
    api_key: Option<String>,
}

/// Talks to one server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
    token: Option<String>,
    api_key: Option<String>,
}

/// A question to a server.
#[derive(Debug, Default)]
pub(super) struct Call<'a> {
    /// The path from the root of the server.
    pub(super) path: &'a str,
    /// What to send as JSON.
    pub(super) body: Option<Value>,
    /// The header `If-Match`.
    pub(super) if_match: Option<String>,
    /// The header `If-None-Match`.
    pub(super) if_none_match: Option<String>,
}

/// An answer that is no error.
#[derive(Debug)]
pub(super) struct Answer {
    /// The JSON; null when there is none, as with 304.
    pub(super) body: Value,
    /// The header `ETag`.
    pub(super) etag: Option<String>,
    /// Whether the server says that the client has the answer already.
    pub(super) is_not_modified: bool,
}

impl Connection {
    /// Tells whether a server was named.
    pub(super) fn is_named(&self) -> bool {
        self.url.is_some()
    }

    /// Prepares to talk to the server that was named.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub(super) fn open_named(&self) -> anyhow::Result<Client> {
        self.client(self.url.as_deref().context("no server was named: give `--url`")?)
    }

    /// Prepares to talk to the server that is meant.
    pub(super) fn open(&self, sources: Sources) -> Result<Client, Failure> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => format!("http://{}", healthcheck::local(sources.load()?.settings.server.address())),
        };
        self.client(&url).map_err(Failure::Failed)
    }

    fn client(&self, url: &str) -> anyhow::Result<Client> {
        let url = parse_url(url)?;
        // The first to install one wins; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            // A token belongs to the server that was named, and to no other.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Client { http, url, token: self.token.clone(), api_key: self.api_key.clone() })
    }
}

fn parse_url(text: &str) -> anyhow::Result<Url> {
    let url: Url = text.parse().with_context(|| format!("`{text}` is no address, expected `http://HOST:PORT`"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        bail!("`{text}` is no address of a server, expected `http://HOST:PORT` or `https://HOST`");
    }
    Ok(url)
}

impl Client {
    /// Returns the address of the server.
    pub(super) fn url(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Sends a question and reads the answer.
    ///
    /// # Errors
    /// What went wrong, in words, and what to do about it.
    pub(super) async fn send(&self, method: Method, call: Call<'_>) -> anyhow::Result<Answer> {
        let mut request = self.request(method, call.path);
        for (name, value) in [(header::IF_MATCH, &call.if_match), (header::IF_NONE_MATCH, &call.if_none_match)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;

        let status = response.status();
        let etag = response.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok()).map(str::to_owned);
        let bytes = self.read(response).await?;
        let body = serde_json::from_slice(&bytes);
        match (status.is_success() || status == StatusCode::NOT_MODIFIED, body) {
            (true, Ok(body)) => Ok(Answer { body, etag, is_not_modified: false }),
            (true, Err(_)) if status == StatusCode::NOT_MODIFIED => {
                Ok(Answer { body: Value::Null, etag, is_not_modified: true })
            }
            (true, Err(_)) => bail!("{} does not answer JSON: {NOT_OURS}", self.url()),
            (false, body) => Err(explain(status, &body.unwrap_or_default())),
        }
    }

    /// Asks for no more than a path; returns the JSON of the answer.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub(super) async fn ask(&self, method: Method, path: &str) -> anyhow::Result<Value> {
        Ok(self.send(method, Call { path, ..Call::default() }).await?.body)
    }

    /// Fetches a page, whatever its status: status and text.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub(super) async fn fetch(&self, path: &str) -> anyhow::Result<(u16, String)> {
        let response = self.request(Method::GET, path).send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status().as_u16();
        let bytes = self.read(response).await?;
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.url()));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(api_key) = &self.api_key {
            request = request.header("x-api-key", api_key);
        }
        request
    }

    async fn read(&self, mut response: reqwest::Response) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER_BYTES {
                bail!("{} answers more than {MAX_ANSWER_BYTES} bytes: {NOT_OURS}", self.url());
            }
        }
        Ok(bytes)
    }

    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let hint = if error.is_timeout() {
            format!("it took more than {} s", TIMEOUT.as_secs())
        } else if error.is_connect() {
            "is it running there? `intent-classifier serve` starts it, `--url` names another".to_owned()
        } else {
            "the connection broke".to_owned()
        };
        // Its own words begin with the address.
        anyhow::Error::from(error.without_url()).context(format!("no answer from {} ({hint})", self.url()))
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
pub(super) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

const NOT_OURS: &str = "is that an intent-classifier server?";

/// Puts an error answer into words.
fn explain(status: StatusCode, problem: &Value) -> anyhow::Error {
    let Some(detail) = problem["detail"].as_str() else {
        return anyhow!("the server answered {status}: {NOT_OURS}");
    };
    let hint = match status {
        StatusCode::UNAUTHORIZED => {
            "\ngive a token with `--token` or `INTENT_CLASSIFIER_TOKEN`, or an API key with `--api-key`"
        }
        StatusCode::FORBIDDEN => "\nuse a token or an API key that has this scope",
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "\ntry again in a moment",
        _ => "",
    };
    anyhow!("{detail}{hint}")
}
