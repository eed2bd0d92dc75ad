//! Three server processes on one Postgres.

use serde_json::{Value, json};

use crate::{
    feedback::store,
    postgres,
    server::{PATIENCE, Server, json as body_of},
};

/// Starts three servers on one empty database, all at once.
fn three_replicas(settings: &[(&str, &str)]) -> [Server; 3] {
    let url = postgres::database();
    std::thread::scope(|scope| {
        let starts =
            [(); 3].map(|()| scope.spawn(|| Server::with(&[&[("DATABASE_URL", url.as_str())], settings].concat())));
        starts.map(|start| start.join().expect("the server starts"))
    })
}

/// Asks until the answer is as wanted.
async fn until(server: &Server, ask: impl AsyncFn(&Server) -> Value, wanted: &Value) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = ask(server).await;
        if found == *wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found} is not {wanted}");
        tokio::task::yield_now().await;
    }
}

/// Whether the answer to `refund` comes from the cache.
async fn is_cached(server: &Server) -> Value {
    let answer = server.post_json("/api/v1/intents/classify", &json!({"text": "refund"})).await;
    body_of(answer).await["cached"].clone()
}

fn correction(text: &str) -> Value {
    json!({"text": text, "original_intent": "refund", "correct_intent": "greeting", "feedback_type": "correction"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_through_one_replica_evicts_the_answers_of_all() {
    let replicas = three_replicas(&[]);
    for replica in &replicas {
        // They know their database, and remember the answer.
        store(replica, &correction("another text")).await;
        until(replica, is_cached, &json!(true)).await;
    }
    store(&replicas[0], &correction("refund")).await;
    assert_eq!(is_cached(&replicas[0]).await, false);
    for replica in &replicas[1..] {
        // Asking keeps the answer alive; only a correction makes it new once.
        until(replica, is_cached, &json!(false)).await;
    }
}
