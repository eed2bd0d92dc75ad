//! Brings spooled feedback into the database, in the order it came, once.

use std::{sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};
use tracing::{error, info, warn};

use super::Intake;
use crate::{
    causes::in_full,
    spool::{Contents, Segment},
    storage::{Feedback, StorageError, Stored},
};

/// How many are stored at once.
const BATCH: usize = 100;
/// How long to wait after the database failed in the middle.
const PAUSE: Duration = Duration::from_millis(500);

/// Replays whenever there is something to replay and the database takes it; ends never.
pub(crate) async fn run(intake: Intake) {
    let mut status = intake.storage.watch_status();
    // What was left behind by the process before.
    let mut waiting = true;
    loop {
        if status.wait_for(|status| status.access.is_writable()).await.is_err() {
            return;
        }
        if waiting {
            waiting = !replay(&intake).await;
        }
        if waiting {
            sleep(PAUSE).await;
        } else {
            intake.spooled.notified().await;
            waiting = true;
        }
    }
}

/// Stores all that is spooled; returns whether it could.
async fn replay(intake: &Intake) -> bool {
    for segment in intake.spool.close().await {
        match replay_segment(intake, &segment).await {
            Ok(stored) => {
                if stored > 0 {
                    info!(stored, file = %segment.path().display(), "spooled feedback is stored");
                }
            }
            Err(ReplayError::Storage(error)) => {
                warn!(error = in_full(error), "spooled feedback waits on");
                return false;
            }
            Err(ReplayError::Spool(error)) => {
                error!(%error, file = %segment.path().display(), "spooled feedback cannot be read or set aside");
                return false;
            }
        }
    }
    true
}

enum ReplayError {
    Storage(StorageError),
    Spool(std::io::Error),
}

/// Stores one file of the spool and deletes it. When that is interrupted, all of it is stored again, which changes
/// nothing. What cannot be stored is kept beside it.
async fn replay_segment(intake: &Intake, segment: &Arc<Segment>) -> Result<usize, ReplayError> {
    let Contents { bytes, scan } = spawn_blocking({
        let segment = Arc::clone(segment);
        move || segment.read()
    })
    .await
    .expect("reading does not panic")
    .map_err(ReplayError::Spool)?;

    let (mut damaged, mut rejected) = (Vec::new(), Vec::new());
    scan.damaged.iter().for_each(|part| damaged.extend_from_slice(&bytes[part.clone()]));
    let mut feedback: Vec<Feedback> = Vec::with_capacity(scan.records.len());
    for content in &scan.records {
        match serde_json::from_slice(&bytes[content.clone()]) {
            Ok(one) => feedback.push(one),
            Err(_) => damaged.extend_from_slice(&bytes[content.clone()]),
        }
    }
    for batch in feedback.chunks(BATCH) {
        store(intake, batch, &mut rejected).await.map_err(ReplayError::Storage)?;
    }

    let torn_bytes = bytes.len() - scan.end;
    if torn_bytes > 0 {
        warn!(torn_bytes, file = %segment.path().display(), "the end of the spool was never written whole: it is cut off");
    }
    for (kind, bytes) in [("damaged", damaged), ("rejected", rejected)] {
        if !bytes.is_empty() {
            let segment = Arc::clone(segment);
            let kept = spawn_blocking(move || segment.set_aside(kind, &bytes)).await.expect("writing does not panic");
            let kept = kept.map_err(ReplayError::Spool)?;
            error!(kept = %kept.display(), "spooled feedback is {kind} and was set aside");
        }
    }
    intake.spool.remove(segment).await;
    Ok(feedback.len())
}

/// Stores a batch; what the database refuses, or has otherwise, becomes a line of `rejected`.
async fn store(intake: &Intake, batch: &[Feedback], rejected: &mut Vec<u8>) -> Result<(), StorageError> {
    match intake.storage.store_feedback(batch).await {
        Ok(stored) => {
            for (one, _) in batch.iter().zip(stored).filter(|(_, stored)| *stored == Stored::Contradicted) {
                reject(one, rejected);
            }
            Ok(())
        }
        Err(error) if error.fault().is_some() => Err(error),
        // One of them is to blame.
        Err(_) if batch.len() > 1 => {
            for one in batch {
                Box::pin(store(intake, std::slice::from_ref(one), rejected)).await?;
            }
            Ok(())
        }
        Err(error) => {
            error!(error = in_full(error), feedback_id = %batch[0].id, "the database refuses spooled feedback");
            reject(&batch[0], rejected);
            Ok(())
        }
    }
}

fn reject(feedback: &Feedback, rejected: &mut Vec<u8>) {
    serde_json::to_writer(&mut *rejected, feedback).expect("feedback is plain data");
    rejected.push(b'\n');
}
