//! Feedback and the end of processes: what was accepted is there afterwards, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    program::{program, run_with_input},
    server::Server,
};

const FEEDBACK: &str = "/api/v1/intents/feedback";
/// How many clients send at once.
const CLIENTS: u64 = 4;

fn feedback(number: u64) -> Value {
    json!({
        "feedback_id": Uuid::from_u128(u128::from(number)), "text": format!("text {number} äöü"),
        "original_intent": "refund", "correct_intent": "greeting", "feedback_type": "correction",
    })
}

/// Sends feedback until the server is killed, `lifetime` after it accepted the first; returns the numbers of all that were
/// accepted.
async fn send_until_killed(server: Server, lifetime: Duration, next: &Arc<AtomicU64>) -> Vec<u64> {
    let (client, url) = (reqwest::Client::new(), format!("http://{}{FEEDBACK}", server.address()));
    let (accepted, first) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (client, url, next) = (client.clone(), url.clone(), Arc::clone(next));
            let (accepted, first) = (Arc::clone(&accepted), Arc::clone(&first));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    // From the first error on the server is gone.
                    let Ok(response) = client.post(&url).json(&feedback(number)).send().await else { return };
                    assert!(matches!(response.status().as_u16(), 201 | 202), "{}", response.status());
                    accepted.lock().expect("no client panics").push(number);
                    first.notify_one();
                }
            })
        })
        .collect();
    let killed = tokio::spawn(async move {
        first.notified().await;
        tokio::time::sleep(lifetime).await;
        // SIGKILL, whatever it is doing.
        drop(server);
    });
    killed.await.expect("the server was running");
    for client in clients {
        client.await.expect("no client panics");
    }
    let accepted = accepted.lock().expect("no client panics");
    accepted.clone()
}

/// Settings of a server whose database is never there; the first alone are those of one with its own.
fn nowhere(data_directory: &str) -> [(&str, &str); 3] {
    [
        ("DATA_DIR", data_directory),
        ("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none"),
        ("DATABASE_TIMEOUT_MS", "20"),
    ]
}

async fn nothing_is_lost_or_doubled(kills: u64) {
    let data = TempDir::new().expect("there is room for a folder");
    let data_directory = data.path().to_str().expect("a path in UTF-8");
    let nowhere = nowhere(data_directory);
    let next = Arc::new(AtomicU64::new(0));
    let mut accepted = BTreeSet::new();
    for kill in 0..kills {
        // Two of three times there is no database; else the spool is replayed while more comes in.
        let server = Server::with(if kill % 3 == 2 { &nowhere[..1] } else { &nowhere });
        // Any order of small lives, so that kills fall anywhere; the machine's own timing adds to it.
        let lifetime = Duration::from_micros(500 + (kill * 7_919) % 40_000);
        accepted.extend(send_until_killed(server, lifetime, &next).await);
    }
    assert!(accepted.len() as u64 >= kills);

    let server = Server::with(&nowhere[..1]);
    let deadline = tokio::time::Instant::now() + crate::server::PATIENCE;
    loop {
        let response = server.get("/api/v1/intents/feedback/stats").send().await.expect("the server answers");
        if response.status() == 200 && crate::server::json(response).await["spooled"] == 0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "the spool is not replayed");
    }
    let mut export = program(data.path());
    let output = run_with_input(export.env("DATA_DIR", data.path()).args(["export", "feedback"]), "");
    let mut stored: BTreeMap<u64, Value> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let id = Uuid::parse_str(line["feedback_id"].as_str().expect("an id")).expect("a UUID");
        let number = id.as_u128() as u64;
        assert_eq!(line["text"], feedback(number)["text"]);
        assert_eq!(stored.insert(number, line), None, "{number} is there twice");
    }
    let lost: Vec<&u64> = accepted.iter().filter(|number| !stored.contains_key(number)).collect();
    assert!(lost.is_empty(), "accepted and lost: {lost:?}");
    // What was never answered may be there or not.
    assert!(stored.len() as u64 <= next.load(Ordering::Relaxed));
    let leftovers: Vec<_> = std::fs::read_dir(data.path().join("spool")).expect("there is a spool").collect();
    assert!(leftovers.is_empty(), "nothing waits and nothing was damaged: {leftovers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_loses_nothing_that_was_accepted() {
    nothing_is_lost_or_doubled(10).await;
}

/// `make test-crash`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts and kills a hundred servers"]
async fn a_hundred_kills_lose_nothing_that_was_accepted() {
    nothing_is_lost_or_doubled(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_damaged_or_the_database_contradicts_is_set_aside_and_the_rest_is_stored() {
    let data = TempDir::new().expect("there is room for a folder");
    let data_directory = data.path().to_str().expect("a path in UTF-8");
    let nowhere = nowhere(data_directory);
    let server = Server::with(&nowhere[..1]);
    crate::feedback::store(&server, &feedback(3)).await;
    drop(server);
    let server = Server::with(&nowhere);
    for number in 0..3 {
        assert_eq!(server.post_json(FEEDBACK, &feedback(number)).await.status(), 202);
    }
    let mut contradiction = feedback(3);
    contradiction["correct_intent"] = json!("out_of_scope");
    assert_eq!(server.post_json(FEEDBACK, &contradiction).await.status(), 202);
    drop(server);

    let folder = data.path().join("spool");
    let files = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(&folder).expect("there is a spool");
        entries.map(|entry| entry.expect("it can be listed").path()).collect()
    };
    let [spool] = &files()[..] else { panic!("{:?}", files()) };
    let mut bytes = std::fs::read(spool).expect("readable");
    let needle = b"text 1 ";
    let place = bytes.windows(needle.len()).position(|window| window == needle).expect("it is there");
    bytes[place] = b'T';
    // The end of the last record was never written.
    bytes.extend_from_within(..20);
    std::fs::write(spool, &bytes).expect("writable");

    let server = Server::with(&nowhere[..1]);
    assert_eq!(server.wait_for_log("the end of the spool was never written whole: it is cut off")["torn_bytes"], 20);
    for kind in ["damaged", "rejected"] {
        let kept = server.wait_for_log(&format!("spooled feedback is {kind} and was set aside"));
        let kept = std::fs::read(kept["kept"].as_str().expect("a path")).expect("it is kept");
        let wanted: &[u8] = if kind == "damaged" { b"Text 1 " } else { b"out_of_scope" };
        assert!(kept.windows(wanted.len()).any(|window| window == wanted), "{}", String::from_utf8_lossy(&kept));
    }
    let deadline = tokio::time::Instant::now() + crate::server::PATIENCE;
    while crate::feedback::stats(&server).await["spooled"] != 0 {
        assert!(tokio::time::Instant::now() < deadline, "the spool is not replayed");
    }
    assert_eq!(crate::feedback::stats(&server).await["total"], 3, "numbers 0, 2 and 3");
}
