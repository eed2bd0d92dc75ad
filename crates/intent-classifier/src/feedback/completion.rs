//! Completes feedback that another replica took: only the one that answered remembers which model that was.

use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tracing::debug;
use uuid::Uuid;

use super::known_decisions::KnownDecision;
use crate::storage::{AnswerOfFeedback, Storage, StorageError};

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(2);
/// How far back to look; feedback is spooled when the database is away for a while.
const WINDOW: Duration = Duration::from_secs(3600);
/// The most that is looked at in one round. Requests that nobody remembers stay among them until they are too old.
const MOST: u32 = 1_000;

/// Looks for feedback about requests that `known` remembers; ends never.
pub(crate) async fn run(storage: Storage, known: impl Fn(Uuid) -> Option<KnownDecision>) {
    let mut status = storage.watch_status();
    loop {
        if status.wait_for(|status| status.access.is_writable()).await.is_err() {
            return;
        }
        if let Err(error) = complete(&storage, &known).await {
            debug!(%error, "feedback that other replicas took waits to be completed");
        }
        sleep(INTERVAL).await;
    }
}

async fn complete(storage: &Storage, known: impl Fn(Uuid) -> Option<KnownDecision>) -> Result<(), StorageError> {
    let since = SystemTime::now().checked_sub(WINDOW).unwrap_or(SystemTime::UNIX_EPOCH);
    let incomplete = storage.feedback_without_answer(since, MOST).await?;
    let answers: Vec<AnswerOfFeedback> = incomplete
        .into_iter()
        .filter_map(|(feedback, request)| {
            let decision = known(request)?;
            Some(AnswerOfFeedback {
                feedback,
                model: decision.model.to_owned(),
                model_version: decision.model_version.to_string(),
                experiment_group: decision.experiment_group.to_owned(),
                context: decision.context.map(String::from),
            })
        })
        .collect();
    if answers.is_empty() { Ok(()) } else { storage.complete_feedback(&answers).await }
}
