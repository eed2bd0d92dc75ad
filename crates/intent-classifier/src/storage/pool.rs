//! Connections, opened when they are needed.

use std::{fs, io, path::Path, time::Duration};

use sqlx::{
    Connection, PgPool, SqlitePool,
    pool::PoolOptions,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::config::{DatabaseChoice, DatabaseSettings};

/// An idle connection is closed after so long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// A connection is replaced after so long, so that a failover behind a name is noticed.
const MAX_LIFETIME: Duration = Duration::from_secs(1800);

/// The connections to the database.
#[derive(Debug)]
pub(super) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    /// Makes an empty pool.
    pub(super) fn new(choice: DatabaseChoice, settings: &DatabaseSettings) -> Self {
        match choice {
            DatabaseChoice::Sqlite(file) => {
                Self::Sqlite(options(settings).connect_lazy_with(sqlite(&file, settings.timeout())))
            }
            DatabaseChoice::Postgres(server) => {
                Self::Postgres(options(settings).connect_lazy_with(postgres(*server, settings.timeout())))
            }
        }
    }
}

fn options<DB: sqlx::Database>(settings: &DatabaseSettings) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(settings.max_connections)
        .acquire_timeout(settings.timeout())
        .idle_timeout(IDLE_TIMEOUT)
        .max_lifetime(MAX_LIFETIME)
        // SQLite ends a transaction by itself when the disk fails. The driver then takes it for an open one for as long as
        // the connection lives, and begins no other.
        .before_acquire(|connection: &mut DB::Connection, _| {
            Box::pin(async move { Ok(!connection.is_in_transaction()) })
        })
}

/// An accepted change must survive a power failure: every commit is synced.
fn sqlite(file: &Path, timeout: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(timeout)
}

/// The server gives up on a statement when we do.
fn postgres(server: PgConnectOptions, timeout: Duration) -> PgConnectOptions {
    let timeout_ms = timeout.as_millis().to_string();
    server
        .application_name("intent-classifier")
        .options([("statement_timeout", timeout_ms.as_str()), ("idle_in_transaction_session_timeout", "60000")])
}

/// Makes the folder of a database file, readable by nobody else.
pub(super) fn make_folder_of(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
        }
        _ => Ok(()),
    }
}
