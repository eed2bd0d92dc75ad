//! A model server that is lost in every way there is: no request fails meanwhile, and it is asked again within five
//! seconds after it is back. Its answers are those of TorchServe 0.12.0.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    proxy::{Fault, Proxy},
    redis::classify,
    redis_server::{eventually, within},
    server::Server,
    torchserve_stub::{Act, NO_WORKER, Question, SCORES, Stub, WORKER_DIED},
};

/// How soon after the model server is back it must be asked again.
const RECOVERY: Duration = Duration::from_secs(5);
/// Scores of other intents than those of the pack.
const OTHER_LABELS: &[u8] = b"HTTP/1.1 200 \r\ncontent-length: 29\r\n\r\n{\"logits\":{\"a\":0.1,\"b\":0.25}}";

/// A server, and texts that it was never asked before and that no rule knows.
struct Service {
    server: Server,
    asked: AtomicU32,
}

/// Starts a server that has a model server and one more setting. Nobody answers where its management is looked for.
fn start_server(port: u16, setting: (&str, &str)) -> Server {
    let port = port.to_string();
    let address = [("TORCHSERVE_PORT", port.as_str()), ("TORCHSERVE_MANAGEMENT_PORT", "1")];
    Server::with(&[&[("USE_TORCHSERVE", "true"), setting][..], &address].concat())
}

impl Service {
    fn start(port: u16) -> Self {
        // Long enough for a model server that is well on a busy machine.
        Self { server: start_server(port, ("TORCHSERVE_TIMEOUT_MS", "500")), asked: AtomicU32::new(0) }
    }

    async fn ask(&self) -> Value {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        classify(&self.server, &format!("something else, number {number}")).await
    }

    /// What is answered while the model server is away.
    async fn works_without_the_model_server(&self) {
        eventually("an answer tells of the loss", async || self.ask().await["degraded"] == true).await;
        for _ in 0..20 {
            let answer = self.ask().await;
            assert_eq!(answer["model_used"], "rules", "{answer}");
        }
        let known = classify(&self.server, "i want my money back").await;
        assert_eq!((&known["intent"], &known["degraded"]), (&json!("refund"), &json!(false)), "rules are sure alone");
        let ready = self.server.get("/health/ready").send().await.expect("the server answers");
        assert_eq!(ready.status(), 200, "a lost model server empties no fleet");
    }

    async fn asks_the_model_server_again(&self) {
        let mut in_a_row = 0;
        within(RECOVERY, "the model server is asked again", async || {
            in_a_row = if self.ask().await["model_used"] == "distilbert" { in_a_row + 1 } else { 0 };
            in_a_row == 5
        })
        .await;
    }
}

#[tokio::test]
async fn distilbert_answers_from_the_model_server() {
    let stub = Stub::start(Act::Answer(SCORES)).await;
    let service = Service::start(stub.port());
    let answer = service.ask().await;
    assert_eq!((&answer["model_used"], &answer["intent"]), (&json!("distilbert"), &json!("greeting")), "{answer}");
    let version = answer["model_version"].as_str().expect("a text");
    assert!(version.ends_with("+torchserve:intent_classifier"), "{version}");
    assert_eq!(answer["degraded"], false);
    service.ask().await;
    // Health asks as well.
    let of_users = |question: &Question| question.body.contains("something else");
    let questions: Vec<Question> = stub.questions().into_iter().filter(of_users).collect();
    for (number, question) in questions.iter().enumerate() {
        assert!(question.head.starts_with("POST /predictions/intent_classifier HTTP/1.1\r\n"), "{}", question.head);
        assert_eq!(question.body, format!(r#"{{"text":"something else, number {number}"}}"#));
    }
    assert_eq!(questions.len(), 2);
    assert_eq!(questions[0].connection, questions[1].connection, "connections are kept");
}

#[tokio::test]
async fn a_model_server_that_misbehaves_in_every_way() {
    let stub = Stub::start(Act::Answer(SCORES)).await;
    let service = Service::start(stub.port());
    service.asks_the_model_server_again().await;
    let acts = [
        Act::Hang,
        Act::Refuse,
        Act::CutAfter(0, SCORES),
        Act::CutAfter(100, SCORES),
        Act::CutAfter(330, SCORES),
        Act::Answer(OTHER_LABELS),
        Act::Answer(WORKER_DIED),
        Act::Answer(NO_WORKER),
        Act::Answer(b"\x00\xff garbage"),
    ];
    for act in acts {
        stub.set(act);
        service.works_without_the_model_server().await;
        stub.set(Act::Answer(SCORES));
        service.asks_the_model_server_again().await;
    }
}

#[tokio::test]
async fn a_slow_network_to_the_model_server_costs_the_budget_and_then_nothing() {
    let stub = Stub::start(Act::Answer(SCORES)).await;
    let proxy = Proxy::start(stub.port()).await;
    let service = Service::start(proxy.port());
    service.asks_the_model_server_again().await;
    proxy.set(Fault::Slow(Duration::from_secs(2)));
    service.works_without_the_model_server().await;
    proxy.set(Fault::None);
    service.asks_the_model_server_again().await;
}

#[tokio::test]
async fn a_server_starts_without_its_model_server_and_asks_it_when_it_is_there() {
    let proxy_to_nobody = Stub::start(Act::Refuse).await;
    let service = Service::start(proxy_to_nobody.port());
    service.works_without_the_model_server().await;
    proxy_to_nobody.set(Act::Answer(SCORES));
    service.asks_the_model_server_again().await;
}

#[tokio::test]
async fn every_text_of_a_batch_is_answered_while_the_model_server_is_away() {
    let stub = Stub::start(Act::Hang).await;
    let service = Service::start(stub.port());
    let texts: Vec<String> = (0..100).map(|number| format!("text {number}")).collect();
    let response = service.server.post_json("/api/v1/intents/classify/batch", &json!({"texts": texts})).await;
    assert_eq!(response.status(), 200);
    let answer = crate::server::json(response).await;
    assert_eq!(answer["results"].as_array().expect("a list").len(), 100);
}

#[tokio::test]
async fn health_tells_whether_the_model_server_classifies() {
    let stub = Stub::start(Act::Answer(SCORES)).await;
    let server = start_server(stub.port(), ("HEALTH_CHECK_INTERVAL_MS", "100"));
    let torchserve = async || {
        let response = server.get("/health/dependencies").send().await.expect("the server answers");
        crate::server::json(response).await["torchserve"]["status"].clone()
    };
    eventually("it is healthy", async || torchserve().await == "healthy").await;
    stub.set(Act::Answer(WORKER_DIED));
    eventually("it is not, though its port answers", async || torchserve().await == "unhealthy").await;
}
