//! How the server stops.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::server::{Server, json};

const HEAD: &str = "POST /api/v1/intents/classify HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
                    Content-Length: 17\r\nExpect: 100-continue\r\n\r\n";
const BODY: &str = r#"{"text":"refund"}"#;

/// Sends the head of a request and waits until the server asks for its body: the request is in flight then.
fn request_in_flight(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("the server listens");
    stream.write_all(HEAD.as_bytes()).expect("the connection is open");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).expect("the server reads the head");
    assert!(interim.starts_with(b"HTTP/1.1 100 Continue"));
    stream
}

#[tokio::test]
async fn readiness_fails_first_and_requests_in_flight_are_answered() {
    // Long enough that the test never gets to its end: the delay is cut short by nothing but the answer below.
    let mut server = Server::with(&[("DRAIN_DELAY_MS", "2000"), ("DRAIN_TIMEOUT_MS", "60000")]);
    let mut stream = request_in_flight(&server);
    server.signal("TERM");
    server.wait_for_log("draining");

    let ready = server.get("/health/ready").send().await.expect("new connections are still taken");
    assert_eq!(ready.status(), 503);
    assert_eq!(json(ready).await["status"], "draining");
    let live = server.get("/health/live").send().await.expect("new connections are still taken");
    assert_eq!(live.status(), 200);

    stream.write_all(BODY.as_bytes()).expect("the connection is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer arrives and the connection ends");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains(r#""intent":"refund""#), "{answer}");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_the_process() {
    let mut server = Server::with(&[("DRAIN_TIMEOUT_MS", "10"), ("REQUEST_TIMEOUT_MS", "600000")]);
    let _stream = request_in_flight(&server);
    server.signal("INT");
    server.wait_for_log("stopped with requests unanswered: the time limit for draining has passed");
    assert!(server.ended().await.success());
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_a_timeout() {
    let server = Server::with(&[("REQUEST_TIMEOUT_MS", "10")]);
    let mut stream = request_in_flight(&server);
    let mut answer = [0; 512];
    let read = stream.read(&mut answer).expect("the server answers");
    let answer = String::from_utf8_lossy(&answer[..read]);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body-timeout"), "{answer}");
}
