//! The shared cache on a real Redis.

#[path = "../../tests/it/redis_server.rs"]
#[expect(dead_code, reason = "the faults are injected by the tests of the whole server")]
mod redis_server;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use intent_engine::{SharedCache, SharedKey, TextDigest};

use self::redis_server::{Redis, eventually};
use super::{Corrections, RedisCache, RedisConnection, answer, answers_key};

/// What one process has of Redis.
struct Replica {
    redis: Arc<RedisConnection>,
    cache: RedisCache,
    corrections: Corrections,
    heard: Arc<Mutex<Vec<TextDigest>>>,
}

impl Replica {
    async fn start(redis: &Redis) -> Self {
        let client = redis::Client::open(redis.url()).expect("it is a URL");
        let redis = Arc::new(RedisConnection::start(client));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let forgotten = Arc::clone(&heard);
        let replica = Self {
            cache: RedisCache::start(Arc::clone(&redis), Duration::from_secs(600)),
            corrections: Corrections::start(Arc::clone(&redis), move |text| {
                forgotten.lock().expect("whole").push(text)
            }),
            redis,
            heard,
        };
        eventually("it is connected", async || replica.redis.check().await.is_ok()).await;
        replica
    }

    fn has_heard(&self, text: &str) -> bool {
        self.heard.lock().expect("whole").contains(&TextDigest::of(text))
    }

    async fn keep(&self, key: SharedKey) {
        self.cache.put(key, &answer::tests::example());
        eventually("it is written", async || matches!(self.cache.get(&key).await, Ok(Some(_)))).await;
    }
}

fn key(text: &str, conditions: u8) -> SharedKey {
    SharedKey { text: TextDigest::of(text), conditions: [conditions; 32] }
}

#[tokio::test]
async fn an_answer_comes_back_as_it_was_and_ends_some_day() {
    let redis = Redis::start().await;
    let (one, other) = (Replica::start(&redis).await, Replica::start(&redis).await);
    one.keep(key("hello", 1)).await;
    let found = other.cache.get(&key("hello", 1)).await.expect("redis answers").expect("it is there");
    assert_eq!(format!("{found:?}"), format!("{:?}", answer::tests::example()));
    assert!(matches!(other.cache.get(&key("hello", 2)).await, Ok(None)), "other conditions are another answer");
    assert!(matches!(other.cache.get(&key("goodbye", 1)).await, Ok(None)));
    let left: u64 = redis.command(&["TTL", &answers_key(&TextDigest::of("hello"))]).parse().expect("it expires");
    assert!((500..=600).contains(&left), "{left}");
}

#[tokio::test]
async fn a_correction_empties_redis_and_reaches_every_replica() {
    let redis = Redis::start().await;
    let (one, other) = (Replica::start(&redis).await, Replica::start(&redis).await);
    one.keep(key("hello", 1)).await;
    one.keep(key("hello", 2)).await;
    one.keep(key("goodbye", 1)).await;
    one.corrections.tell(TextDigest::of(" hello "));
    eventually("both hear of it", async || one.has_heard("hello") && other.has_heard("hello")).await;
    for conditions in [1, 2] {
        assert!(matches!(other.cache.get(&key("hello", conditions)).await, Ok(None)));
    }
    assert!(matches!(other.cache.get(&key("goodbye", 1)).await, Ok(Some(_))), "its neighbours are kept");
}

#[tokio::test]
async fn a_correction_that_redis_cannot_take_now_is_told_when_it_is_back() {
    let mut redis = Redis::start().await;
    let (one, other) = (Replica::start(&redis).await, Replica::start(&redis).await);
    redis.kill();
    eventually("it is noticed", async || one.redis.check().await.is_err()).await;
    one.corrections.tell(TextDigest::of("hello"));
    redis.restart().await;
    eventually("the other hears of it", async || other.has_heard("hello")).await;
}

#[tokio::test]
async fn a_replica_that_is_cut_off_again_and_again_misses_no_correction() {
    let redis = Redis::start().await;
    let (one, other) = (Replica::start(&redis).await, Replica::start(&redis).await);
    for number in 0..100 {
        one.corrections.tell(TextDigest::of(&format!("text {number}")));
        if number % 20 == 0 {
            redis.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        }
    }
    eventually("all are heard", async || (0..100).all(|number| other.has_heard(&format!("text {number}")))).await;
}
