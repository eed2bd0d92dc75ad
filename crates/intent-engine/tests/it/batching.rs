use std::sync::Arc;

use intent_engine::{ClassifyRequest, Decision, Engine};
use intent_model::ModelKind::Hybrid;
use tokio::task::JoinHandle;

use crate::scripted::{Act, Scripted, engine, loaded};

fn ask(engine: &Arc<Engine>, text: &str) -> JoinHandle<bool> {
    let (engine, mut request) = (Arc::clone(engine), ClassifyRequest::new(text));
    request.model = Some(Hybrid);
    tokio::spawn(async move { engine.classify(request).await.is_ok() })
}

/// Lets spawned requests run until `waiting` of them stand in the queue.
async fn until_waiting(engine: &Engine, waiting: usize) {
    while engine.waiting() != waiting {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_that_arrive_while_the_worker_is_busy_form_one_batch() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&hybrid, 0.9)]));
    let lone = ask(&engine, "lone");
    until_waiting(&engine, 0).await;
    gate.until_entered().await;
    let others: Vec<_> = ["a", "b", "c"].map(|text| ask(&engine, text)).into();
    until_waiting(&engine, 3).await;
    drop(gate);
    assert!(lone.await.unwrap());
    for other in others {
        assert!(other.await.unwrap());
    }
    assert_eq!(*hybrid.batches.lock().unwrap(), [vec!["lone"], vec!["a", "b", "c"]]);
}

#[tokio::test]
async fn a_bad_text_fails_alone() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&hybrid, 0.9)]));
    let first = ask(&engine, "first");
    gate.until_entered().await;
    let (good, bad) = (ask(&engine, "good"), ask(&engine, "poison"));
    until_waiting(&engine, 2).await;
    drop(gate);
    assert!(first.await.unwrap());
    assert!(good.await.unwrap(), "the neighbour is answered");
    assert!(!bad.await.unwrap(), "the bad text is not");
}

#[tokio::test]
async fn nobody_computes_for_a_caller_who_left() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&hybrid, 0.9)]));
    let first = ask(&engine, "first");
    gate.until_entered().await;
    let leaver = ask(&engine, "leaver");
    until_waiting(&engine, 1).await;
    leaver.abort();
    assert!(leaver.await.is_err());
    let last = ask(&engine, "last");
    until_waiting(&engine, 2).await;
    drop(gate);
    assert!(first.await.unwrap() && last.await.unwrap());
    assert_eq!(*hybrid.batches.lock().unwrap(), [vec!["first"], vec!["last"]]);
    assert_eq!(engine.in_flight(), 0, "a caller who left frees his place");
}

#[tokio::test]
async fn a_batch_is_limited_by_texts_and_by_bytes() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&hybrid, 0.9)]));
    let mut handles = vec![ask(&engine, "first")];
    gate.until_entered().await;
    let long = "x".repeat(600); // two of them exceed the 1,000 bytes of a batch
    for text in [long.as_str(), "1", "2", "3", "4", "5", "6", "7", "8", long.as_str()] {
        handles.push(ask(&engine, text));
    }
    until_waiting(&engine, 10).await;
    drop(gate);
    for handle in handles {
        assert!(handle.await.unwrap());
    }
    for batch in hybrid.batches.lock().unwrap().iter() {
        assert!(batch.len() <= 8, "{} texts", batch.len());
        assert!(batch.len() == 1 || batch.iter().map(String::len).sum::<usize>() <= 1_000);
    }
}

fn ask_all(engine: &Arc<Engine>, texts: &[&str]) -> JoinHandle<Vec<Decision>> {
    let request = |&text: &&str| ClassifyRequest { model: Some(Hybrid), ..ClassifyRequest::new(text) };
    let (engine, requests) = (Arc::clone(engine), texts.iter().map(request).collect());
    tokio::spawn(async move { engine.classify_batch(requests).await.unwrap() })
}

#[tokio::test]
async fn a_single_text_overtakes_a_large_request_and_does_not_stop_it() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&hybrid, 0.9)]));
    let first = ask(&engine, "first");
    gate.until_entered().await;
    let bulk = ask_all(&engine, &["b1", "b2", "b3", "b4", "b5"]);
    until_waiting(&engine, 5).await;
    let mut singles = vec![first];
    for (waiting, text) in [(6, "s1"), (6, "s2"), (6, "s3"), (5, "s4")] {
        singles.push(ask(&engine, text));
        until_waiting(&engine, waiting).await;
        gate.let_pass(1);
        gate.until_entered().await;
    }
    drop(gate);
    for single in singles {
        assert!(single.await.unwrap());
    }
    assert_eq!(bulk.await.unwrap().len(), 5);
    let batches = hybrid.batches.lock().unwrap();
    let expected = [vec!["first"], vec!["s1"], vec!["s2"], vec!["b1", "b2"], vec!["s3", "s4"]];
    assert_eq!(batches[..5], expected);
    assert!(batches[5..].iter().all(|batch| batch.len() <= 2), "bulk comes in small batches: {batches:?}");
}

#[tokio::test]
async fn equal_texts_of_a_batch_are_computed_once() {
    let hybrid = Scripted::new(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&hybrid, 0.9)]));
    let decisions = ask_all(&engine, &["a", "b", "a", "a"]).await.unwrap();
    assert_eq!(decisions.len(), 4);
    assert_eq!(decisions.iter().filter(|decision| decision.timings.models.is_empty()).count(), 2);
    let mut computed = hybrid.batches.lock().unwrap().concat();
    computed.sort_unstable();
    assert_eq!(computed, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_text_whose_deadline_passed_in_the_queue_is_not_computed() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = Arc::new(engine([loaded(&hybrid, 0.9)]));
    let first = ask(&engine, "first");
    gate.until_entered().await;
    let late =
        ClassifyRequest { latency_budget: Some(std::time::Duration::from_millis(50)), ..ClassifyRequest::new("late") };
    engine.classify(late).await.expect_err("its turn does not come");
    tokio::time::resume();
    drop(gate);
    assert!(first.await.unwrap());
    assert_eq!(*hybrid.batches.lock().unwrap(), [vec!["first"]]);
}
