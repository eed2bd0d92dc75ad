//! Calls to a model server: pooled, bounded in time, number and size.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    open_inference::OpenInference,
    protocol::{LabelledScores, Protocol, Refusal},
    token::{Purpose, TokenFile},
    torchserve::TorchServe,
    trace,
};
use crate::config::{ConfigError, RemoteProtocol, RemoteSettings};

/// The largest answer that is read; the scores of a thousand intents are a tenth of it.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// What a check asks.
const SYNTHETIC_TEXT: &str = "health check";
/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A model server, with the connections to it; lives as long as the process.
pub(crate) struct RemoteClient {
    http: Client,
    protocol: Box<dyn Protocol>,
    name: RemoteProtocol,
    model: String,
    token: Option<TokenFile>,
    permits: Semaphore,
    timeout: Duration,
}

/// Why a call brought nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// No byte of an answer came: the server has not answered, so that another call does no harm.
    #[error("{0}")]
    Unreached(String),
    /// The call came to an end that another one would come to as well.
    #[error("{0}")]
    Failed(String),
    /// The server has too much to do.
    #[error("{0}")]
    Overloaded(String),
}

impl RemoteClient {
    /// Prepares calls to the model server of the settings; `None` when there is none.
    ///
    /// # Errors
    /// As [`RemoteClient::new`].
    pub(crate) fn configured(settings: &RemoteSettings) -> Result<Option<Arc<Self>>, ConfigError> {
        settings.enabled.then(|| Self::new(settings).map(Arc::new)).transpose()
    }

    /// Prepares calls; connects on the first.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when the settings name no address that can be called.
    pub(crate) fn new(settings: &RemoteSettings) -> Result<Self, ConfigError> {
        // Whoever comes first installs it; all of this program install the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let protocol: Box<dyn Protocol> = match settings.protocol {
            RemoteProtocol::Torchserve => Box::new(TorchServe::new(settings)?),
            RemoteProtocol::OpenInference => Box::new(OpenInference::new(settings)?),
        };
        // A server of our own is called directly, and never sends elsewhere.
        let http = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(settings.max_in_flight)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|error| ConfigError::Invalid { variable: "TORCHSERVE_SCHEME", reason: describe(&error) })?;
        Ok(Self {
            http,
            protocol,
            name: settings.protocol,
            model: settings.model_name.clone(),
            token: settings.token_file.as_deref().map(TokenFile::open),
            permits: Semaphore::new(settings.max_in_flight),
            timeout: settings.timeout(),
        })
    }

    /// Returns how long a call may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns what to call the model in the version of the answers: answers are remembered by it.
    pub(crate) fn label(&self) -> String {
        format!("{}:{}", self.name, self.model)
    }

    /// Asks for the scores of a text, when it is its turn. Dropping the future gives the call up.
    pub(super) async fn infer(&self, text: &str) -> Result<LabelledScores, CallError> {
        let _permit = self.permits.acquire().await.expect("nobody closes the semaphore");
        let body = self.protocol.question(text);
        let url = self.protocol.inference_url();
        let (status, answer) = match self.call(Method::POST, url, Purpose::Inference, Some(&body)).await {
            // A connection that the server had closed meanwhile, or a server that was just being replaced. Scoring
            // changes nothing over there, so that asking once more is safe.
            Err(CallError::Unreached(_)) => self.call(Method::POST, url, Purpose::Inference, Some(&body)).await?,
            called => called?,
        };
        if status == StatusCode::OK {
            return self.protocol.read_scores(&answer).map_err(CallError::Failed);
        }
        Err(match self.protocol.read_refusal(status, &answer) {
            Refusal::Overloaded(reason) => CallError::Overloaded(reason),
            Refusal::Unauthorised(reason) | Refusal::Failed(reason) => CallError::Failed(reason),
        })
    }

    /// Finds out whether the model really classifies: its server must say that it is ready, where it can be asked, and a
    /// text must get scores. Takes twice the time limit of a call at most.
    ///
    /// # Errors
    /// Why it does not, for people.
    pub(super) async fn check(&self) -> Result<(), String> {
        let readiness = self.call(Method::GET, self.protocol.readiness_url(), Purpose::Management, None);
        match timeout(self.timeout, readiness).await {
            // Nobody answers there, as is usual for TorchServe's management port, which is open to its own machine only.
            Err(_) | Ok(Err(CallError::Unreached(_))) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Ok(Ok((status, body))) => self.protocol.read_readiness(status, &body)?,
        }
        match timeout(self.timeout, self.infer(SYNTHETIC_TEXT)).await {
            Ok(answered) => answered.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Makes a call, and once more when the token is refused and the file holds another one.
    async fn call(
        &self,
        method: Method,
        url: &Url,
        purpose: Purpose,
        body: Option<&[u8]>,
    ) -> Result<(StatusCode, Vec<u8>), CallError> {
        let (status, answer) = self.call_once(&method, url, purpose, body).await?;
        if let Some(token) = self.token.as_ref().filter(|_| status != StatusCode::OK)
            && matches!(self.protocol.read_refusal(status, &answer), Refusal::Unauthorised(_))
            && token.read_again()
        {
            return self.call_once(&method, url, purpose, body).await;
        }
        Ok((status, answer))
    }

    async fn call_once(
        &self,
        method: &Method,
        url: &Url,
        purpose: Purpose,
        body: Option<&[u8]>,
    ) -> Result<(StatusCode, Vec<u8>), CallError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = self.token.as_ref().and_then(|token| token.header(purpose)) {
            headers.insert(AUTHORIZATION, token);
        }
        trace::inject(&mut headers);
        let mut request = self.http.request(method.clone(), url.clone());
        if let Some(body) = body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            request = request.body(body.to_vec());
        }
        let response = request.headers(headers).send().await.map_err(|error| CallError::Unreached(describe(&error)))?;
        let status = response.status();
        Ok((status, read(response).await?))
    }
}

impl fmt::Debug for RemoteClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteClient").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| CallError::Failed(describe(&error)))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(CallError::Failed(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Writes an error with its causes; `reqwest` keeps what matters in the last.
fn describe(error: &reqwest::Error) -> String {
    let mut causes = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    causes.join(": ")
}
