//! Watches the database: brings the tables up to date when it can, notices when it comes and goes.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use sqlx::query;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Access, Fault, Storage, StorageError, dialect::begin, millis, on_pool};
use crate::causes::in_full;

/// How often a database that works is looked at.
const CALM_INTERVAL: Duration = Duration::from_secs(2);
/// How often one that does not work is looked at; it is back in use so soon after it is back.
const ANXIOUS_INTERVAL: Duration = Duration::from_millis(500);

impl Storage {
    /// Watches the database and its changes until the last owner of the storage is gone.
    pub(crate) fn start(&self) {
        // The tasks must not keep the storage alive, or it would never stop them.
        let (storage, doubt) = (Arc::downgrade(&self.0), Arc::clone(&self.0.doubt));
        tokio::spawn(self.0.stop.clone().run_until_cancelled_owned(async move {
            loop {
                let Some(shared) = storage.upgrade() else { return };
                let storage = Self(shared);
                storage.look().await;
                let works = storage.status().access.is_writable();
                drop(storage);
                // A failure while it works is looked into at once; one that is known is not.
                let pause = if works { CALM_INTERVAL } else { ANXIOUS_INTERVAL };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = doubt.notified(), if works => {}
                }
            }
        }));
        self.follow_changes();
    }

    /// Brings the tables up to date and makes the storage ready for use, for commands that run once.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be used.
    pub(crate) async fn connect(&self) -> Result<(), StorageError> {
        self.migrate().await?;
        let latency = self.probe().await?;
        self.0.status.send_if_modified(|status| status.good(latency));
        Ok(())
    }

    /// Finds out how the database is.
    pub(super) async fn look(&self) {
        match self.make_usable().await {
            Ok(latency) => {
                if self.0.status.send_if_modified(|status| status.good(latency)) {
                    info!(database = self.database(), "the database can be used");
                    self.0.changed.notify_one();
                }
            }
            Err(error) => {
                let fault = error.fault().unwrap_or(Fault::Unreachable);
                let reason = in_full(error);
                if self.0.status.send_if_modified(|status| status.bad(fault, reason.clone())) {
                    warn!(
                        database = self.database(),
                        reason, "the database cannot be used: feedback is spooled, changes are refused"
                    );
                }
            }
        }
    }

    async fn make_usable(&self) -> Result<Duration, StorageError> {
        let worked = self.status().access.is_writable();
        if !worked && !self.is_up_to_date().await? {
            let migrated = self.migrate().await?;
            if migrated.applied > 0 {
                info!(applied = migrated.applied, version = migrated.version, "tables brought up to date");
            }
        }
        self.probe().await
    }

    /// Writes a little and returns how long that took. While the database works the write is taken back: whether it is
    /// allowed is seen all the same, and the disk is left alone.
    pub(super) async fn probe(&self) -> Result<Duration, StorageError> {
        let began = Instant::now();
        let keep = self.status().access != Access::ReadWrite;
        let now = millis(SystemTime::now());
        on_pool!(self, |pool| {
            self.limited(async {
                let mut transaction = begin(pool).await?;
                query("UPDATE write_probe SET probed_at_ms = $1 WHERE id = 1")
                    .bind(now)
                    .execute(&mut *transaction)
                    .await?;
                if keep { transaction.commit().await } else { transaction.rollback().await }
            })
            .await
        })?;
        Ok(began.elapsed())
    }
}
