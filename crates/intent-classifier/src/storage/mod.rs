//! State that survives: SQLite in a file by default, Postgres when it is configured.
//!
//! Every statement is written once, in SQL that both understand, and run on whichever is there by [`on_pool!`]. Methods
//! are named by use case, one file per topic. Nothing here waits longer than the configured limit, and a database that is
//! known to be away is not asked at all, so that callers can answer at once without it.

mod access;
mod answers;
mod api_keys;
mod changes;
mod dialect;
mod documents;
mod error;
mod experiments;
mod feedback;
mod flags;
mod health;
mod leases;
mod migrations;
mod monitor;
mod pool;
mod promotions;
mod rollouts;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, info_span};

use self::pool::Pool;
#[expect(unused_imports, reason = "its callers follow")]
pub(crate) use self::{
    access::{Access, StorageStatus},
    answers::AnswerOfFeedback,
    api_keys::{ApiKey, NewApiKey},
    changes::{Revisions, Topic},
    documents::{Change, ChangeError, Changed, Document, DocumentChange, Documents},
    error::{Fault, StorageError},
    experiments::{Exposure, GroupTotals},
    feedback::{Feedback, FeedbackKind, FeedbackPosition, FeedbackTotals, IntentPairTotal, ModelTotal, Stored},
    flags::{FlagAuditEntry, StoredFlags},
    promotions::Promotion,
    rollouts::{FlagWrite, ObservationKey, StoredRollout, Sums},
};
use crate::config::{ConfigError, DatabaseSettings};

/// Runs an expression on the pool that is there; it is compiled once for each database.
macro_rules! on_pool {
    ($storage:expr, |$pool:ident| $body:expr) => {
        match $storage.pool() {
            $crate::storage::pool::Pool::Sqlite($pool) => $body,
            $crate::storage::pool::Pool::Postgres($pool) => $body,
        }
    };
}
use on_pool;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Storage(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: Pool,
    /// The limit of one operation.
    limit: Duration,
    poll_interval: Duration,
    status: watch::Sender<StorageStatus>,
    /// Wakes the monitor, which finds out how the database is.
    doubt: Arc<Notify>,
    /// `None` before the first look.
    revisions: watch::Sender<Option<Revisions>>,
    /// Wakes whoever looks for changes.
    changed: Arc<Notify>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Storage {
    /// Prepares access to the database; nothing is connected yet. Call it in an async runtime.
    ///
    /// # Errors
    /// [`ConfigError`] when the settings do not name a database.
    pub(crate) fn new(settings: &DatabaseSettings) -> Result<Self, ConfigError> {
        let stop = CancellationToken::new();
        Ok(Self(Arc::new(Shared {
            pool: Pool::new(settings.choice()?, settings),
            limit: settings.timeout(),
            poll_interval: settings.poll_interval(),
            status: watch::Sender::new(StorageStatus::starting()),
            doubt: Arc::default(),
            revisions: watch::Sender::new(None),
            changed: Arc::default(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })))
    }

    /// Returns the name of the database: `sqlite` or `postgres`.
    pub(crate) fn database(&self) -> &'static str {
        match &self.0.pool {
            Pool::Sqlite(_) => "sqlite",
            Pool::Postgres(_) => "postgres",
        }
    }

    /// Tells whether the database is a process of its own.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(&self.0.pool, Pool::Postgres(_))
    }

    /// Returns what can be done with the database at the moment.
    pub(crate) fn status(&self) -> StorageStatus {
        self.0.status.borrow().clone()
    }

    /// Returns the status as it changes.
    pub(crate) fn watch_status(&self) -> watch::Receiver<StorageStatus> {
        self.0.status.subscribe()
    }

    /// Returns the revision of every topic as it is changed, by others or by this process; `None` until the database was
    /// read for the first time.
    pub(crate) fn watch_revisions(&self) -> watch::Receiver<Option<Revisions>> {
        self.0.revisions.subscribe()
    }

    fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Runs an operation that only reads.
    async fn reading<T>(&self, operation: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StorageError> {
        self.0.status.borrow().access.check_reading()?;
        self.limited(operation).await
    }

    /// Runs an operation that writes.
    async fn writing<T>(&self, operation: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StorageError> {
        self.0.status.borrow().access.check_writing()?;
        self.limited(operation).await
    }

    async fn limited<T>(&self, operation: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StorageError> {
        // What the service does by itself is part of no trace.
        let is_traced = !Span::current().is_disabled();
        let span = if is_traced { info_span!(target: "span", "database") } else { Span::none() };
        let outcome = match tokio::time::timeout(self.0.limit, operation).instrument(span).await {
            Ok(outcome) => outcome.map_err(StorageError::from),
            Err(_) => Err(StorageError::slow(self.0.limit)),
        };
        if let Err(StorageError::Unavailable { fault, .. }) = &outcome {
            self.0.status.send_if_modified(|status| status.suspect(*fault));
            self.0.doubt.notify_one();
        }
        outcome
    }
}

/// Returns a time as it is stored: milliseconds since the Unix epoch.
fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Reads a time as it is stored.
fn time(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}
