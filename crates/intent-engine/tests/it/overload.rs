use std::{sync::Arc, time::Duration};

use intent_engine::{ClassifyRequest, EngineError};
use intent_model::ModelKind::{Hybrid, Rules};

use crate::scripted::{Act, Scripted, engine_with, loaded};

#[tokio::test]
async fn more_than_the_capacity_is_refused_before_any_work() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine_with([loaded(&hybrid, 0.9)], |options| options.max_texts_in_flight = 1));
    let running = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.classify(ClassifyRequest::new("first")).await }
    });
    while gate.entered.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    let refused = engine.classify(ClassifyRequest::new("second")).await.expect_err("the engine is full");
    let EngineError::Overloaded { in_flight: 1, capacity: 1, retry_after } = refused else { panic!("{refused:?}") };
    assert!(retry_after >= Duration::from_secs(1));
    assert_eq!(hybrid.calls(), 1);
    drop(gate);
    assert!(running.await.unwrap().is_ok());
    assert!(engine.classify(ClassifyRequest::new("third")).await.is_ok(), "there is room again");
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_refused_whole() {
    let rules = Scripted::new(Rules, [Act::Answer(0.9)]);
    let engine = engine_with([loaded(&rules, 0.9)], |options| options.max_texts_in_flight = 2);
    let batch = |texts: usize| (0..texts).map(|index| ClassifyRequest::new(index.to_string())).collect();
    let refused = engine.classify_batch(batch(3)).await;
    assert!(matches!(refused, Err(EngineError::Overloaded { .. })), "{refused:?}");
    assert_eq!(rules.calls(), 0, "nothing half done");
    assert_eq!(engine.classify_batch(batch(2)).await.unwrap().len(), 2);
}
