//! The allowances of all sources in Redis, so that replicas count together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ring::digest;
use tokio::time::timeout;
use tracing::debug;

use super::{
    Source,
    quota::{Exhausted, Quota, Standing},
};
use crate::cache::RedisConnection;

/// How long nobody asks after a question that was not answered.
const REST: Duration = Duration::from_secs(1);

/// The arithmetic of [`Quota::take`] where the number is, by the clock of Redis, in microseconds: one step that no other
/// can come between. Returns whether the texts were taken, and when the allowance will be whole again.
const TAKE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local window, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or '0') or 0, now)
if whole + cost - now > window then return {0, whole - now} end
redis.call('SET', KEYS[1], string.format('%.0f', whole + cost), 'PX', math.ceil((whole + cost - now) / 1000) + 1)
return {1, whole + cost - now}";

/// Allowances in Redis.
#[derive(Debug)]
pub(crate) struct SharedTable {
    connection: Arc<RedisConnection>,
    /// How long a question may take; the count of this process alone is better than a late answer.
    time_limit: Duration,
    began: Instant,
    /// Until when nobody asks, in milliseconds since `began`.
    rests_until_ms: AtomicU64,
}

impl SharedTable {
    /// Counts over a connection that others use, too.
    pub(crate) fn new(connection: Arc<RedisConnection>, time_limit: Duration) -> Self {
        Self { connection, time_limit, began: Instant::now(), rests_until_ms: AtomicU64::new(0) }
    }

    /// Takes `texts` from the allowance of a source; `None` when Redis does not answer.
    pub(crate) async fn take(&self, source: &Source, quota: Quota, texts: u32) -> Option<Result<Standing, Exhausted>> {
        let now_ms = self.began.elapsed().as_millis() as u64;
        if now_ms < self.rests_until_ms.load(Ordering::Relaxed) {
            return None;
        }
        let mut connection = self.connection.get().ok()?;
        let window_us = Quota::WINDOW.as_micros() as u64;
        let cost_us = quota.cost_ns(texts).div_ceil(1000);
        let mut command = redis::cmd("EVAL");
        command.arg(TAKE).arg(1).arg(key(source)).arg(window_us).arg(cost_us);
        let (is_taken, whole_in_us): (u8, u64) =
            match timeout(self.time_limit, command.query_async(&mut connection)).await {
                Ok(Ok(answer)) => answer,
                outcome => {
                    if let Ok(Err(error)) = &outcome {
                        self.connection.failed(error);
                    }
                    debug!("redis does not count; this process counts alone");
                    self.rests_until_ms.store(now_ms + REST.as_millis() as u64, Ordering::Relaxed);
                    return None;
                }
            };
        let standing = quota.standing(whole_in_us.saturating_mul(1000));
        Some(if is_taken == 1 {
            Ok(standing)
        } else {
            let missing_us = (whole_in_us + cost_us).saturating_sub(window_us);
            Err(Exhausted { retry_after: Duration::from_micros(missing_us), standing })
        })
    }
}

/// Names a source in Redis: short, and without who it is.
fn key(source: &Source) -> String {
    let name = match source {
        Source::User(name) | Source::ApiKey(name) => name.clone(),
        Source::Address(address) => address.to_string(),
    };
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    let short: String = digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("intent-classifier:limit:{}:{short}", source.scope())
}
