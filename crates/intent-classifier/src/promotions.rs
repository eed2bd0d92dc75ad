//! Which model version served from when on: queued when it happens, stored when the database takes it.

use std::time::{Duration, SystemTime};

use tokio::{sync::mpsc, time::sleep};
use tracing::debug;

use crate::storage::{Promotion, Storage};

/// How long to wait after a failure that the status of the database does not show.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Takes note of what serves.
#[derive(Debug)]
pub(crate) struct Promotions(mpsc::UnboundedSender<Promotion>);

impl Promotions {
    /// Starts storing what will serve. Call it in an async runtime.
    pub(crate) fn start(storage: Storage) -> Self {
        // As long as the list of reloads while no change can be stored.
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(store(storage, waiting));
        Self(queue)
    }

    /// Takes note that a version serves from now on, and who let it. Nothing is stored when the same version was the
    /// last one that served, as after a restart and on all replicas but the first.
    pub(crate) fn serves(&self, version: &str, actor: &str) {
        let promotion = Promotion { version: version.to_owned(), at: SystemTime::now(), actor: actor.to_owned() };
        // The other end is gone only when the process ends.
        let _ = self.0.send(promotion);
    }
}

/// Stores in order, each until it is stored.
async fn store(storage: Storage, mut waiting: mpsc::UnboundedReceiver<Promotion>) {
    let mut status = storage.watch_status();
    while let Some(promotion) = waiting.recv().await {
        loop {
            if status.wait_for(|status| status.access.is_writable()).await.is_err() {
                return;
            }
            match storage.store_promotion(&promotion).await {
                Ok(()) => break,
                Err(error) => debug!(%error, version = promotion.version, "the promotion is stored later"),
            }
            sleep(RETRY_AFTER).await;
        }
    }
}
