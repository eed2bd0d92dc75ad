//! The database is lost in every way there is, with a real Postgres: what is answered meanwhile, how it comes back, and
//! that nothing that was accepted is lost.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    feedback::{stats, store},
    postgres::Cluster,
    proxy::{Fault, Proxy},
    server::{Server, json as body_of},
};

const FEEDBACK: &str = "/api/v1/intents/feedback";
/// How soon after the database is back it must be in use again.
const RECOVERY: Duration = Duration::from_secs(5);

/// A server, and how much feedback it has accepted.
struct Service {
    server: Server,
    accepted: AtomicU32,
}

impl Service {
    async fn start(url: &str) -> Self {
        let server = Server::with(&[("DATABASE_URL", url), ("DATABASE_TIMEOUT_MS", "1000")]);
        let service = Self { server, accepted: AtomicU32::new(0) };
        store(&service.server, &service.next()).await;
        service
    }

    /// A feedback that was never sent before.
    fn next(&self) -> Value {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        json!({
            "feedback_id": Uuid::from_u128(u128::from(number)), "text": format!("text {number}"),
            "original_intent": "refund", "correct_intent": "greeting", "feedback_type": "correction",
        })
    }

    async fn send(&self) -> u16 {
        let response = self.server.post_json(FEEDBACK, &self.next()).await;
        let status = response.status().as_u16();
        assert!(matches!(status, 201 | 202), "{status}: {}", body_of(response).await);
        status
    }

    /// What is answered while the database is away.
    async fn works_without_its_database(&self) {
        // The first one may find out, after its time limit; it is accepted all the same.
        self.until_degraded().await;
        for _ in 0..5 {
            assert_eq!(self.send().await, 202);
        }
        let classified = self.server.post_json("/api/v1/intents/classify", &json!({"text": "refund"})).await;
        assert_eq!((classified.status().as_u16(), &body_of(classified).await["intent"]), (200, &json!("refund")));
        let refused = self.server.get("/api/v1/intents/feedback/stats").send().await.expect("the server answers");
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        assert_eq!(body_of(refused).await["type"], "urn:intent-classifier:problem:storage-unavailable");
        self.refuses_changes().await;
    }

    /// Flags answer as they were; changing them is refused.
    async fn refuses_changes(&self) {
        const FLAG: &str = "/api/v1/feature-flags/quality_mode";
        assert_eq!(self.server.get(FLAG).send().await.expect("the server answers").status(), 200);
        let refused = self.server.put(FLAG).json(&json!({"enabled": true})).send().await.expect("the server answers");
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
    }

    async fn until_degraded(&self) {
        let deadline = Instant::now() + crate::server::PATIENCE;
        loop {
            self.send().await;
            let ready = self.server.get("/health/ready").send().await.expect("the server answers");
            assert_eq!(ready.status(), 200, "a lost database empties no fleet");
            if body_of(ready).await["status"] == "degraded" {
                return;
            }
            assert!(Instant::now() < deadline, "nobody notices that the database is away");
        }
    }

    /// The database was given back just now.
    async fn recovers_and_has_lost_nothing(&self) {
        let back = Instant::now();
        while self.send().await == 202 {
            assert!(back.elapsed() < RECOVERY, "the database is back and not used");
            tokio::task::yield_now().await;
        }
        let deadline = Instant::now() + crate::server::PATIENCE;
        loop {
            let response = self.server.get("/api/v1/intents/feedback/stats").send().await.expect("the server answers");
            // The one that was just stored may have been the first, with the spool behind it.
            if response.status() == 200 && body_of(response).await["spooled"] == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "the spool is not replayed");
        }
        assert_eq!(stats(&self.server).await["total"], self.accepted.load(Ordering::Relaxed), "each counts once");
        let ready = body_of(self.server.get("/health/ready").send().await.expect("the server answers")).await;
        assert_eq!(ready["status"], "ready", "{ready}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_stops_and_starts_again() {
    let cluster = Cluster::start();
    let service = Service::start(&cluster.url()).await;
    cluster.stop();
    service.works_without_its_database().await;
    cluster.start_again();
    service.recovers_and_has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_starts_before_its_database() {
    let cluster = Cluster::start();
    cluster.stop();
    let server = Server::with(&[("DATABASE_URL", &cluster.url()), ("DATABASE_TIMEOUT_MS", "1000")]);
    let service = Service { server, accepted: AtomicU32::new(0) };
    service.works_without_its_database().await;
    cluster.start_again();
    service.recovers_and_has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_frozen_and_goes_on() {
    let cluster = Cluster::start();
    let service = Service::start(&cluster.url()).await;
    cluster.pause();
    service.works_without_its_database().await;
    cluster.resume();
    service.recovers_and_has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_becomes_a_standby_and_is_promoted() {
    let cluster = Cluster::start();
    let service = Service::start(&cluster.url()).await;
    cluster.execute("ALTER DATABASE test SET default_transaction_read_only = on");
    let cut =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test' AND pid <> pg_backend_pid()";
    cluster.execute(cut);
    service.until_degraded().await;
    for _ in 0..5 {
        assert_eq!(service.send().await, 202);
    }
    assert!(stats(&service.server).await["total"].as_u64() > Some(0), "reading goes on");
    service.refuses_changes().await;
    cluster.execute("ALTER DATABASE test RESET default_transaction_read_only");
    cluster.execute(cut);
    service.recovers_and_has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_slow() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(cluster.port()).await;
    let service = Service::start(&cluster.url_at(proxy.port())).await;
    proxy.set(Fault::Slow(Duration::from_secs(30)));
    service.works_without_its_database().await;
    proxy.set(Fault::None);
    service.recovers_and_has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_in_mid_answer() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(cluster.port()).await;
    let service = Service::start(&cluster.url_at(proxy.port())).await;
    // Every answer ends after these bytes, the greeting included.
    proxy.set(Fault::CutAfter(7));
    service.works_without_its_database().await;
    proxy.set(Fault::None);
    service.recovers_and_has_lost_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_answers_what_is_no_answer() {
    let cluster = Cluster::start();
    let proxy = Proxy::start(cluster.port()).await;
    let service = Service::start(&cluster.url_at(proxy.port())).await;
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"Z\x00\x00\x00\x05I", b"\xff\x00\xfe"] {
        proxy.set(Fault::Garbage(garbage));
        service.works_without_its_database().await;
        proxy.set(Fault::None);
        service.recovers_and_has_lost_nothing().await;
    }
}
