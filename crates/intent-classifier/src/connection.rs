//! One connection: its handshake, its limits, its end.
//!
//! Nobody holds a connection for long without a request: neither before the first byte, nor within the head of a
//! request, nor by reading an answer slowly, nor on an HTTP/2 connection without streams.

use std::{
    error::Error,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, extract::Request, middleware::AddExtension};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until, timeout},
};
use tower::{Layer, ServiceExt};
use tracing::debug;

use crate::{config::ServerSettings, http::Peer, tls::Tls};

/// The longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// The most header lines of a request.
const MAX_HEADERS: usize = 100;
/// Requests that one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 128;
/// How often a quiet HTTP/2 connection is asked whether anybody is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Connections {
    tls: Option<Arc<Tls>>,
    slots: Arc<Semaphore>,
    idle_timeout: Duration,
    graceful: GracefulShutdown,
}

/// What goes on in a connection.
#[derive(Debug)]
struct Activity {
    in_flight: AtomicUsize,
    last: Mutex<Instant>,
}

/// A request in flight.
struct InFlight(Arc<Activity>);

impl Connections {
    /// Prepares for connections.
    pub(crate) fn new(settings: &ServerSettings, tls: Option<Arc<Tls>>) -> Self {
        Self {
            tls,
            slots: Arc::new(Semaphore::new(settings.max_connections)),
            idle_timeout: settings.idle_timeout(),
            graceful: GracefulShutdown::new(),
        }
    }

    /// Waits until there is room for one more.
    pub(crate) async fn slot(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Returns how many there are.
    pub(crate) fn count(&self) -> usize {
        self.graceful.count()
    }

    /// Lets each finish its requests; resolves when all are gone.
    pub(crate) async fn shutdown(self) {
        self.graceful.shutdown().await;
    }

    /// Serves a connection in a task of its own; `held` is dropped when it ends.
    pub(crate) fn spawn(&self, stream: TcpStream, peer: SocketAddr, router: Router, held: impl Send + 'static) {
        // An answer is small and complete: waiting to fill a packet only delays it.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, %peer, "cannot switch off Nagle's algorithm");
        }
        let router = Extension(Peer(peer)).layer(router);
        let (acceptor, watcher, idle_timeout) =
            (self.tls.as_ref().map(|tls| tls.acceptor()), self.graceful.watcher(), self.idle_timeout);
        tokio::spawn(async move {
            let ended = match acceptor {
                None => drive(stream, router, watcher, idle_timeout).await,
                Some(acceptor) => match timeout(idle_timeout, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => drive(stream, router, watcher, idle_timeout).await,
                    Ok(Err(error)) => Err(error.into()),
                    Err(_) => Err("the handshake took too long".into()),
                },
            };
            if let Err(error) = ended {
                debug!(error, %peer, "connection ended");
            }
            drop(held);
        });
    }
}

async fn drive<S>(
    stream: S,
    router: AddExtension<Router, Peer>,
    watcher: Watcher,
    idle_timeout: Duration,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity { in_flight: AtomicUsize::new(0), last: Mutex::new(Instant::now()) });
    let service = ServiceExt::<Request<Incoming>>::map_future(router, {
        let activity = Arc::clone(&activity);
        move |answer| {
            let in_flight = InFlight::begin(&activity);
            async move {
                let answer = answer.await;
                drop(in_flight);
                answer
            }
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(idle_timeout)
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .keep_alive_interval(PING_INTERVAL);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
    tokio::select! {
        ended = watcher.watch(connection) => ended,
        () = activity.idle_for(idle_timeout) => Err("it was idle for too long".into()),
    }
}

impl Activity {
    /// Resolves when there was no request for so long.
    async fn idle_for(&self, limit: Duration) {
        loop {
            if self.in_flight.load(Ordering::Acquire) > 0 {
                sleep(limit).await;
                continue;
            }
            let deadline = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + limit;
            if deadline <= Instant::now() {
                return;
            }
            sleep_until(deadline).await;
        }
    }
}

impl InFlight {
    fn begin(activity: &Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(activity))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
