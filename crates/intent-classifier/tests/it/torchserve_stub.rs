//! TorchServe's answers as TorchServe 0.12.0 gave them, byte for byte, and a server that plays them.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Scores of the intents `refund`, `delivery` and `greeting`, by the handler that `export torchserve` packs.
pub(crate) const SCORES: &[u8] = include_bytes!("recorded/scores.http");
/// No worker, and just so a full queue.
pub(crate) const NO_WORKER: &[u8] = include_bytes!("recorded/no_worker.http");
/// The worker ended, or took longer than it may.
pub(crate) const WORKER_DIED: &[u8] = include_bytes!("recorded/worker_died.http");

/// What a stub does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Answers these bytes.
    Answer(&'static [u8]),
    /// Answers so many of these bytes and closes the connection.
    CutAfter(usize, &'static [u8]),
    /// Never answers.
    Hang,
    /// Closes connections before it reads.
    Refuse,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Which connection it came by.
    pub(crate) connection: usize,
    /// Request line and headers.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: String,
}

/// A server on a free port that answers every request with one act; gone when dropped.
#[derive(Debug)]
pub(crate) struct Stub {
    port: u16,
    act: watch::Sender<Act>,
    questions: Arc<Mutex<Vec<Question>>>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Stub {
    pub(crate) async fn start(act: Act) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (act, acts) = watch::channel(act);
        let questions = Arc::default();
        let accepting = tokio::spawn(accept(listener, acts, Arc::clone(&questions)));
        Self { port, act, questions, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Does something else from now on.
    pub(crate) fn set(&self, act: Act) {
        self.act.send_replace(act);
    }

    /// Returns what was asked so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.questions.lock().expect("no code panics while it holds this lock").clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, acts: watch::Receiver<Act>, questions: Arc<Mutex<Vec<Question>>>) {
    let mut connections = 0;
    // They end with this task.
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections += 1;
        if *acts.borrow() != Act::Refuse {
            open.spawn(serve(stream, connections, acts.clone(), Arc::clone(&questions)));
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    mut acts: watch::Receiver<Act>,
    questions: Arc<Mutex<Vec<Question>>>,
) {
    while let Some((head, body)) = read_request(&mut stream).await {
        let question = Question { connection, head, body };
        questions.lock().expect("no code panics while it holds this lock").push(question);
        let act = *acts.borrow_and_update();
        match act {
            Act::Answer(bytes) => {
                let closes = String::from_utf8_lossy(bytes).contains("connection: close");
                if stream.write_all(bytes).await.is_err() || closes {
                    return;
                }
            }
            Act::CutAfter(length, bytes) => {
                // The client may have left meanwhile.
                let _ = stream.write_all(&bytes[..length]).await;
                return;
            }
            Act::Hang => {
                // Until it does something else; who waited gets no answer even then.
                let _ = acts.changed().await;
                return;
            }
            Act::Refuse => return,
        }
    }
}

/// Reads a request with `content-length`; `None` when the client has left.
async fn read_request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                return Some((head, String::from_utf8_lossy(&bytes[end + 4..]).into_owned()));
            }
        }
        match stream.read(&mut buffer).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&buffer[..read]),
            Ok(0) | Err(_) => return None,
        }
    }
}
