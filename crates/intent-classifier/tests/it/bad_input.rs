//! Every way of being wrong gets its status, and a body that names the field.

use serde_json::{Value, json};

use crate::server::{Server, json as body_of};

const CLASSIFY: &str = "/api/v1/intents/classify";
const BATCH: &str = "/api/v1/intents/classify/batch";

/// What is sent, and the status and the field that come back; an empty field where no field can be named.
struct Case {
    path: &'static str,
    body: Vec<u8>,
    status: u16,
    fields: &'static [&'static str],
}

fn case(path: &'static str, body: impl Into<Vec<u8>>, status: u16, fields: &'static [&'static str]) -> Case {
    Case { path, body: body.into(), status, fields }
}

fn text(text: &str) -> Vec<u8> {
    json!({ "text": text }).to_string().into_bytes()
}

fn nested(levels: usize) -> String {
    format!(r#"{{"text":"a","context":{}1{}}}"#, r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

fn cases() -> Vec<Case> {
    vec![
        // Texts.
        case(CLASSIFY, text(""), 422, &["text"]),
        case(CLASSIFY, text(" \t\r\n\u{a0}\u{3000}"), 422, &["text"]),
        case(CLASSIFY, text(&"a".repeat(5_001)), 422, &["text"]),
        case(CLASSIFY, text(&"漢".repeat(5_001)), 422, &["text"]),
        case(CLASSIFY, text("a\0b"), 422, &["text"]),
        case(CLASSIFY, br#"{"text":"\u0000"}"#, 422, &["text"]),
        case(CLASSIFY, br#"{"text":"\ud800"}"#, 400, &["text"]),
        case(CLASSIFY, br#"{"text":"\udc00 a"}"#, 400, &["text"]),
        case(CLASSIFY, br#"{"text":"\ud800\u0041"}"#, 400, &["text"]),
        case(CLASSIFY, b"{\"text\":\"\xff\xfe\"}", 400, &["text"]),
        case(CLASSIFY, b"{\"text\":\"\xc0\xaf\"}", 400, &["text"]),
        case(CLASSIFY, b"{\"text\":\"\xed\xa0\x80\"}", 400, &["text"]),
        case(CLASSIFY, b"{\"text\":\"a\nb\"}", 400, &["text"]),
        // Types and fields.
        case(CLASSIFY, "{}", 422, &["text"]),
        case(CLASSIFY, r#"{"text":null}"#, 422, &["text"]),
        case(CLASSIFY, r#"{"text":5}"#, 422, &["text"]),
        case(CLASSIFY, r#"{"text":["a"]}"#, 422, &["text"]),
        case(CLASSIFY, r#"{"text":"a","text":"b"}"#, 422, &["text"]),
        case(CLASSIFY, r#"{"text":"a","txet":"b"}"#, 422, &["txet"]),
        case(CLASSIFY, r#"{"text":"a","user_id":7}"#, 422, &["user_id"]),
        case(CLASSIFY, r#"{"text":"a","user_id":""}"#, 422, &["user_id"]),
        case(CLASSIFY, r#"{"text":"a","user_id":"a\nb"}"#, 422, &["user_id"]),
        case(CLASSIFY, format!(r#"{{"text":"a","user_id":"{}"}}"#, "u".repeat(257)), 422, &["user_id"]),
        case(CLASSIFY, r#"{"text":"a","latency_requirement":"soon"}"#, 422, &["latency_requirement"]),
        case(CLASSIFY, r#"{"text":"a","latency_budget_ms":0}"#, 422, &["latency_budget_ms"]),
        case(CLASSIFY, r#"{"text":"a","latency_budget_ms":-1}"#, 422, &["latency_budget_ms"]),
        case(CLASSIFY, r#"{"text":"a","latency_budget_ms":"9"}"#, 422, &["latency_budget_ms"]),
        case(CLASSIFY, r#"{"text":"a","latency_budget_ms":60001}"#, 422, &["latency_budget_ms"]),
        case(CLASSIFY, r#"{"text":"a","latency_budget_ms":1e999}"#, 422, &["latency_budget_ms"]),
        case(CLASSIFY, r#"{"text":"a","top_k":0}"#, 422, &["top_k"]),
        case(CLASSIFY, r#"{"text":"a","top_k":-1}"#, 422, &["top_k"]),
        case(CLASSIFY, r#"{"text":"a","top_k":1.5}"#, 422, &["top_k"]),
        case(CLASSIFY, r#"{"text":"a","top_k":99999999999999999999}"#, 422, &["top_k"]),
        case(CLASSIFY, r#"{"text":"a","context":[1]}"#, 422, &["context"]),
        case(CLASSIFY, r#"{"text":"","top_k":0,"user_id":" "}"#, 422, &["text", "user_id", "top_k"]),
        // Bodies.
        case(CLASSIFY, "", 400, &[]),
        case(CLASSIFY, "{", 400, &[]),
        case(CLASSIFY, r#"{"text":"a"} {"#, 400, &[]),
        case(CLASSIFY, r#"{"text":"a",}"#, 400, &[]),
        case(CLASSIFY, "text=a", 400, &[]),
        case(CLASSIFY, r#""text""#, 422, &[]),
        case(CLASSIFY, r#"["a"]"#, 422, &[]),
        case(CLASSIFY, "[".repeat(100_000), 400, &[]),
        case(CLASSIFY, vec![b'a'; 200_000], 413, &[]),
        case(CLASSIFY, vec![b'a'; 20_000_000], 413, &[]),
        // Batches.
        case(BATCH, "{}", 422, &["texts"]),
        case(BATCH, r#"{"texts":[]}"#, 422, &["texts"]),
        case(BATCH, r#"{"texts":"a"}"#, 422, &["texts"]),
        case(BATCH, json!({"texts": vec!["a"; 101]}).to_string(), 422, &["texts"]),
        case(BATCH, r#"{"texts":["a",5]}"#, 422, &["texts[1]"]),
        case(BATCH, r#"{"texts":["a"," ","b",""]}"#, 422, &["texts[1]", "texts[3]"]),
        case(BATCH, br#"{"texts":["a","\ud800"]}"#, 400, &["texts[1]"]),
        case(BATCH, r#"{"texts":["a"],"top_k":1}"#, 422, &["top_k"]),
        case(BATCH, vec![b'a'; 7_000_000], 413, &[]),
    ]
}

#[tokio::test]
async fn every_bad_body_gets_its_status_and_names_the_field() {
    let server = Server::start();
    for Case { path, body, status, fields } in cases() {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        let request = server.post(path).header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap_or_else(|error| panic!("no answer to {shown}: {error}"));
        assert_eq!(response.status(), status, "{shown}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{shown}");
        let request_id = response.headers()["x-request-id"].to_str().expect("ASCII").to_owned();
        let problem = body_of(response).await;
        assert_eq!(problem["status"], status, "{shown}");
        assert_eq!(problem["request_id"], request_id, "{shown}");
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{shown}: {problem}");
        let found: Vec<&str> =
            problem["errors"].as_array().into_iter().flatten().filter_map(|error| error["field"].as_str()).collect();
        assert_eq!(found, fields, "{shown}: {problem}");
    }
}

#[tokio::test]
async fn deep_json_is_refused_and_shallow_json_is_not() {
    let server = Server::start();
    for (levels, status) in [(100, 200), (200, 400), (5_000, 400)] {
        let request = server.post(CLASSIFY).header("content-type", "application/json").body(nested(levels));
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), status, "{levels} levels");
        if status == 400 {
            let field = body_of(response).await["errors"][0]["field"].to_string();
            assert!(field.starts_with("\"context.a.a"), "{field}");
        }
    }
}

#[tokio::test]
async fn what_is_just_allowed_is_answered() {
    let server = Server::start();
    let bodies = [
        json!({"text": "a".repeat(5_000)}),
        json!({"text": "👩‍👩‍👧‍👦".chars().cycle().take(5_000).collect::<String>()}),
        json!({"text": "refund\u{1}\u{7f}\u{202e}\u{feff}"}),
        json!({"text": "a", "user_id": null, "context": null, "top_k": null, "latency_budget_ms": 0.5}),
        json!({"text": "a", "top_k": 1000, "latency_requirement": "critical", "context": {"locale": {"a": [1]}}}),
    ];
    for body in bodies {
        assert_eq!(server.post_json(CLASSIFY, &body).await.status(), 200, "{body}");
    }
    let widest = format!(r#"{{"texts":["{}"]}}"#, vec![r"\ud83d\ude00".repeat(5_000); 100].join(r#"",""#));
    let request = server.post(BATCH).header("content-type", "application/json").body(widest);
    assert_eq!(request.send().await.expect("the server answers").status(), 200, "the longest way to write a batch");
}

#[tokio::test]
async fn only_json_is_taken() {
    let server = Server::start();
    let body = r#"{"text":"refund"}"#;
    let cases = [
        (Some("application/json"), 200),
        (Some("application/json; charset=utf-8"), 200),
        (Some("Application/JSON"), 200),
        (Some("application/vnd.api+json"), 200),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("application/jsonx"), 415),
        (None, 415),
    ];
    for (kind, status) in cases {
        let request = server.post(CLASSIFY).body(body);
        let request = match kind {
            Some(kind) => request.header("content-type", kind),
            None => request,
        };
        assert_eq!(request.send().await.expect("the server answers").status(), status, "{kind:?}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let server = Server::start();
    let missing = server.get("/api/v1/nothing").send().await.expect("the server answers");
    assert_eq!(missing.status(), 404);
    insta::assert_json_snapshot!(body_of(missing).await, {".request_id" => "[uuid]"});

    let wrong = server.get(CLASSIFY).send().await.expect("the server answers");
    assert_eq!((wrong.status().as_u16(), wrong.headers()["allow"].to_str().expect("ASCII")), (405, "POST"));
    insta::assert_json_snapshot!(body_of(wrong).await, {".request_id" => "[uuid]"});
}

#[tokio::test]
async fn a_problem_has_one_shape() {
    let server = Server::start();
    let body: Value = json!({"text": "", "top_k": 0});
    let problem = body_of(server.post_json(CLASSIFY, &body).await).await;
    insta::assert_json_snapshot!(problem, {".request_id" => "[uuid]"});
}
