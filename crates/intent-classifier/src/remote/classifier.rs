//! A model on a model server, as the router sees it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::future::BoxFuture;
use intent_engine::{RemoteError, RemoteModel};
use intent_model::{Document, Labels, ModelKind, Scores};
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::client::{CallError, RemoteClient};

/// `distilbert` on a model server, for the intents of one pack.
#[derive(Debug)]
pub(crate) struct RemoteClassifier {
    client: Arc<RemoteClient>,
    labels: Labels,
    /// Whether the last call failed: only a change is worth a log line.
    fails: AtomicBool,
}

impl RemoteClassifier {
    /// Takes the model of `client` for one that tells `labels` apart.
    pub(crate) fn new(client: Arc<RemoteClient>, labels: Labels) -> Self {
        Self { client, labels, fails: AtomicBool::new(false) }
    }

    async fn ask(&self, text: &str, deadline: Instant) -> Result<Scores, (RemoteError, String)> {
        let limit = deadline.min(Instant::now() + self.client.timeout());
        let failed = |reason: String| (RemoteError::Failed(reason.clone()), reason);
        match timeout_at(limit, self.client.infer(text)).await {
            Err(_) => Err((RemoteError::TimedOut, "no answer in time".to_owned())),
            Ok(Ok(scores)) => scores.in_order_of(&self.labels).map_err(failed),
            Ok(Err(CallError::Overloaded(reason))) => Err((RemoteError::Overloaded, reason)),
            Ok(Err(CallError::Unreached(reason) | CallError::Failed(reason))) => Err(failed(reason)),
        }
    }

    fn note(&self, error: Option<&str>) {
        match (error, self.fails.swap(error.is_some(), Ordering::Relaxed)) {
            (Some(error), false) => warn!(model = self.client.label(), error, "the model server does not answer"),
            (None, true) => info!(model = self.client.label(), "the model server answers again"),
            (Some(_), true) | (None, false) => {}
        }
    }
}

impl RemoteModel for RemoteClassifier {
    fn kind(&self) -> ModelKind {
        ModelKind::Distilbert
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn score<'a>(&'a self, document: &'a Document, deadline: Instant) -> BoxFuture<'a, Result<Scores, RemoteError>> {
        Box::pin(async move {
            let answer = self.ask(document.text(), deadline).await;
            self.note(answer.as_ref().err().map(|(_, reason)| reason.as_str()));
            answer.map_err(|(error, _)| error)
        })
    }
}
