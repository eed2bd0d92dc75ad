//! Takes feedback in: into the database, else into the spool, else not at all.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::Notify;
use tracing::debug;

use crate::{
    config::Settings,
    spool::{Spool, SpoolError},
    storage::{Feedback, Storage, StorageError, Stored},
};

/// Where feedback goes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    pub(super) storage: Storage,
    pub(super) spool: Spool,
    /// Wakes the replay.
    pub(super) spooled: Arc<Notify>,
}

/// What became of a feedback that will not be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It is in the database.
    Stored,
    /// It was in the database before.
    Repeated,
    /// It is on the disk of this process and goes to the database as soon as that takes it.
    Spooled,
}

/// Why a feedback was not accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntakeError {
    /// Something else was accepted under its id.
    #[error("something else was accepted under this id")]
    Contradicted,
    /// The database refuses it, and would again.
    #[error(transparent)]
    Refused(StorageError),
    /// Neither the database nor the disk takes it.
    #[error("neither the database nor the spool takes it")]
    NoPlace(#[source] SpoolError),
}

impl Intake {
    /// Opens the spool beside the database.
    pub(crate) fn new(settings: &Settings, storage: Storage) -> Self {
        let folder = spool_folder(&settings.database.data_directory);
        let spool = Spool::open(&folder, settings.feedback.spool_max_bytes);
        Self { storage, spool, spooled: Arc::default() }
    }

    /// Accepts a feedback. When this succeeds, the feedback survives the end of the process; doing it again with the same
    /// id changes nothing.
    ///
    /// # Errors
    /// [`IntakeError`]; it was not accepted then.
    pub(crate) async fn accept(&self, feedback: Feedback) -> Result<Accepted, IntakeError> {
        match self.storage.store_feedback(std::slice::from_ref(&feedback)).await {
            Ok(stored) => match stored[..] {
                [Stored::Contradicted] => Err(IntakeError::Contradicted),
                [Stored::Repeated] => Ok(Accepted::Repeated),
                _ => Ok(Accepted::Stored),
            },
            Err(error) if error.fault().is_none() => Err(IntakeError::Refused(error)),
            // It may be in the database all the same; storing it again changes nothing.
            Err(error) => {
                debug!(%error, feedback_id = %feedback.id, "feedback is spooled");
                let content = serde_json::to_vec(&feedback).expect("feedback is plain data");
                self.spool.append(content).await.map_err(IntakeError::NoPlace)?;
                self.spooled.notify_one();
                Ok(Accepted::Spooled)
            }
        }
    }

    /// Returns how much feedback waits in the spool.
    pub(crate) fn spooled(&self) -> u64 {
        self.spool.entries()
    }
}

/// Returns where feedback waits for the database.
pub(crate) fn spool_folder(data_directory: &Path) -> PathBuf {
    data_directory.join("spool")
}
