use std::{sync::Arc, time::Duration};

use intent_engine::{CacheLookup, Catalog, ClassifyRequest, Engine, Flag, RoutingConfig};
use intent_model::ModelKind::{Hybrid, Linear, Rules};

use crate::scripted::{Act, Scripted, engine, flags, labels, loaded};

fn caching(model: &Arc<Scripted>) -> Engine {
    let engine = engine([loaded(model, 0.9)]);
    engine.replace_flags(flags(&[(Flag::Caching, true), (Flag::AbTesting, false)]));
    engine
}

async fn is_cached(engine: &Engine, text: &str) -> bool {
    engine.classify(ClassifyRequest::new(text)).await.expect("the model answers").cached
}

#[tokio::test]
async fn a_text_that_was_asked_before_is_answered_without_a_model() {
    let linear = Scripted::new(Linear, [Act::Answer(0.9)]);
    let engine = caching(&linear);
    assert!(!is_cached(&engine, "hello").await);
    assert!(is_cached(&engine, "  hello\n").await, "blanks around a text do not matter");
    assert!(!is_cached(&engine, "Hello").await, "letters do");
    assert_eq!(linear.calls(), 2);
}

#[tokio::test]
async fn a_cached_answer_reports_its_own_time_and_nobody_elses() {
    let engine = caching(&Scripted::new(Linear, [Act::Answer(0.9)]));
    is_cached(&engine, "hello").await;
    let again = engine.classify(ClassifyRequest::new("hello")).await.unwrap();
    assert!(again.cached && again.timings.models.is_empty());
    assert_eq!(again.best().intent.as_ref(), "greeting");
}

#[tokio::test]
async fn a_decision_tells_what_became_of_asking_the_cache() {
    let engine = caching(&Scripted::new(Linear, [Act::Answer(0.9)]));
    let ask = async || engine.classify(ClassifyRequest::new("hello")).await.expect("the model answers");
    assert_eq!(ask().await.cache.memory, CacheLookup::Miss);
    assert_eq!(ask().await.cache.memory, CacheLookup::Hit);
    engine.replace_flags(flags(&[(Flag::Caching, false)]));
    let asked_without = ask().await;
    assert_eq!(asked_without.cache.memory, CacheLookup::NotAsked);
    assert!(!asked_without.flags.contains(Flag::Caching) && asked_without.flags.contains(Flag::AdaptiveRouting));
}

#[tokio::test]
async fn new_models_and_new_settings_make_old_answers_unreachable() {
    let linear = Scripted::new(Linear, [Act::Answer(0.9)]);
    let engine = caching(&linear);
    is_cached(&engine, "hello").await;
    let usual = engine.routing();
    engine.replace_routing(RoutingConfig { accuracy: [(Linear, 0.8)].into(), ..RoutingConfig::default() });
    assert!(!is_cached(&engine, "hello").await);
    engine.replace_routing(RoutingConfig::clone(&usual));
    assert!(is_cached(&engine, "hello").await, "the old settings make the old answers right again");
    engine.replace_catalog(Catalog::new("v2", &labels(), [loaded(&linear, 0.9)]).unwrap());
    assert!(!is_cached(&engine, "hello").await);
    assert!(is_cached(&engine, "hello").await);
}

#[tokio::test]
async fn an_answer_that_came_about_under_failure_is_not_kept() {
    let hybrid = Scripted::new(Hybrid, [Act::Fail, Act::Answer(0.9)]);
    let rules = Scripted::new(Rules, [Act::Answer(0.5)]);
    let engine = engine([loaded(&rules, 0.6), loaded(&hybrid, 0.95)]);
    engine.replace_flags(flags(&[(Flag::AbTesting, false)]));
    let first = engine.classify(ClassifyRequest::new("hello")).await.unwrap();
    assert!(first.degraded);
    let second = engine.classify(ClassifyRequest::new("hello")).await.unwrap();
    assert_eq!((second.model, second.cached), (Hybrid, false));
}

#[tokio::test]
async fn concurrent_misses_of_one_text_compute_once() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(caching(&hybrid));
    let ask = || {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { is_cached(&engine, "hello").await })
    };
    let first = ask();
    gate.until_entered().await;
    let second = ask();
    while engine.in_flight() != 2 {
        tokio::task::yield_now().await;
    }
    drop(gate);
    assert!(!first.await.unwrap());
    assert!(second.await.unwrap());
    assert_eq!(hybrid.calls(), 1);
}

#[tokio::test]
async fn a_corrected_text_is_forgotten_and_its_neighbours_are_kept() {
    let engine = caching(&Scripted::new(Linear, [Act::Answer(0.9)]));
    is_cached(&engine, "hello").await;
    is_cached(&engine, "goodbye").await;
    engine.cache().forget_text(" hello ");
    assert!(!is_cached(&engine, "hello").await);
    assert!(is_cached(&engine, "goodbye").await);
}

#[tokio::test]
async fn a_request_for_one_model_is_never_answered_from_the_cache() {
    let linear = Scripted::new(Linear, [Act::Answer(0.9)]);
    let engine = caching(&linear);
    for _ in 0..2 {
        let request = ClassifyRequest { model: Some(Linear), ..ClassifyRequest::new("hello") };
        assert!(!engine.classify(request).await.unwrap().cached);
    }
    assert_eq!(linear.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_for_anothers_answer_than_his_own_budget() {
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]));
    engine.replace_flags(flags(&[(Flag::AbTesting, false)]));
    let within = |budget_ms| {
        let budget = Some(Duration::from_millis(budget_ms));
        let (engine, request) =
            (Arc::clone(&engine), ClassifyRequest { latency_budget: budget, ..ClassifyRequest::new("hello") });
        async move { engine.classify(request).await.unwrap() }
    };
    let patient = tokio::spawn(within(10_000));
    gate.until_entered().await;
    let hurried = within(50).await;
    assert_eq!((hurried.model, hurried.cached), (Linear, false));
    tokio::time::resume();
    drop(gate);
    assert_eq!(patient.await.unwrap().model, Hybrid);
}

#[tokio::test]
async fn an_answer_given_in_haste_is_not_shared_with_those_who_have_time() {
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    let hybrid = Scripted::new(Hybrid, [Act::Answer(0.9)]);
    let engine = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
    engine.replace_flags(flags(&[(Flag::AbTesting, false)]));
    let within = |budget| ClassifyRequest { latency_budget: Some(budget), ..ClassifyRequest::new("hello") };
    // Makes the model known to take longer than nothing.
    engine.classify(within(Duration::from_secs(100))).await.unwrap();
    engine.cache().forget_text("hello");
    let (hasty, patient) = tokio::join!(
        engine.classify(within(Duration::from_nanos(1))),
        engine.classify(within(Duration::from_secs(100)))
    );
    assert_eq!(hasty.unwrap().skipped, [Hybrid]);
    assert_eq!(patient.unwrap().model, Hybrid);
}
