//! The database as a dependency that health endpoints show.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::query;

use super::{Storage, StorageError, on_pool};
use crate::{health::DependencyCheck, telemetry::labels::Dependency};

/// How the database is, for somebody who asks once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Examination {
    /// How long a write took; `None` when the tables are not those of this version, and nothing was written.
    pub(crate) write_latency: Option<Duration>,
    /// By how much its clock differs from that of this machine.
    pub(crate) clock_skew: Duration,
}

impl Storage {
    /// Finds out how the database is; its tables are left as they are.
    ///
    /// # Errors
    /// [`StorageError`] when it cannot be reached, or does not take a write.
    pub(crate) async fn examine(&self) -> Result<Examination, StorageError> {
        // The first connection takes longer than asking for the time.
        let is_up_to_date = self.is_up_to_date().await?;
        let clock_skew = self.clock_skew().await?;
        let write_latency = if is_up_to_date { Some(self.probe().await?) } else { None };
        Ok(Examination { write_latency, clock_skew })
    }
}

#[async_trait]
impl DependencyCheck for Storage {
    fn dependency(&self) -> Dependency {
        Dependency::Postgres
    }

    /// Asks the least there is to ask, whatever is known of the database.
    async fn check(&self) -> Result<(), String> {
        let asked = on_pool!(self, |pool| self.limited(query("SELECT 1").execute(pool)).await.map(drop));
        // What exactly went wrong may name hosts and users: that is in the log.
        asked.map_err(|error| error.to_string())
    }
}
