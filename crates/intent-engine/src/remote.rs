//! Models in other processes.

use std::fmt;

use futures_util::future::BoxFuture;
use intent_model::{Document, Labels, ModelKind, Scores};
use tokio::time::Instant;

/// Scores texts in another process; the counterpart of [`intent_model::Model`] for what is reached by I/O.
///
/// The router asks it like any other model: within the budget of the request, behind a circuit breaker, with the next
/// model in its place when it fails. How the scores get here is the implementation's business.
///
/// Contract: one finite logit per label in the order of [`RemoteModel::labels`], mapped by the labels' names; an answer
/// that cannot be mapped without guessing is an error. Dropping the future gives the call up.
pub trait RemoteModel: fmt::Debug + Send + Sync {
    /// Returns which of the service's models this is.
    fn kind(&self) -> ModelKind;

    /// Returns the labels in the order of the logits.
    fn labels(&self) -> &Labels;

    /// Scores one document; nobody waits for the answer after `deadline`.
    ///
    /// # Errors
    /// [`RemoteError`] for everything that is not a whole answer in time.
    fn score<'a>(&'a self, document: &'a Document, deadline: Instant) -> BoxFuture<'a, Result<Scores, RemoteError>>;
}

/// Why a remote model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It could not be reached, or answered with an error or with something that is not an answer.
    #[error("{0}")]
    Failed(String),
    /// It did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It, or the way to it, has more to do than it takes.
    #[error("it has more to do than it takes")]
    Overloaded,
}

/// Tells what is wrong with scores for so many labels; a remote answer is not trusted to be well formed.
pub(crate) fn check(scores: Scores, labels: usize) -> Result<Scores, RemoteError> {
    let found = scores.logits.len();
    if found != labels {
        return Err(RemoteError::Failed(format!("{found} scores for {labels} labels")));
    }
    match scores.logits.iter().all(|logit| logit.is_finite()) {
        true => Ok(scores),
        false => Err(RemoteError::Failed("a score is not a finite number".to_owned())),
    }
}
