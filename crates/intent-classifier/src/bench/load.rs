//! A load generator that costs little beside what it measures: one thread, keep-alive connections, ready-made requests.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::telemetry::process;

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections, each with one request at a time.
    pub(crate) connections: usize,
    /// The most requests of one measurement.
    pub(crate) requests: usize,
    /// The longest measurement.
    pub(crate) duration: Duration,
}

/// Where requests go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'a> {
    pub(super) address: SocketAddr,
    pub(super) path: &'a str,
    /// Sent in turn.
    pub(super) bodies: &'a [String],
}

/// What a measurement found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    /// Requests answered.
    pub(crate) requests: usize,
    /// Throughput.
    pub(crate) requests_per_second: f64,
    /// Median latency.
    pub(crate) p50_ms: f64,
    /// 95th percentile.
    pub(crate) p95_ms: f64,
    /// 99th percentile.
    pub(crate) p99_ms: f64,
    /// Processor time of this process for one request, client and server together, in microseconds; unlike the others it
    /// hardly depends on what else the machine does.
    pub(crate) cpu_us: f64,
}

impl Figures {
    /// Returns the figures of the round with the highest throughput: noise only ever takes away.
    pub(super) fn best(rounds: Vec<Self>) -> Self {
        let better = |a: Self, b: Self| if b.requests_per_second > a.requests_per_second { b } else { a };
        rounds.into_iter().reduce(better).expect("there is at least one round")
    }
}

impl Load<'_> {
    /// Sends requests until one of the limits is reached, a tenth of them first to warm up.
    pub(super) fn run(&self, limits: Limits) -> anyhow::Result<Figures> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let warm_up = Limits { requests: limits.requests.div_ceil(10), duration: limits.duration / 10, ..limits };
            self.measure(warm_up).await?;
            self.measure(limits).await
        })
    }

    async fn measure(&self, limits: Limits) -> anyhow::Result<Figures> {
        let requests: Vec<Vec<u8>> = self.bodies.iter().map(|body| self.request(body)).collect();
        let next = AtomicUsize::new(0);
        let (began, cpu_before) = (Instant::now(), process::cpu_seconds());
        let connections = (0..limits.connections).map(|_| self.connection(&requests, &next, limits, began));
        let mut latencies: Vec<Duration> = try_join_all(connections).await?.concat();
        let (elapsed, cpu_after) = (began.elapsed(), process::cpu_seconds());
        let cpu_seconds = cpu_after.unwrap_or(f64::NAN) - cpu_before.unwrap_or(f64::NAN);
        ensure!(!latencies.is_empty(), "no request was answered");
        latencies.sort_unstable();
        let quantile_ms = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        Ok(Figures {
            requests: latencies.len(),
            requests_per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
            p50_ms: quantile_ms(0.50),
            p95_ms: quantile_ms(0.95),
            p99_ms: quantile_ms(0.99),
            cpu_us: cpu_seconds * 1e6 / latencies.len() as f64,
        })
    }

    async fn connection(
        &self,
        requests: &[Vec<u8>],
        next: &AtomicUsize,
        limits: Limits,
        began: Instant,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut stream = TcpStream::connect(self.address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let mut latencies = Vec::new();
        let mut buffer = Vec::with_capacity(16 * 1024);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= limits.requests || began.elapsed() >= limits.duration {
                return Ok(latencies);
            }
            let sent = Instant::now();
            stream.write_all(&requests[index % requests.len()]).await?;
            read_answer(&mut stream, &mut buffer).await?;
            latencies.push(sent.elapsed());
        }
    }

    fn request(&self, body: &str) -> Vec<u8> {
        let Self { address, path, .. } = self;
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// Reads one answer to its end; only answers with status 200 and a `Content-Length` count.
async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    loop {
        ensure!(stream.read_buf(buffer).await? > 0, "the server closed the connection");
        let Some(head_bytes) = find(buffer, b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..head_bytes]).context("the head of an answer is not text")?;
        if !head.starts_with("HTTP/1.1 200") {
            bail!("the server answered {}", head.lines().next().unwrap_or_default());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let body_bytes: usize = length.context("an answer has no `content-length`")?.parse()?;
        if buffer.len() >= head_bytes + 4 + body_bytes {
            return Ok(());
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
