//! The second layer of the cache: what it holds is used by every replica, and losing it costs no request its answer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use intent_engine::{
    CacheLookup, CacheUse, ClassifyRequest, Decision, Engine, Flag, RankedIntent, RoutingConfig, SharedCache,
    SharedCacheError, SharedKey, circuit::CircuitState,
};
use intent_model::ModelKind::{Linear, Rules};

use crate::scripted::{Act, Scripted, engine, flags, loaded};

const LIMIT: Duration = Duration::from_millis(20);

/// How a [`Shelf`] behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    Down,
    Hung,
    Garbage,
}

/// A shared cache in memory that can be told to misbehave.
#[derive(Debug)]
struct Shelf {
    mood: Mutex<Mood>,
    answers: Mutex<HashMap<SharedKey, Decision>>,
    gets: Mutex<usize>,
}

impl Shelf {
    fn new(mood: Mood) -> Arc<Self> {
        Arc::new(Self { mood: Mutex::new(mood), answers: Mutex::default(), gets: Mutex::default() })
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn gets(&self) -> usize {
        *self.gets.lock().unwrap()
    }

    fn entries(&self) -> usize {
        self.answers.lock().unwrap().len()
    }
}

impl SharedCache for Shelf {
    fn get<'a>(&'a self, key: &'a SharedKey) -> BoxFuture<'a, Result<Option<Decision>, SharedCacheError>> {
        *self.gets.lock().unwrap() += 1;
        let mood = *self.mood.lock().unwrap();
        let found = self.answers.lock().unwrap().get(key).cloned();
        Box::pin(async move {
            match mood {
                Mood::Well => Ok(found),
                Mood::Down => Err(SharedCacheError("connection refused".into())),
                Mood::Hung => std::future::pending().await,
                Mood::Garbage => Ok(found.map(|mut decision| {
                    decision.ranking = vec![RankedIntent { intent: "nonsense".into(), confidence: 0.9 }];
                    decision
                })),
            }
        })
    }

    fn put(&self, key: SharedKey, decision: &Decision) {
        self.answers.lock().unwrap().insert(key, decision.clone());
    }
}

fn replica(model: &Arc<Scripted>, shelf: &Arc<Shelf>) -> Engine {
    let engine = engine([loaded(model, 0.9)]).with_shared_cache(Arc::clone(shelf) as Arc<dyn SharedCache>, LIMIT);
    engine.replace_flags(flags(&[(Flag::Caching, true), (Flag::AbTesting, false)]));
    engine
}

async fn ask(engine: &Engine, text: &str) -> Decision {
    engine.classify(ClassifyRequest::new(text)).await.expect("the model answers")
}

fn used(memory: CacheLookup, shared: CacheLookup) -> CacheUse {
    CacheUse { memory, shared }
}

#[tokio::test(start_paused = true)]
async fn what_one_replica_computed_another_finds() {
    let (model, shelf) = (Scripted::new(Linear, [Act::Answer(0.9)]), Shelf::new(Mood::Well));
    let (one, other) = (replica(&model, &shelf), replica(&model, &shelf));
    let first = ask(&one, "hello").await;
    assert_eq!((first.cached, first.cache), (false, used(CacheLookup::Miss, CacheLookup::Miss)));
    let second = ask(&other, " hello ").await;
    assert_eq!((second.cached, second.cache), (true, used(CacheLookup::Miss, CacheLookup::Hit)));
    assert_eq!(second.ranking, first.ranking);
    let third = ask(&other, "hello").await;
    assert_eq!((third.cached, third.cache), (true, used(CacheLookup::Hit, CacheLookup::NotAsked)));
    assert_eq!((model.calls(), shelf.gets()), (1, 2));
    assert!(![&first, &second, &third].iter().any(|decision| decision.degraded));
}

#[tokio::test(start_paused = true)]
async fn other_settings_are_not_answered_from_there() {
    let (model, shelf) = (Scripted::new(Linear, [Act::Answer(0.9)]), Shelf::new(Mood::Well));
    let (one, other) = (replica(&model, &shelf), replica(&model, &shelf));
    other.replace_routing(RoutingConfig { thresholds: [(Rules, 0.5)].into(), ..Default::default() });
    ask(&one, "hello").await;
    assert!(!ask(&other, "hello").await.cached);
}

#[tokio::test(start_paused = true)]
async fn a_shared_cache_that_is_lost_degrades_answers_and_fails_none() {
    let cases = [(Mood::Down, "failed", Duration::ZERO), (Mood::Hung, "timed out", LIMIT)];
    for (mood, failure, added) in cases {
        let (model, shelf) = (Scripted::new(Linear, [Act::Answer(0.9)]), Shelf::new(mood));
        let engine = replica(&model, &shelf);
        let first = ask(&engine, "hello").await;
        assert_eq!((first.degraded, first.cache.shared, first.timings.total), (true, CacheLookup::Failed, added));
        assert!(first.reasons.contains(&format!("shared cache: {failure}")), "{:?}", first.reasons);
        assert_eq!(shelf.entries(), 0, "what cannot be read is not written to");
        let again = ask(&engine, "hello").await;
        assert!(again.cached && !again.degraded, "the cache of this process goes on");

        for text in 0..20 {
            ask(&engine, &format!("text {text}")).await;
        }
        assert_eq!(engine.cache().shared_circuit(), Some(CircuitState::Open));
        let gets = shelf.gets();
        let late = ask(&engine, "one more").await;
        assert_eq!((late.degraded, late.timings.total), (true, Duration::ZERO));
        assert!(late.reasons.contains(&"shared cache: circuit open".to_owned()), "{:?}", late.reasons);
        assert_eq!(shelf.gets(), gets, "it is left alone: {mood:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_cache_that_is_back_is_used_again_within_five_seconds() {
    let (model, shelf) = (Scripted::new(Linear, [Act::Answer(0.9)]), Shelf::new(Mood::Hung));
    let engine = replica(&model, &shelf);
    let mut text = 0;
    while engine.cache().shared_circuit() != Some(CircuitState::Open) {
        text += 1;
        ask(&engine, &format!("text {text}")).await;
    }
    shelf.set(Mood::Well);
    let back = tokio::time::Instant::now();
    while engine.cache().shared_circuit() != Some(CircuitState::Closed) {
        text += 1;
        ask(&engine, &format!("text {text}")).await;
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(back.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_these_models_cannot_give_is_not_believed() {
    let (model, shelf) = (Scripted::new(Linear, [Act::Answer(0.9)]), Shelf::new(Mood::Well));
    ask(&replica(&model, &shelf), "hello").await;
    shelf.set(Mood::Garbage);
    let decision = ask(&replica(&model, &shelf), "hello").await;
    assert_eq!(decision.best().intent.as_ref(), "greeting");
    assert_eq!((decision.cached, decision.cache.shared), (false, CacheLookup::Failed));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_came_about_under_failure_is_not_shared() {
    let shelf = Shelf::new(Mood::Well);
    let model = Scripted::new(Linear, [Act::Fail]);
    let rules = Scripted::new(Rules, [Act::Answer(0.5)]);
    let engine = engine([loaded(&rules, 0.6), loaded(&model, 0.9)])
        .with_shared_cache(Arc::clone(&shelf) as Arc<dyn SharedCache>, LIMIT);
    engine.replace_flags(flags(&[(Flag::Caching, true), (Flag::AbTesting, false)]));
    assert!(ask(&engine, "hello").await.degraded);
    assert_eq!(shelf.entries(), 0);
}

#[tokio::test(start_paused = true)]
async fn concurrent_misses_look_up_once() {
    let (model, shelf) = (Scripted::new(Linear, [Act::Answer(0.9)]), Shelf::new(Mood::Hung));
    let engine = replica(&model, &shelf);
    let (one, other) = tokio::join!(ask(&engine, "hello"), ask(&engine, "hello"));
    assert_eq!((one.cached, other.cached, shelf.gets(), model.calls()), (false, true, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_the_caching_flag_nobody_looks_anywhere() {
    let (model, shelf) = (Scripted::new(Linear, [Act::Answer(0.9)]), Shelf::new(Mood::Well));
    let engine = replica(&model, &shelf);
    engine.replace_flags(flags(&[(Flag::Caching, false), (Flag::AbTesting, false)]));
    assert_eq!(ask(&engine, "hello").await.cache, CacheUse::default());
    assert_eq!(shelf.gets(), 0);
}
