//! Models in other processes: one that fails, hangs or lies costs no request its answer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use intent_engine::{
    Backend, ClassifyRequest, Decision, Engine, FallbackReason, LoadedModel, RemoteError, RemoteModel, StrategyName,
    circuit::CircuitState,
};
use intent_model::{
    Calibration, Document, Labels,
    ModelKind::{self, Distilbert, Linear},
    Scores,
};
use tokio::time::Instant;

use crate::scripted::{Act, Scripted, engine, labels, loaded};

/// What a remote model does when it is called.
#[derive(Clone, Debug)]
enum Call {
    Answer(Vec<f32>),
    Fail(RemoteError),
    Hang,
}

/// A remote model that plays its script, the last call for ever.
#[derive(Debug)]
struct Remote {
    labels: Labels,
    script: Mutex<VecDeque<Call>>,
    calls: Mutex<usize>,
}

impl Remote {
    fn new(script: impl IntoIterator<Item = Call>) -> Arc<Self> {
        Arc::new(Self { labels: labels(), script: Mutex::new(script.into_iter().collect()), calls: Mutex::new(0) })
    }

    fn calls(&self) -> usize {
        *self.calls.lock().unwrap()
    }
}

impl RemoteModel for Remote {
    fn kind(&self) -> ModelKind {
        Distilbert
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn score<'a>(&'a self, _: &'a Document, _: Instant) -> BoxFuture<'a, Result<Scores, RemoteError>> {
        *self.calls.lock().unwrap() += 1;
        let call = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        Box::pin(async move {
            match call.expect("a script has at least one call") {
                Call::Answer(logits) => Ok(Scores::from_logits(logits)),
                Call::Fail(error) => Err(error),
                Call::Hang => std::future::pending().await,
            }
        })
    }
}

fn sure() -> Call {
    Call::Answer(vec![5.0, -5.0])
}

/// An engine that asks the remote model first and has `linear` in its place.
fn engine_with(remote: &Arc<Remote>) -> Engine {
    let linear = Scripted::new(Linear, [Act::Answer(0.7)]);
    let remote = LoadedModel {
        backend: Backend::Remote(Arc::clone(remote) as Arc<dyn RemoteModel>),
        calibration: Calibration::IDENTITY,
        accuracy: 0.97,
        coverage: 0.9,
    };
    engine([loaded(&linear, 0.9), remote])
}

async fn ask(engine: &Engine) -> Decision {
    let request = ClassifyRequest { strategy: Some(StrategyName::QualityFirst), ..ClassifyRequest::new("hello") };
    engine.classify(request).await.expect("some model answers")
}

fn circuit(engine: &Engine) -> CircuitState {
    engine.model_status().iter().find(|status| status.kind == Distilbert).expect("it is loaded").circuit
}

#[tokio::test(start_paused = true)]
async fn a_remote_model_answers_like_any_other() {
    let decision = ask(&engine_with(&Remote::new([sure()]))).await;
    assert_eq!((decision.model, decision.best().intent.as_ref()), (Distilbert, "greeting"));
    assert!(!decision.degraded && decision.fallbacks.is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_way_to_fail_has_its_reason_and_the_next_model_answers() {
    let cases = [
        (Call::Fail(RemoteError::Failed("status 503".into())), FallbackReason::Failed),
        (Call::Fail(RemoteError::TimedOut), FallbackReason::TimedOut),
        (Call::Fail(RemoteError::Overloaded), FallbackReason::Overloaded),
        (Call::Hang, FallbackReason::TimedOut),
        (Call::Answer(vec![1.0]), FallbackReason::Failed),
        (Call::Answer(vec![1.0, f32::NAN]), FallbackReason::Failed),
        (Call::Answer(vec![1.0, 2.0, 3.0]), FallbackReason::Failed),
    ];
    for (call, reason) in cases {
        let decision = ask(&engine_with(&Remote::new([call.clone()]))).await;
        assert_eq!(decision.model, Linear, "{call:?}");
        assert!(decision.degraded, "{call:?}");
        assert_eq!((decision.fallbacks[0].from, decision.fallbacks[0].reason), (Distilbert, reason), "{call:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_remote_model_costs_the_budget_at_most_and_soon_nothing() {
    let remote = Remote::new([Call::Hang]);
    let engine = engine_with(&remote);
    let budget = engine.routing().latency_targets.standard;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        slowest = slowest.max(ask(&engine).await.timings.total);
    }
    assert_eq!(slowest, budget);
    let calls = remote.calls();
    let decision = ask(&engine).await;
    assert_eq!((decision.model, decision.timings.total), (Linear, Duration::ZERO));
    assert_eq!(remote.calls(), calls, "it is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_remote_model_that_is_back_answers_again_within_five_seconds() {
    let remote = Remote::new((0..8).map(|_| Call::Hang).chain([sure()]));
    let engine = engine_with(&remote);
    let mut requests = 0;
    // Until the last call of its script that hangs: then it is back.
    while remote.calls() < 8 {
        ask(&engine).await;
        tokio::time::advance(Duration::from_millis(100)).await;
        requests += 1;
        assert!(requests < 1_000, "it is asked again and again");
    }
    let back = Instant::now();
    while ask(&engine).await.model != Distilbert || circuit(&engine) != CircuitState::Closed {
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(back.elapsed() < Duration::from_secs(5));
    }
    for _ in 0..10 {
        assert_eq!(ask(&engine).await.model, Distilbert, "its hanging is forgotten");
    }
}
