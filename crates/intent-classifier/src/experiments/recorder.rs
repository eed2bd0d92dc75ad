//! Stores exposures beside the requests: in batches, bounded, never in anybody's way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use intent_engine::Decision;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tracing::warn;

use crate::{
    causes::in_full,
    http::RequestId,
    storage::{Exposure, Storage, StorageError},
};

/// How many exposures wait at most; more are lost, and counted.
const CAPACITY: usize = 16_384;
/// The most exposures that are written together.
const BATCH: usize = 500;
/// How long a batch gathers.
const GATHER: Duration = Duration::from_millis(200);
/// How long to wait before a database that took nothing is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Takes exposures from requests.
#[derive(Debug)]
pub(crate) struct ExposureRecorder {
    sender: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Exposure(Box<Exposure>),
    /// Answers when all before it are stored.
    Flush(oneshot::Sender<()>),
}

impl ExposureRecorder {
    /// Starts storing. Call it in an async runtime.
    pub(crate) fn start(storage: Storage) -> Self {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(write(storage, receiver, Arc::clone(&lost)));
        Self { sender, lost }
    }

    /// Hands over a decision when it counts for the experiment; never waits.
    pub(crate) fn record(&self, request_id: RequestId, decision: &Decision) {
        let Some(exposed) = &decision.exposure else { return };
        let exposure = Exposure {
            request_id: request_id.uuid(),
            experiment: exposed.allocation.to_string(),
            group: decision.experiment_group.as_str().to_owned(),
            subject: exposed.subject.clone(),
            decided_at: SystemTime::now(),
            intent: decision.best().intent.to_string(),
            model: decision.model.as_str().to_owned(),
            model_version: decision.model_version.to_string(),
            confidence: f64::from(decision.best().confidence),
            latency_ms: decision.timings.total.as_secs_f64() * 1e3,
            fallbacks: u32::try_from(decision.fallbacks.len()).unwrap_or(u32::MAX),
            degraded: decision.degraded,
        };
        if self.sender.try_send(Message::Exposure(Box::new(exposure))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns how many exposures were lost since the start, because the database did not keep up.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until what was recorded is stored, but not longer than `limit`.
    pub(crate) async fn flush(&self, limit: Duration) {
        let (sender, done) = oneshot::channel();
        let flushed = async {
            if self.sender.send(Message::Flush(sender)).await.is_ok() {
                // It is dropped when the task has ended, and then there is nothing to wait for.
                let _ = done.await;
            }
        };
        if timeout(limit, flushed).await.is_err() {
            warn!("not all exposures of the experiment could be stored in time");
        }
    }
}

async fn write(storage: Storage, mut receiver: mpsc::Receiver<Message>, lost: Arc<AtomicU64>) {
    let mut messages = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut messages, BATCH).await > 0 {
        let (mut exposures, mut waiting) = (Vec::with_capacity(messages.len()), Vec::new());
        for message in messages.drain(..) {
            match message {
                Message::Exposure(exposure) => exposures.push(*exposure),
                Message::Flush(done) => waiting.push(done),
            }
        }
        let is_flushing = !waiting.is_empty();
        store(&storage, &exposures, &lost).await;
        drop(waiting);
        if !is_flushing {
            sleep(GATHER).await;
        }
    }
}

/// Stores a batch, however long the database is away.
async fn store(storage: &Storage, exposures: &[Exposure], lost: &AtomicU64) {
    if exposures.is_empty() {
        return;
    }
    loop {
        match storage.store_exposures(exposures).await {
            Ok(()) => return,
            Err(StorageError::Unavailable { .. }) => sleep(TRY_AGAIN).await,
            Err(error) => {
                let error = in_full(error);
                warn!(error, exposures = exposures.len(), "exposures of the experiment cannot be stored");
                lost.fetch_add(exposures.len() as u64, Ordering::Relaxed);
                return;
            }
        }
    }
}
