//! Redis is lost in every way there is, with a real one: no request fails meanwhile, and it is used again within five
//! seconds after it is back.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    proxy::{Fault, Proxy},
    redis::classify,
    redis_server::{Redis, eventually, within},
    server::Server,
};

/// How soon after Redis is back it must be in use again.
const RECOVERY: Duration = Duration::from_secs(5);

/// A server, and texts that it was never asked before.
struct Service {
    server: Server,
    asked: AtomicU32,
}

impl Service {
    async fn start(port: u16) -> Self {
        let url = format!("redis://127.0.0.1:{port}");
        // Long enough for a Redis that is well on a busy machine.
        let server = Server::with(&[("REDIS_URL", &url), ("REDIS_TIMEOUT_MS", "300")]);
        let service = Self { server, asked: AtomicU32::new(0) };
        eventually("redis is in use", async || service.ask().await["degraded"] == false).await;
        service
    }

    /// A text that nobody else asks.
    fn text(&self, number: u32) -> String {
        format!("refund number {number} of port {}", self.server.address().port())
    }

    /// Asks a new text, which must be answered rightly.
    async fn ask(&self) -> Value {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = classify(&self.server, &self.text(number)).await;
        assert_eq!((&answer["intent"], &answer["cached"]), (&json!("refund"), &json!(false)), "{answer}");
        answer
    }

    /// What is answered while Redis is away.
    async fn works_without_redis(&self) {
        eventually("an answer tells of the loss", async || self.ask().await["degraded"] == true).await;
        for _ in 0..30 {
            self.ask().await;
        }
        // Whoever asks the same again is answered from the cache of the process, which is not degraded.
        eventually("the cache of the process goes on", async || {
            let number = self.asked.load(Ordering::Relaxed) - 1;
            classify(&self.server, &self.text(number)).await["cached"] == true
        })
        .await;
        let ready = self.server.get("/health/ready").send().await.expect("the server answers");
        assert_eq!(ready.status(), 200, "a lost cache empties no fleet");
    }

    async fn uses_redis_again(&self) {
        let mut in_a_row = 0;
        within(RECOVERY, "redis is in use again", async || {
            in_a_row = if self.ask().await["degraded"] == false { in_a_row + 1 } else { 0 };
            in_a_row == 5
        })
        .await;
    }
}

#[tokio::test]
async fn a_redis_that_dies_and_comes_back() {
    let mut redis = Redis::start().await;
    let service = Service::start(redis.port()).await;
    for _ in 0..2 {
        redis.kill();
        service.works_without_redis().await;
        redis.restart().await;
        service.uses_redis_again().await;
    }
}

#[tokio::test]
async fn a_redis_that_stands_still_and_goes_on() {
    let redis = Redis::start().await;
    let service = Service::start(redis.port()).await;
    redis.signal("STOP");
    service.works_without_redis().await;
    redis.signal("CONT");
    service.uses_redis_again().await;
}

#[tokio::test]
async fn a_bad_network_to_redis_in_every_way() {
    let redis = Redis::start().await;
    let proxy = Proxy::start(redis.port()).await;
    let service = Service::start(proxy.port()).await;
    let faults = [
        Fault::Hung,
        Fault::Slow(Duration::from_secs(1)),
        Fault::CutAfter(0),
        Fault::CutAfter(3),
        Fault::Garbage(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Fault::Garbage(b"$5\r\nhello\r\n"),
        Fault::Garbage(b"*1000000000\r\n"),
        Fault::Garbage(b"-ERR no such thing\r\n"),
        Fault::Garbage(b"\xff\x00\xfe"),
    ];
    for fault in faults {
        proxy.set(fault);
        service.works_without_redis().await;
        proxy.set(Fault::None);
        service.uses_redis_again().await;
    }
}

#[tokio::test]
async fn a_full_redis_still_answers_and_nothing_fails() {
    let redis = Redis::start().await;
    let service = Service::start(redis.port()).await;
    redis.until_written().await;
    redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]);
    service.ask().await;
    service.server.wait_for_log("answers cannot be written to redis");
    for _ in 0..30 {
        assert_eq!(service.ask().await["degraded"], false, "reading still works");
    }
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]);
    service.ask().await;
    service.server.wait_for_log("answers can be written to redis again");
}

#[tokio::test]
async fn what_somebody_else_wrote_into_redis_is_not_believed() {
    let redis = Redis::start().await;
    let service = Service::start(redis.port()).await;
    redis.until_written().await;
    let other = Service::start(redis.port()).await;
    let text = "refund for the parcel";
    let answer = classify(&service.server, text).await;
    let is_written = || redis.command(&["--scan", "--pattern", "*:answers:*"]).lines().count();
    let before = is_written();
    assert!(before > 0);
    eventually("it is written", async || {
        let digest = sha256(text);
        redis.command(&["EXISTS", &format!("{{intent-classifier:1}}:answers:{digest}")]) == "1"
    })
    .await;
    let key = format!("{{intent-classifier:1}}:answers:{}", sha256(text));
    let field = "return redis.call('HSET', KEYS[1], redis.call('HKEYS', KEYS[1])[1], ARGV[1])";
    redis.command(&["EVAL", field, "1", &key, "garbage"]);
    let again = classify(&other.server, text).await;
    assert_eq!((&again["intent"], &again["cached"]), (&answer["intent"], &json!(false)));
    assert_eq!(again["degraded"], true);
}

fn sha256(text: &str) -> String {
    let output = std::process::Command::new("sh").args(["-c", "printf %s \"$1\" | sha256sum", "sh", text]).output();
    let output = String::from_utf8(output.expect("the shell runs").stdout).expect("ASCII");
    output.split_whitespace().next().expect("a digest").to_owned()
}
