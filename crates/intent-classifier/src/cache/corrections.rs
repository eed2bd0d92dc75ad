//! Corrections: texts whose answers every replica is to forget.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use intent_engine::TextDigest;
use redis::Client;
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{RedisConnection, answers_key, corrections_key};

/// The most corrections that wait for Redis to come back.
const QUEUE: usize = 10_000;
/// About how many corrections the stream keeps for replicas that were cut off.
const KEPT: usize = 10_000;
/// How long a write may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait before trying again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How long a read waits for news; the connection is given up when there is no answer long after.
const WAIT_FOR_NEWS: Duration = Duration::from_secs(2);
/// How far the clock of Redis may be behind that of this machine.
const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// The field of a stream's entry that holds the digest of the text.
const FIELD: &str = "text";

/// Tells all replicas that the answers to a text are to be forgotten.
///
/// A Redis stream and not a channel: a replica whose connection was lost reads on where it stopped and misses nothing. A
/// correction that Redis cannot take now is told when it can; only one that comes while ten thousand wait is lost.
#[derive(Clone, Debug)]
pub(crate) struct Corrections(Sender<TextDigest>);

impl Corrections {
    /// Starts the task that tells, and the one that listens and calls `forget`. Must be called within a tokio runtime.
    pub(crate) fn start(redis: Arc<RedisConnection>, forget: impl Fn(TextDigest) + Send + Sync + 'static) -> Self {
        let (sender, queue) = channel(QUEUE);
        tokio::spawn(listen(redis.client(), forget));
        tokio::spawn(tell(redis, queue));
        Self(sender)
    }

    /// Deletes the shared answers to a text and tells the other replicas, as soon as Redis can be reached.
    pub(crate) fn tell(&self, text: TextDigest) {
        if self.0.try_send(text).is_err() {
            warn!(waiting = QUEUE, "a correction is not told to the other replicas: too many wait for redis");
        }
    }
}

async fn tell(redis: Arc<RedisConnection>, mut queue: Receiver<TextDigest>) {
    while let Some(text) = queue.recv().await {
        loop {
            let told = match timeout(PATIENCE, tell_one(&redis, &text)).await {
                Ok(told) => told,
                Err(_) => Err("no answer within a second".to_owned()),
            };
            match told {
                Ok(()) => break,
                Err(error) => debug!(error, "a correction waits for redis"),
            }
            sleep(RETRY_AFTER).await;
        }
    }
}

async fn tell_one(redis: &RedisConnection, text: &TextDigest) -> Result<(), String> {
    let mut connection = redis.get()?;
    let key = corrections_key();
    // First the shared answers, so that nobody who hears of it finds them there. A full Redis still deletes.
    let deleted = redis::cmd("UNLINK").arg(answers_key(text)).exec_async(&mut connection).await;
    let mut add = redis::cmd("XADD");
    add.arg(&key).arg("MAXLEN").arg("~").arg(KEPT).arg("*").arg(FIELD).arg(&text.as_bytes()[..]);
    let told = match deleted {
        Ok(()) => add.exec_async(&mut connection).await,
        Err(error) => Err(error),
    };
    told.map_err(|error| {
        redis.failed(&error);
        error.to_string()
    })
}

/// A stream with its entries: number, and fields with their values.
type News = Vec<(String, Vec<(String, HashMap<String, Vec<u8>>)>)>;

/// Reads the stream on a connection of its own, because a read blocks it.
async fn listen(client: Client, forget: impl Fn(TextDigest)) {
    // The numbers of entries begin with the time. What this process keeps is younger than itself, so that corrections
    // from before its start are of no interest; those from a little before are no harm.
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut after = format!("{}-0", started.saturating_sub(CLOCK_SKEW).as_millis());
    loop {
        let Err(error) = read(&client, &mut after, &forget).await;
        debug!(error, "corrections of other replicas cannot be heard");
        sleep(RETRY_AFTER).await;
    }
}

/// Reads what comes after an entry, and moves on, until the connection fails.
async fn read(client: &Client, after: &mut String, forget: &impl Fn(TextDigest)) -> Result<Infallible, String> {
    let failed = |error: redis::RedisError| error.to_string();
    let connecting = timeout(PATIENCE, client.get_multiplexed_async_connection()).await;
    let mut connection = connecting.map_err(|_| "no answer while connecting".to_owned())?.map_err(failed)?;
    connection.set_response_timeout(WAIT_FOR_NEWS + PATIENCE);
    loop {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1_000).arg("BLOCK").arg(WAIT_FOR_NEWS.as_millis() as u64);
        command.arg("STREAMS").arg(corrections_key()).arg(&*after);
        let news: Option<News> = command.query_async(&mut connection).await.map_err(failed)?;
        for (number, mut fields) in news.into_iter().flatten().flat_map(|(_, entries)| entries) {
            if let Some(text) = fields.remove(FIELD).and_then(|bytes| bytes.try_into().ok()) {
                forget(TextDigest::from_bytes(text));
            }
            *after = number;
        }
    }
}
