//! The client against TorchServe's recorded answers, and against servers that misbehave.

#[path = "../../tests/it/torchserve_stub.rs"]
mod torchserve_stub;

use std::{fs, sync::Arc, time::Duration};

use intent_engine::{RemoteError, RemoteModel};
use intent_model::{Calibration, Document, Labels};
use tokio::time::Instant;

use self::torchserve_stub::{Act, NO_WORKER, SCORES, Stub, WORKER_DIED};
use super::{RemoteClassifier, RemoteClient};
use crate::config::{RemoteProtocol, RemoteSettings, Settings};

/// Longer than any answer on the slowest machine; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/it/recorded/", $name, ".http"))
    };
}

/// A model with one worker that is ready, as management describes it.
const DESCRIBED: &[u8] = recorded!("described");

fn client(stub: &Stub, change: impl FnOnce(&mut RemoteSettings)) -> RemoteClient {
    let mut settings = Settings::defaults().remote;
    (settings.port, settings.timeout_ms) = (stub.port(), 30_000);
    // Nobody answers there unless a test says so.
    settings.management_port = 1;
    change(&mut settings);
    RemoteClient::new(&settings).expect("the settings can be used")
}

fn classifier(stub: &Stub, change: impl FnOnce(&mut RemoteSettings)) -> RemoteClassifier {
    RemoteClassifier::new(Arc::new(client(stub, change)), Labels::new(["greeting", "refund", "delivery"]))
}

async fn ask(classifier: &RemoteClassifier, text: &str) -> Result<Vec<f32>, RemoteError> {
    let scores = classifier.score(&Document::new(text), Instant::now() + PATIENCE).await?;
    Ok(scores.logits)
}

#[tokio::test]
async fn scores_are_asked_for_as_torchserve_wants_it_and_mapped_by_name() {
    let stub = Stub::start(Act::Answer(SCORES)).await;
    let classifier = classifier(&stub, |settings| settings.model_version = Some("1.0".to_owned()));
    let document = Document::new("i want \"my\" money\nback");
    let scores = classifier.score(&document, Instant::now() + PATIENCE).await.expect("it answers");
    assert_eq!(scores.logits, [0.006_569_005, -0.000_855_507_45, -0.006_637_892], "in the order of the pack");
    assert!(scores.out_of_scope.is_some() && !scores.truncated);
    let confidences = Calibration::IDENTITY.apply(&scores).confidences;
    assert!((confidences.iter().sum::<f32>() - 1.0).abs() < 1e-6);

    let questions = stub.questions();
    let head = questions[0].head.to_ascii_lowercase();
    assert!(head.starts_with("post /predictions/intent_classifier/1.0 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    assert_eq!(questions[0].body, r#"{"text":"i want \"my\" money\nback"}"#);
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let stub = Stub::start(Act::Answer(SCORES)).await;
    let classifier = classifier(&stub, |_| {});
    for _ in 0..5 {
        ask(&classifier, "hello").await.expect("it answers");
    }
    assert_eq!(stub.questions().iter().map(|question| question.connection).collect::<Vec<_>>(), [1; 5]);
}

#[tokio::test]
async fn every_error_of_torchserve_is_told_apart_and_no_call_is_repeated_for_it() {
    let failed = |reason: &str| RemoteError::Failed(reason.to_owned());
    let cases: [(&'static [u8], RemoteError); 9] = [
        (NO_WORKER, RemoteError::Overloaded),
        (WORKER_DIED, failed("status 500, InternalServerException: Worker died.")),
        (recorded!("handler_raises"), failed("status 503, InternalServerException: Prediction failed")),
        (recorded!("unknown_model"), failed("status 404, ModelNotFoundException: Model not found: nope")),
        (
            recorded!("unknown_version"),
            failed(
                "status 404, ModelVersionNotFoundException: Model version: 9.9 does not exist for model: intent_classifier",
            ),
        ),
        (
            recorded!("unknown_path"),
            failed(
                "status 404, ResourceNotFoundException: Requested resource is not found, please refer to API document.",
            ),
        ),
        (recorded!("too_large"), failed("status 413")),
        (recorded!("broken_json"), failed("status 400")),
        (
            recorded!("token_missing"),
            failed(
                "status 400, InvalidKeyException: Token Authorization failed. Token either incorrect, expired, or not \
                 provided correctly",
            ),
        ),
    ];
    for (bytes, error) in cases {
        let stub = Stub::start(Act::Answer(bytes)).await;
        assert_eq!(ask(&classifier(&stub, |_| {}), "hello").await, Err(error));
        assert_eq!(stub.questions().len(), 1);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_not_a_guess() {
    let cases: [(&'static [u8], &str); 9] = [
        (b"HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\nhello", "not scores by label"),
        (b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n[]", "not scores by label"),
        (b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\n{}", "no score for the intent `greeting`"),
        (b"HTTP/1.1 200 \r\ncontent-length: 26\r\n\r\n{\"logits\": {\"refund\": 1.0}}", "not scores by label"),
        (
            b"HTTP/1.1 200 \r\ncontent-length: 27\r\n\r\n{\"logits\": {\"refund\": 1.0}}",
            "no score for the intent `greeting`",
        ),
        (b"HTTP/1.1 200 \r\ncontent-length: 14\r\n\r\n{\"poem\":0.123}", "\"poem\", which is no intent"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "status 302"),
        (recorded!("ping"), "not scores by label"),
        (DESCRIBED, "not scores by label"),
    ];
    for (bytes, reason) in cases {
        let stub = Stub::start(Act::Answer(bytes)).await;
        match ask(&classifier(&stub, |_| {}), "hello").await {
            Err(RemoteError::Failed(message)) => assert!(message.contains(reason), "{message}"),
            other => panic!("{other:?}, expected {reason}"),
        }
    }
}

#[tokio::test]
async fn a_call_that_nobody_answered_is_made_once_more_and_one_that_was_cut_is_not() {
    for (act, calls) in [(Act::CutAfter(0, SCORES), 2), (Act::CutAfter(300, SCORES), 1)] {
        let stub = Stub::start(act).await;
        assert!(matches!(ask(&classifier(&stub, |_| {}), "hello").await, Err(RemoteError::Failed(_))));
        assert_eq!(stub.questions().len(), calls, "{act:?}");
    }
    let stub = Stub::start(Act::Answer(SCORES)).await;
    let closed = classifier(&stub, |_| {});
    ask(&closed, "hello").await.expect("it answers");
    drop(stub);
    assert!(matches!(ask(&closed, "hello").await, Err(RemoteError::Failed(_))));
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time() {
    let stub = Stub::start(Act::Hang).await;
    let hurried = classifier(&stub, |settings| settings.timeout_ms = 20);
    assert_eq!(ask(&hurried, "hello").await, Err(RemoteError::TimedOut));
    let patient = classifier(&stub, |_| {});
    let deadline = Instant::now() + Duration::from_millis(20);
    assert_eq!(patient.score(&Document::new("hello"), deadline).await, Err(RemoteError::TimedOut));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_it() {
    const HEAD: &[u8] = b"HTTP/1.1 200 \r\ncontent-length: 3000000\r\n\r\n";
    let endless: &'static [u8] = [HEAD, &vec![b' '; 3_000_000]].concat().leak();
    let stub = Stub::start(Act::Answer(endless)).await;
    let error = ask(&classifier(&stub, |_| {}), "hello").await.expect_err("it is too long");
    assert_eq!(error, RemoteError::Failed("the answer is longer than 1048576 bytes".to_owned()));
}

#[tokio::test]
async fn no_more_calls_than_allowed_are_on_their_way() {
    let stub = Stub::start(Act::Hang).await;
    let classifier = Arc::new(classifier(&stub, |settings| settings.max_in_flight = 2));
    let calls: Vec<_> = (0..6)
        .map(|_| {
            let classifier = Arc::clone(&classifier);
            tokio::spawn(async move { ask(&classifier, "hello").await })
        })
        .collect();
    while stub.questions().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(stub.questions().len(), 2);
    stub.set(Act::Answer(SCORES));
    for call in calls {
        call.await.expect("it ends").expect("whoever waited is answered");
    }
}

#[tokio::test]
async fn a_token_is_sent_and_read_again_when_it_is_refused() {
    let stub = Stub::start(Act::Answer(recorded!("token_missing"))).await;
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let file = folder.path().join("key_file.json");
    let keys = |key: &str| format!(r#"{{"management": {{"key": "m"}}, "inference": {{"key": "{key}"}}}}"#);
    fs::write(&file, keys("old")).expect("a file can be written");
    let classifier = classifier(&stub, |settings| settings.token_file = Some(file.clone()));
    let tokens = || -> Vec<String> {
        let header =
            |head: String| head.lines().find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned));
        stub.questions().into_iter().filter_map(|question| header(question.head)).collect()
    };
    assert!(ask(&classifier, "hello").await.is_err());
    assert_eq!(tokens(), ["Bearer old"], "the same token again would be refused again");
    fs::write(&file, keys("new")).expect("a file can be written");
    assert!(ask(&classifier, "hello").await.is_err());
    assert_eq!(tokens(), ["Bearer old", "Bearer old", "Bearer new"]);
    stub.set(Act::Answer(SCORES));
    ask(&classifier, "hello").await.expect("it answers");
    assert_eq!(tokens().last().expect("it was asked"), "Bearer new");
}

#[tokio::test]
async fn health_is_a_ready_worker_with_room_and_a_classification() {
    let (inference, management) = (Stub::start(Act::Answer(SCORES)).await, Stub::start(Act::Answer(DESCRIBED)).await);
    let both = client(&inference, |settings| settings.management_port = management.port());
    assert_eq!(both.check().await, Ok(()));
    assert_eq!((management.questions().len(), inference.questions().len()), (1, 1), "both are asked");

    let full = String::from_utf8_lossy(DESCRIBED).replace(r#""remainingCapacity": 100"#, r#""remainingCapacity":   0"#);
    let unloading = String::from_utf8_lossy(DESCRIBED).replace(r#""READY""#, r#""STOP.""#);
    let cases: [(&'static [u8], &str); 4] = [
        (recorded!("described_no_worker"), "none of its 0 workers is ready"),
        (unloading.into_bytes().leak(), "none of its 1 workers is ready"),
        (full.into_bytes().leak(), "its queue is full"),
        (recorded!("unknown_model"), "status 404, ModelNotFoundException: Model not found: nope"),
    ];
    for (description, reason) in cases {
        management.set(Act::Answer(description));
        assert_eq!(both.check().await, Err(reason.to_owned()));
    }

    management.set(Act::Answer(DESCRIBED));
    inference.set(Act::Answer(WORKER_DIED));
    let error = both.check().await.expect_err("a ready worker that does not classify is not healthy");
    assert_eq!(error, "status 500, InternalServerException: Worker died.");
    assert!(inference.questions().iter().all(|question| !question.head.contains("/ping")));
}

#[tokio::test]
async fn without_management_the_classification_decides_alone() {
    let stub = Stub::start(Act::Answer(SCORES)).await;
    assert_eq!(client(&stub, |_| {}).check().await, Ok(()));
    let refusing = Stub::start(Act::Refuse).await;
    assert!(client(&refusing, |_| {}).check().await.is_err());
}

#[tokio::test]
async fn the_open_inference_protocol_is_spoken_as_well() {
    let scores: &'static [u8] = answer(
        r#"{"model_name": "m", "outputs": [
            {"name": "labels", "shape": [1, 3], "datatype": "BYTES", "data": [["refund", "delivery", "greeting"]]},
            {"name": "logits", "shape": [1, 3], "datatype": "FP32", "data": [1.5, -2.0, 0.25]},
            {"name": "truncated", "shape": [1], "datatype": "BOOL", "data": [true]}]}"#,
    );
    let stub = Stub::start(Act::Answer(scores)).await;
    let open_inference = |settings: &mut RemoteSettings| settings.protocol = RemoteProtocol::OpenInference;
    let classifier = classifier(&stub, open_inference);
    let scores = classifier.score(&Document::new("hello"), Instant::now() + PATIENCE).await.expect("it answers");
    assert_eq!((scores.logits, scores.truncated), (vec![0.25, 1.5, -2.0], true));
    let question = stub.questions().remove(0);
    assert!(question.head.starts_with("POST /v2/models/intent_classifier/infer HTTP/1.1"), "{}", question.head);
    insta::assert_snapshot!(question.body);

    let cases: [(&'static str, &str); 6] = [
        (r#"{"outputs": []}"#, "no output `labels`"),
        (r#"{"outputs": [{"name": "labels", "data": ["refund"]}]}"#, "neither the output `logits` nor"),
        (r#"{"outputs": [{"name": "labels", "data": ["a", "b"]}, {"name": "logits", "data": [1]}]}"#, "2 labels and 1"),
        (r#"{"outputs": [{"name": "labels", "data": [1]}, {"name": "logits", "data": [1]}]}"#, "of a wrong type"),
        (
            r#"{"outputs": [{"name": "labels", "data": ["poem"]}, {"name": "logits", "data": [1]}]}"#,
            "\"poem\", which is no",
        ),
        (r#"{"error": "x"}"#, "not one of the protocol"),
    ];
    for (body, reason) in cases {
        stub.set(Act::Answer(answer(body)));
        match ask(&classifier, "hello").await {
            Err(RemoteError::Failed(message)) => assert!(message.contains(reason), "{message}"),
            other => panic!("{other:?}, expected {reason}"),
        }
    }
    stub.set(Act::Answer(b"HTTP/1.1 404 Not Found\r\ncontent-length: 29\r\n\r\n{\"error\":\"Model m not found.\"}"));
    assert!(matches!(ask(&classifier, "hello").await, Err(RemoteError::Failed(_))));
    stub.set(Act::Answer(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"));
    assert_eq!(ask(&classifier, "hello").await, Err(RemoteError::Overloaded));
}

fn answer(body: &str) -> &'static [u8] {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes().leak()
}
