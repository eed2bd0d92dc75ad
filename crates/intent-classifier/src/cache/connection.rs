//! One connection to Redis that comes back by itself.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{Client, aio::MultiplexedConnection};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

/// How long connecting and logging in may take, and an answer to `PING`.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often the connection is tried out: a peer that vanished without a word is found out so, and only so.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How long to wait before connecting again.
const RECONNECT_AFTER: Duration = Duration::from_millis(250);

/// The connection that everything in this process shares, and the task that keeps it alive.
///
/// Who wants to use Redis gets the connection or is told at once that there is none; nobody waits for a connection.
#[derive(Debug)]
pub(crate) struct RedisConnection {
    state: Arc<State>,
    keeper: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    client: Client,
    connection: ArcSwapOption<MultiplexedConnection>,
    error: Mutex<Option<String>>,
    /// Somebody found the connection broken.
    broken: Notify,
}

impl RedisConnection {
    /// Connects in the background; Redis need not be there yet. Must be called within a tokio runtime.
    pub(crate) fn start(client: Client) -> Self {
        let error = Mutex::new(Some("not connected yet".to_owned()));
        let state = Arc::new(State { client, connection: ArcSwapOption::empty(), error, broken: Notify::new() });
        let keeper = tokio::spawn(keep(Arc::clone(&state)));
        Self { state, keeper }
    }

    /// Returns the connection.
    ///
    /// # Errors
    /// Why there is none now.
    pub(crate) fn get(&self) -> Result<MultiplexedConnection, String> {
        match self.state.connection.load_full() {
            Some(connection) => Ok(MultiplexedConnection::clone(&connection)),
            None => Err(self.error().unwrap_or_else(|| "not connected".to_owned())),
        }
    }

    /// Tells that a call failed; when the connection is to blame, it is replaced at once.
    pub(crate) fn failed(&self, error: &redis::RedisError) {
        if error.is_unrecoverable_error() {
            self.state.broken.notify_one();
        }
    }

    /// Returns what to make more connections with, for calls that block.
    pub(super) fn client(&self) -> Client {
        self.state.client.clone()
    }

    /// Asks Redis for a sign of life, within a second.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn check(&self) -> Result<(), String> {
        ping(&mut self.get()?).await
    }

    fn error(&self) -> Option<String> {
        self.state.error.lock().expect("no code panics while it holds this lock").clone()
    }
}

impl Drop for RedisConnection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Connects, watches, connects again, for ever. A loss is logged once, and so is the return.
async fn keep(state: Arc<State>) {
    let mut is_lost = false;
    loop {
        let error = match connect(&state.client).await {
            Ok(connection) => {
                state.set(None, Some(connection.clone()));
                info!("connected to redis");
                is_lost = false;
                let error = watch(&state, connection).await;
                state.set(Some(error.clone()), None);
                error
            }
            Err(error) => {
                state.set(Some(error.clone()), None);
                error
            }
        };
        if !is_lost {
            warn!(error, "redis cannot be used; each process goes on with its own cache");
            is_lost = true;
        }
        sleep(RECONNECT_AFTER).await;
    }
}

impl State {
    fn set(&self, error: Option<String>, connection: Option<MultiplexedConnection>) {
        *self.error.lock().expect("no code panics while it holds this lock") = error;
        self.connection.store(connection.map(Arc::new));
    }
}

async fn connect(client: &Client) -> Result<MultiplexedConnection, String> {
    match timeout(PATIENCE, client.get_multiplexed_async_connection()).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("no answer while connecting".to_owned()),
    }
}

/// Connects and asks for a sign of life, for those who ask once.
///
/// # Errors
/// Why there is none.
pub(crate) async fn once(client: &Client) -> Result<(), String> {
    ping(&mut connect(client).await?).await
}

/// Returns why the connection is of no more use, once it is.
async fn watch(state: &State, mut connection: MultiplexedConnection) -> String {
    loop {
        // A notice from before this connection costs one `PING`.
        let _ = timeout(PING_EVERY, state.broken.notified()).await;
        if let Err(error) = ping(&mut connection).await {
            return error;
        }
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> Result<(), String> {
    match timeout(PATIENCE, redis::cmd("PING").query_async::<()>(connection)).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err("no answer to PING within a second".to_owned()),
    }
}
