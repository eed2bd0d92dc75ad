//! Leases: what one process among several may do, for a while.

use std::time::{Duration, SystemTime};

use sqlx::{query, query_scalar};

use super::{Storage, StorageError, on_pool, pool::Pool, time};

/// Takes or keeps a lease unless somebody else has it; `$now` is the database's own clock, so that those of the processes
/// need not agree.
macro_rules! hold {
    ($now:literal) => {
        concat!(
            "INSERT INTO leases (name, holder, expires_at_ms) VALUES ($1, $2, ",
            $now,
            " + $3) ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at_ms = excluded.expires_at_ms ",
            "WHERE leases.holder = excluded.holder OR leases.expires_at_ms <= ",
            $now,
            " RETURNING expires_at_ms"
        )
    };
}

const HOLD_SQLITE: &str = hold!("CAST(unixepoch('subsec') * 1000 AS INTEGER)");
const HOLD_POSTGRES: &str = hold!("CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)");
const CLOCK_SQLITE: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";
const CLOCK_POSTGRES: &str = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";

impl Storage {
    /// Takes a lease for so long, or keeps it; returns whether `holder` has it. Of several who try, one succeeds.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it; who had the lease then has it until it ends.
    pub(crate) async fn hold_lease(&self, name: &str, holder: &str, duration: Duration) -> Result<bool, StorageError> {
        let duration_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2);
        let sql = self.in_dialect(HOLD_SQLITE, HOLD_POSTGRES);
        on_pool!(self, |pool| {
            let held = query_scalar::<_, i64>(sql).bind(name).bind(holder).bind(duration_ms).fetch_optional(pool);
            self.writing(held).await.map(|held| held.is_some())
        })
    }

    /// Gives a lease back, so that nobody waits for it to end.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it.
    pub(crate) async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StorageError> {
        on_pool!(self, |pool| {
            let release = query("DELETE FROM leases WHERE name = $1 AND holder = $2").bind(name).bind(holder);
            self.writing(release.execute(pool)).await.map(drop)
        })
    }

    /// Returns by how much the database's clock differs from that of this machine, to within the time of the question.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(super) async fn clock_skew(&self) -> Result<Duration, StorageError> {
        let sql = self.in_dialect(CLOCK_SQLITE, CLOCK_POSTGRES);
        let began = SystemTime::now();
        let theirs = on_pool!(self, |pool| self.limited(query_scalar::<_, i64>(sql).fetch_one(pool)).await.map(time))?;
        let ended = SystemTime::now();
        // Somewhere in between it looked at its clock, which tells whole milliseconds.
        let behind = began.duration_since(theirs + Duration::from_millis(1)).unwrap_or_default();
        let ahead = theirs.duration_since(ended).unwrap_or_default();
        Ok(behind.max(ahead))
    }

    fn in_dialect(&self, sqlite: &'static str, postgres: &'static str) -> &'static str {
        match self.pool() {
            Pool::Sqlite(_) => sqlite,
            Pool::Postgres(_) => postgres,
        }
    }
}
