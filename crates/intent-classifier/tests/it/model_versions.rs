//! Which model version serves: taken without a restart, kept when the new one is broken, remembered.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    program::{desk_pack, program, transcript},
    server::{PATIENCE, Server, json},
};

const RELOAD: &str = "/api/v1/models/reload";

/// Runs a command in the folder of the server, and returns the version that is promoted after it.
fn run(folder: &Path, arguments: &str) -> String {
    let mut command = program(folder);
    let output = command.args(arguments.split(' ')).output().expect("it runs");
    assert!(output.status.success(), "{}", transcript(&output));
    fs::read_to_string(folder.join("models/CURRENT")).expect("a version is promoted").trim().to_owned()
}

/// Waits until that many versions are remembered, which are stored beside the requests; the latest first, with who let
/// them.
async fn history(server: &Server, versions: usize) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = json(server.get("/api/v1/models/history").send().await.expect("an answer")).await;
        // None while the database is being opened.
        let found = answer["versions"].as_array().into_iter().flatten();
        let found: Vec<_> = found.map(|served| (text(&served["version"]), text(&served["promoted_by"]))).collect();
        if found.len() >= versions {
            return found;
        }
        assert!(Instant::now() < deadline, "{versions} versions are not remembered: {answer}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_reload_takes_what_was_promoted_and_the_history_tells() {
    let directory = TempDir::new().expect("there is room for a folder");
    let folder: PathBuf = directory.path().to_owned();
    let rows = [("please i want my money back", "refund"), ("where is my package", "delivery"), ("hello", "greeting")];
    let rows = rows.map(|(text, intent)| json!({"text": text, "intent": intent}).to_string()).join("\n");
    fs::write(folder.join("validation.jsonl"), rows).expect("a file can be written");
    let train = format!("train --pack {} --validation validation.jsonl --seed", desk_pack().display());

    let first = run(&folder, &format!("{train} 1"));
    let server = Server::start_in(directory, &[("INTENT_PACK", "")]);
    assert_eq!(history(&server, 1).await, [(first.clone(), "start".to_owned())]);

    let second = run(&folder, &format!("{train} 2"));
    let reloaded = json(server.post(RELOAD).send().await.expect("an answer")).await;
    let expected = json!({"status": "reloaded", "previous_version": first, "model_version": second});
    assert_eq!(reloaded, expected);
    let answer = server.post_json("/api/v1/intents/classify", &json!({"text": "where is it"})).await;
    assert_eq!(json(answer).await["model_version"], *second);
    let served = (second.clone(), "anonymous@127.0.0.1".to_owned());
    assert_eq!(history(&server, 2).await[0], served);
    // Nothing was promoted since: nothing is to be remembered.
    assert_eq!(server.post(RELOAD).send().await.expect("an answer").status(), 200);

    // A version with a damaged file serves nobody.
    let third = run(&folder, &format!("{train} 3"));
    let model = folder.join("models/versions").join(third).join("linear.bin");
    let mut bytes = fs::read(&model).expect("the file is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&model, bytes).expect("the file can be written");
    let refused = json(server.post(RELOAD).send().await.expect("an answer")).await;
    assert_eq!(refused["status"], 409);
    let detail = refused["detail"].as_str().expect("a reason");
    assert!(detail.starts_with(&format!("`{second}` goes on serving")) && detail.contains("linear.bin"), "{detail}");

    run(&folder, &format!("models promote {first}"));
    server.signal("HUP");
    assert_eq!(history(&server, 3).await, [(first.clone(), "SIGHUP".to_owned()), served, (first, "start".to_owned())]);
    let limited = json(server.get("/api/v1/models/history?limit=1").send().await.expect("an answer")).await;
    assert_eq!(limited["versions"].as_array().map(Vec::len), Some(1));
    assert_eq!(server.get("/api/v1/models/history?limit=0").send().await.expect("an answer").status(), 422);
}
