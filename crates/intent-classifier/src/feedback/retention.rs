//! Deletes what is older than it may become.

use std::time::{Duration, SystemTime};

use tokio::time::sleep;
use tracing::{debug, info};

use crate::{
    config::FeedbackSettings,
    storage::{Storage, StorageError},
};

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(3600);
/// How many rows one statement deletes, so that none takes long.
const PORTION: u32 = 1_000;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Deletes what is too old, at the start and every hour; ends never.
pub(crate) async fn run(storage: Storage, settings: FeedbackSettings) {
    let mut status = storage.watch_status();
    loop {
        if status.wait_for(|status| status.access.is_writable()).await.is_err() {
            return;
        }
        match delete_old(&storage, &settings, SystemTime::now()).await {
            Ok(0) => {}
            Ok(deleted) => info!(deleted, "old feedback and exposures were deleted"),
            Err(error) => debug!(%error, "what is too old stays until the next hour"),
        }
        sleep(INTERVAL).await;
    }
}

/// Deletes what is too old at `now`; returns how many rows.
pub(crate) async fn delete_old(
    storage: &Storage,
    settings: &FeedbackSettings,
    now: SystemTime,
) -> Result<u64, StorageError> {
    let limit = |days: Option<u32>| days.and_then(|days| now.checked_sub(DAY * days));
    let mut deleted = 0;
    if let Some(limit) = limit(settings.retention_days) {
        while let portion @ 1.. = storage.delete_feedback_before(limit, PORTION).await? {
            deleted += portion;
        }
    }
    if let Some(limit) = limit(settings.exposure_retention_days) {
        while let portion @ 1.. = storage.delete_exposures_before(limit, PORTION).await? {
            deleted += portion;
        }
    }
    Ok(deleted)
}
