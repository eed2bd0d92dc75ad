use std::time::Duration;

use intent_engine::{ClassifyRequest, ProbeError, circuit::CircuitState, workers::ComputeError};
use intent_model::ModelKind::{Distilbert, Hybrid, Linear};

use crate::scripted::{Act, Scripted, engine, loaded};

const LIMIT: Duration = Duration::from_secs(2);

// In real time: paused time would pass while the worker's thread computes.
#[tokio::test]
async fn a_probe_tells_whether_a_model_answers_and_leaves_no_trace_in_live_figures() {
    let linear = Scripted::new(Linear, [Act::Answer(0.9)]);
    let engine = engine([loaded(&linear, 0.9), loaded(&Scripted::new(Hybrid, [Act::Fail]), 0.95)]);
    assert!(engine.probe(Linear, "hello", LIMIT).await.is_ok());
    assert_eq!(linear.calls(), 1);
    let failed = engine.probe(Hybrid, "hello", LIMIT).await;
    assert!(matches!(failed, Err(ProbeError::Failed(ComputeError::Failed(_)))), "{failed:?}");
    assert_eq!(engine.probe(Distilbert, "hello", LIMIT).await, Err(ProbeError::NotLoaded));
    for status in engine.model_status() {
        assert_eq!((status.p50, status.circuit), (None, CircuitState::Closed), "{:?}", status.kind);
    }
}

#[tokio::test(start_paused = true)]
async fn probes_close_an_open_circuit_without_a_request() {
    let acts: Vec<Act> = (0..8).map(|_| Act::Fail).chain([Act::Answer(0.9)]).collect();
    let engine = engine([loaded(&Scripted::new(Linear, acts), 0.9)]);
    for _ in 0..8 {
        engine.classify(ClassifyRequest::new("hello")).await.expect_err("the only model fails");
    }
    assert_eq!(engine.probe(Linear, "hello", LIMIT).await, Err(ProbeError::CircuitOpen));
    tokio::time::advance(Duration::from_secs(6)).await;
    for _ in 0..3 {
        engine.probe(Linear, "hello", LIMIT).await.expect("it works again");
    }
    assert_eq!(engine.model_status()[0].circuit, CircuitState::Closed);
}
