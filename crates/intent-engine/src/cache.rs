//! Answers to texts that were asked before.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use intent_model::ModelKind;
use moka::future::Cache;
use tokio::time::{Instant, timeout_at};

use crate::{Decision, EngineError, StrategyName};

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

/// Everything an answer depends on. A change of models or settings changes the key, so that a stale answer cannot be
/// addressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) text: Arc<str>,
    pub(crate) model_version: Arc<str>,
    pub(crate) routing_revision: u64,
    pub(crate) strategy: StrategyName,
    pub(crate) excluded: Vec<ModelKind>,
    pub(crate) top_k: usize,
}

/// Decisions by what they depend on, bounded by bytes, least recently used first out.
#[derive(Debug)]
pub struct DecisionCache(Cache<CacheKey, Arc<Decision>>);

/// What became of a text that was not in the cache.
enum NotCached {
    /// It was answered, but not as it would be on a good day.
    Unrepresentative(Box<Decision>),
    Failed(EngineError),
}

impl DecisionCache {
    /// Makes an empty cache.
    pub fn new(options: CacheOptions) -> Self {
        let cache = Cache::builder()
            .max_capacity(options.max_bytes)
            .weigher(|key, decision: &Arc<Decision>| u32::try_from(bytes(key, decision)).unwrap_or(u32::MAX))
            .time_to_live(options.time_to_live)
            .support_invalidation_closures()
            .build();
        Self(cache)
    }

    /// Returns the kept answer, or computes it. Concurrent callers with the same key compute once.
    ///
    /// A caller waits for another's answer until `deadline` at most. What is not kept, because it came about under
    /// failure or haste, is not handed on either: whoever waited for it computes in the time he has left.
    pub(crate) async fn get_or_compute<F>(
        &self,
        key: CacheKey,
        deadline: Instant,
        compute: impl Fn() -> F,
    ) -> Result<Decision, EngineError>
    where
        F: Future<Output = Result<Decision, EngineError>>,
    {
        let is_own = AtomicBool::new(false);
        let mut answer = pin!(self.0.try_get_with(key, async {
            is_own.store(true, Ordering::Relaxed);
            match compute().await {
                Ok(decision) if decision.is_representative() => Ok(Arc::new(decision)),
                Ok(decision) => Err(NotCached::Unrepresentative(Box::new(decision))),
                Err(error) => Err(NotCached::Failed(error)),
            }
        }));
        let answer = match timeout_at(deadline, &mut answer).await {
            Ok(answer) => Some(answer),
            Err(_) if is_own.load(Ordering::Relaxed) => Some(answer.await),
            Err(_) => None,
        };
        let mut decision = match answer {
            Some(Ok(decision)) if is_own.load(Ordering::Relaxed) => Decision::clone(&decision),
            Some(Ok(decision)) => {
                let cache = CacheUse { memory: CacheLookup::Hit, ..CacheUse::default() };
                return Ok(Decision { cached: true, cache, ..decision.repeated() });
            }
            Some(Err(not_cached)) if is_own.load(Ordering::Relaxed) => match not_cached.as_ref() {
                NotCached::Unrepresentative(decision) => Decision::clone(decision),
                NotCached::Failed(error) => return Err(error.clone()),
            },
            Some(Err(_)) | None => compute().await?,
        };
        decision.cache.memory = CacheLookup::Miss;
        Ok(decision)
    }

    /// Forgets all answers to one text, whatever they depend on besides.
    pub fn forget_text(&self, text: &str) {
        let text = normalise(text);
        self.0
            .invalidate_entries_if(move |key, _| key.text == text)
            .expect("the cache was built to support invalidation closures");
    }

    /// Returns how many answers are kept, about.
    pub fn entries(&self) -> u64 {
        self.0.entry_count()
    }

    /// Returns how many bytes they take, about.
    pub fn bytes(&self) -> u64 {
        self.0.weighted_size()
    }
}

/// Returns what of a text matters for its answer: not the blanks around it.
pub(crate) fn normalise(text: &str) -> Arc<str> {
    Arc::from(text.trim())
}

fn bytes(key: &CacheKey, decision: &Decision) -> usize {
    const ENTRY: usize = 256;
    let reasons: usize = decision.reasons.iter().map(|reason| reason.len() + size_of::<String>()).sum();
    ENTRY + size_of::<CacheKey>() + size_of::<Decision>() + key.text.len() + reasons + 24 * decision.ranking.len()
}
