//! Answers to texts that were asked before.

mod key;
mod shared;

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use moka::future::Cache;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::key::CacheKey;
use self::shared::{GuardedCache, Unavailable};
pub use self::{
    key::{SharedKey, TextDigest},
    shared::{SharedCache, SharedCacheError},
};
use crate::{Catalog, Decision, EngineError, circuit::CircuitState};

/// How the cache is bounded.
#[derive(Clone, Copy, Debug)]
pub struct CacheOptions {
    /// The most memory it takes, in bytes, estimated.
    pub max_bytes: u64,
    /// How long an answer is kept.
    pub time_to_live: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { max_bytes: 32 << 20, time_to_live: Duration::from_secs(3_600) }
    }
}

/// What became of asking one cache for one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CacheLookup {
    /// It was not asked: caching is off for the subject, an earlier layer had the answer, or there is no such layer.
    #[default]
    NotAsked,
    /// It had the answer.
    Hit,
    /// It had no answer.
    Miss,
    /// It could not be asked.
    Failed,
}

/// What became of asking the caches for one text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheUse {
    /// The layer in this process.
    pub memory: CacheLookup,
    /// The layer that replicas share.
    pub shared: CacheLookup,
}

/// Decisions by what they depend on, bounded by bytes, least recently used first out; behind it, where there is one, a
/// cache that all replicas share. Cheap to clone; clones hold the same.
#[derive(Clone, Debug)]
pub struct DecisionCache {
    memory: Cache<CacheKey, Arc<Decision>>,
    shared: Option<Arc<GuardedCache>>,
}

/// What became of a text that was not in the cache.
enum NotCached {
    /// It was answered, but not as it would be on a good day.
    Unrepresentative(Box<Decision>),
    Failed(EngineError),
}

/// What one caller did, rather than another whom it waited for.
#[derive(Debug, Default)]
struct Own {
    looked: bool,
    /// Whether the shared cache had the answer; `None` when it was not asked.
    shared: Option<Result<bool, Unavailable>>,
}

impl DecisionCache {
    /// Makes an empty cache.
    pub fn new(options: CacheOptions) -> Self {
        let memory = Cache::builder()
            .max_capacity(options.max_bytes)
            .weigher(|_, decision: &Arc<Decision>| u32::try_from(bytes(decision)).unwrap_or(u32::MAX))
            .time_to_live(options.time_to_live)
            .support_invalidation_closures()
            .build();
        Self { memory, shared: None }
    }

    /// Puts a cache that all replicas share behind this one; each look-up in it may take `time_limit`.
    pub(crate) fn share(&mut self, cache: Arc<dyn SharedCache>, time_limit: Duration) {
        self.shared = Some(Arc::new(GuardedCache::new(cache, time_limit)));
    }

    /// Returns the kept answer, of this process or of all replicas, or computes it. Concurrent callers with the same key
    /// look up and compute once.
    ///
    /// A caller waits for another's answer until `deadline` at most. What is not kept, because it came about under
    /// failure or haste, is not handed on either: whoever waited for it computes in the time he has left.
    pub(crate) async fn get_or_compute<F>(
        &self,
        key: CacheKey,
        deadline: Instant,
        catalog: &Catalog,
        compute: impl Fn() -> F,
    ) -> Result<Decision, EngineError>
    where
        F: Future<Output = Result<Decision, EngineError>>,
    {
        let shared = self.shared.as_ref().map(|shared| (shared, key.shared()));
        let own = Mutex::new(Own::default());
        let mut answer = pin!(self.memory.try_get_with(key, async {
            lock(&own).looked = true;
            let found = match &shared {
                Some((shared, key)) => Some(shared.look_up(key, catalog, deadline).await),
                None => None,
            };
            lock(&own).shared = found.as_ref().map(|found| found.as_ref().map(Option::is_some).map_err(Clone::clone));
            if let Some(Ok(Some(decision))) = found {
                return Ok(Arc::new(decision));
            }
            match compute().await {
                Ok(decision) if decision.is_representative() => {
                    // What cannot be read is not written to either.
                    if let (Some((shared, key)), Some(Ok(None))) = (&shared, &found) {
                        shared.put(*key, &decision);
                    }
                    Ok(Arc::new(decision))
                }
                Ok(decision) => Err(NotCached::Unrepresentative(Box::new(decision))),
                Err(error) => Err(NotCached::Failed(error)),
            }
        }));
        let answer = match timeout_at(deadline, &mut answer).await {
            Ok(answer) => Some(answer),
            Err(_) if lock(&own).looked => Some(answer.await),
            Err(_) => None,
        };
        let Own { looked, shared } = std::mem::take(&mut *lock(&own));
        let mut decision = match answer {
            Some(Ok(decision)) if !looked => {
                let cache = CacheUse { memory: CacheLookup::Hit, ..CacheUse::default() };
                return Ok(Decision { cached: true, cache, ..decision.repeated() });
            }
            Some(Ok(decision)) if shared == Some(Ok(true)) => Decision { cached: true, ..decision.repeated() },
            Some(Ok(decision)) => Decision::clone(&decision),
            Some(Err(not_cached)) if looked => match not_cached.as_ref() {
                NotCached::Unrepresentative(decision) => Decision::clone(decision),
                NotCached::Failed(error) => return Err(error.clone()),
            },
            Some(Err(_)) | None => compute().await?,
        };
        decision.cache.memory = CacheLookup::Miss;
        decision.cache.shared = match shared {
            None => CacheLookup::NotAsked,
            Some(Ok(true)) => CacheLookup::Hit,
            Some(Ok(false)) => CacheLookup::Miss,
            Some(Err(unavailable)) => {
                decision.degraded = true;
                decision.reasons.push(format!("shared cache: {unavailable}"));
                CacheLookup::Failed
            }
        };
        Ok(decision)
    }

    /// Forgets all answers to one text in this process, whatever they depend on besides.
    pub fn forget_text(&self, text: &str) {
        self.forget(TextDigest::of(text));
    }

    /// Forgets all answers to one text in this process, known by its digest.
    pub fn forget(&self, text: TextDigest) {
        self.memory
            .invalidate_entries_if(move |key, _| key.text == text)
            .expect("the cache was built to support invalidation closures");
    }

    /// Forgets all answers in this process.
    pub fn forget_all(&self) {
        self.memory.invalidate_all();
    }

    /// Returns how many answers are kept in this process, about.
    pub fn entries(&self) -> u64 {
        self.memory.entry_count()
    }

    /// Returns how many bytes they take, about.
    pub fn bytes(&self) -> u64 {
        self.memory.weighted_size()
    }

    /// Returns the state of the circuit before the shared cache; `None` when there is no such cache.
    pub fn shared_circuit(&self) -> Option<CircuitState> {
        self.shared.as_ref().map(|shared| shared.circuit())
    }
}

fn lock(own: &Mutex<Own>) -> std::sync::MutexGuard<'_, Own> {
    own.lock().expect("no code panics while it holds this lock")
}

fn bytes(decision: &Decision) -> usize {
    const ENTRY: usize = 256;
    let reasons: usize = decision.reasons.iter().map(|reason| reason.len() + size_of::<String>()).sum();
    ENTRY + size_of::<CacheKey>() + size_of::<Decision>() + reasons + 24 * decision.ranking.len()
}
