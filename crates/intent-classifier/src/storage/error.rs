//! Why the database did not do what it was asked to.

use std::{fmt, time::Duration};

use serde::Serialize;
use sqlx::{error::DatabaseError, postgres::PgDatabaseError, sqlite::SqliteError};

/// Why the database did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StorageError {
    /// It cannot, for now: the same request may work later.
    #[error("the database {fault}")]
    Unavailable {
        /// What is wrong.
        fault: Fault,
        /// What the database or the network said; absent when it was not asked.
        #[source]
        source: Option<sqlx::Error>,
    },
    /// It refused, and would again.
    #[error("the database refused the operation")]
    Refused(#[source] sqlx::Error),
    /// What it returned cannot be understood.
    #[error("`{table}` holds what this version does not understand: {reason}")]
    Unreadable {
        /// Where.
        table: &'static str,
        /// What was found.
        reason: String,
    },
}

/// What is wrong with the database, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fault {
    /// It was not reached yet, or its tables are not there yet.
    Starting,
    /// It does not answer, or refuses the connection.
    Unreachable,
    /// It takes no changes: a standby, a read-only transaction, a read-only file.
    ReadOnly,
    /// Its disk is full.
    Full,
    /// It did not answer in time.
    Slow,
}

impl StorageError {
    /// The database is known not to take the operation; it was not asked.
    pub(super) fn known(fault: Fault) -> Self {
        Self::Unavailable { fault, source: None }
    }

    /// The operation took longer than the limit.
    pub(super) fn slow(limit: Duration) -> Self {
        let error =
            std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis()));
        Self::Unavailable { fault: Fault::Slow, source: Some(sqlx::Error::Io(error)) }
    }

    /// Returns what is wrong with the database, unless it is the operation that is wrong.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::Unavailable { fault, .. } => Some(*fault),
            Self::Refused(_) | Self::Unreadable { .. } => None,
        }
    }
}

impl From<sqlx::Error> for StorageError {
    fn from(error: sqlx::Error) -> Self {
        match fault_of(&error) {
            Some(fault) => Self::Unavailable { fault, source: Some(error) },
            None => Self::Refused(error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "is not ready yet",
            Self::Unreachable => "cannot be reached",
            Self::ReadOnly => "takes no changes",
            Self::Full => "has no space left",
            Self::Slow => "does not answer in time",
        })
    }
}

fn fault_of(error: &sqlx::Error) -> Option<Fault> {
    use sqlx::Error;
    match error {
        Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => fault_of_postgres(error.code()),
            None => error.try_downcast_ref::<SqliteError>().and_then(|error| fault_of_sqlite(error.code().as_deref())),
        },
        Error::PoolTimedOut => Some(Fault::Slow),
        Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::PoolClosed | Error::WorkerCrashed => {
            Some(Fault::Unreachable)
        }
        // Whatever answers is no database, or is talking of something else: no transaction after `BEGIN`, no row where
        // every database has one.
        Error::BeginFailed | Error::InvalidSavePointStatement | Error::RowNotFound => Some(Fault::Unreachable),
        _ => None,
    }
}

/// Reads an SQLSTATE (PostgreSQL documentation, appendix A).
fn fault_of_postgres(code: &str) -> Option<Fault> {
    match code {
        // Read-only transaction; no right to write.
        "25006" | "42501" => Some(Fault::ReadOnly),
        "53100" => Some(Fault::Full),
        // Statement cancelled by its time limit, lock not available, serialisation failure, deadlock, other limits.
        "57014" | "55P03" | "40001" | "40P01" => Some(Fault::Slow),
        // Undefined table: a fresh database took the place of the old one.
        "42P01" => Some(Fault::Starting),
        _ => match &code[..2] {
            "53" => Some(Fault::Slow),
            // Connection, authorisation, unknown database, operator intervention, system error.
            "08" | "28" | "3D" | "57" | "58" => Some(Fault::Unreachable),
            _ => None,
        },
    }
}

/// Reads a result code (sqlite.org/rescode.html).
fn fault_of_sqlite(code: Option<&str>) -> Option<Fault> {
    let code = code?.parse::<u32>().ok()?;
    // IOERR_WRITE, IOERR_FSYNC, IOERR_DIR_FSYNC: the disk takes nothing, which says nothing of reading.
    if matches!(code, 778 | 1034 | 1290) {
        return Some(Fault::ReadOnly);
    }
    // The low byte is the primary code; the rest says more.
    match code & 0xff {
        // BUSY, LOCKED
        5 | 6 => Some(Fault::Slow),
        // READONLY
        8 => Some(Fault::ReadOnly),
        // FULL
        13 => Some(Fault::Full),
        // IOERR, CORRUPT, CANTOPEN, NOTADB
        10 | 11 | 14 | 26 => Some(Fault::Unreachable),
        _ => None,
    }
}
