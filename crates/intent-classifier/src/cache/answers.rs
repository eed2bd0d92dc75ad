//! Answers in Redis.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::BoxFuture;
use intent_engine::{Decision, SharedCache, SharedCacheError, SharedKey};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::timeout,
};
use tracing::{info, warn};

use super::{RedisConnection, answer, answers_key};

/// The most answers that wait to be written; more are not kept.
const WRITE_QUEUE: usize = 1_024;
/// How long a write may take; nobody waits for it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// The cache that all replicas share. Reads are on the way of a request, writes are not.
pub(crate) struct RedisCache {
    redis: Arc<RedisConnection>,
    writes: Sender<(SharedKey, Vec<u8>)>,
}

impl RedisCache {
    /// Starts the task that writes. Must be called within a tokio runtime.
    pub(crate) fn start(redis: Arc<RedisConnection>, time_to_live: Duration) -> Self {
        let (writes, queue) = channel(WRITE_QUEUE);
        tokio::spawn(write(Arc::clone(&redis), queue, time_to_live));
        Self { redis, writes }
    }
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache").finish_non_exhaustive()
    }
}

impl SharedCache for RedisCache {
    fn get<'a>(&'a self, key: &'a SharedKey) -> BoxFuture<'a, Result<Option<Decision>, SharedCacheError>> {
        Box::pin(async move {
            let mut connection = self.redis.get().map_err(SharedCacheError)?;
            let mut command = redis::cmd("HGET");
            command.arg(answers_key(&key.text)).arg(&key.conditions[..]);
            let found: Option<Vec<u8>> = command.query_async(&mut connection).await.map_err(|error| {
                self.redis.failed(&error);
                SharedCacheError(error.to_string())
            })?;
            found.map(|bytes| answer::decode(&bytes).map_err(|error| SharedCacheError(error.to_string()))).transpose()
        })
    }

    fn put(&self, key: SharedKey, decision: &Decision) {
        if let Some(answer) = answer::encode(decision) {
            // With the queue full, Redis is slow: keeping the answer is not worth waiting for.
            let _ = self.writes.try_send((key, answer));
        }
    }
}

/// Writes what is in the queue until nobody can put anything into it any more.
async fn write(redis: Arc<RedisConnection>, mut queue: Receiver<(SharedKey, Vec<u8>)>, time_to_live: Duration) {
    let fails = AtomicBool::new(false);
    while let Some((key, answer)) = queue.recv().await {
        let failed = match timeout(WRITE_TIMEOUT, write_one(&redis, key, answer, time_to_live)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some("no answer within a second".to_owned()),
        };
        // Said once, not for every answer.
        match (failed, fails.load(Ordering::Relaxed)) {
            (Some(error), false) => warn!(error, "answers cannot be written to redis"),
            (None, true) => info!("answers can be written to redis again"),
            (Some(_), true) | (None, false) => continue,
        }
        fails.fetch_xor(true, Ordering::Relaxed);
    }
}

async fn write_one(
    redis: &RedisConnection,
    key: SharedKey,
    answer: Vec<u8>,
    time_to_live: Duration,
) -> Result<(), String> {
    let mut connection = redis.get()?;
    let name = answers_key(&key.text);
    // Together, so that no hash is left without an end. `NX` keeps the end of a hash that has one.
    let written = redis::pipe()
        .atomic()
        .cmd("HSET")
        .arg(&name)
        .arg(&key.conditions[..])
        .arg(answer)
        .cmd("EXPIRE")
        .arg(&name)
        .arg(time_to_live.as_secs().max(1))
        .arg("NX")
        .exec_async(&mut connection)
        .await;
    written.map_err(|error| {
        redis.failed(&error);
        error.to_string()
    })
}
