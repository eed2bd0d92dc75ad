//! Whether the groups of the running experiment have the sizes they should, found out in the background, so that a scrape
//! costs nothing.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use intent_engine::Experiment;
use tokio::time::sleep;
use tracing::debug;

use crate::{
    http::App,
    storage::{Storage, StorageError},
};

/// The latest finding.
#[derive(Debug, Default)]
pub(crate) struct SampleRatio(Mutex<Option<f64>>);

impl SampleRatio {
    /// Returns how likely group sizes as uneven as the stored ones are by chance, 0 to 1; `None` while no experiment
    /// runs, and before the first look.
    pub(crate) fn p_value(&self) -> Option<f64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, p_value: Option<f64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = p_value;
    }
}

/// Looks again and again, for as long as the process lives. While the database is away the latest finding stands.
pub(crate) async fn watch(app: Arc<App>, interval: Duration) {
    loop {
        if let Ok(serving) = app.serving() {
            let experiment = serving.engine().experiment();
            match p_value(&app.storage, &experiment).await {
                Ok(p_value) => app.sample_ratio.set(p_value),
                Err(error) => debug!(%error, "the sizes of the experiment's groups cannot be read"),
            }
        }
        sleep(interval).await;
    }
}

async fn p_value(storage: &Storage, experiment: &Experiment) -> Result<Option<f64>, StorageError> {
    if !experiment.is_running() {
        return Ok(None);
    }
    let (_, results) = super::results(storage, experiment).await?;
    Ok(Some(results.sample_ratio_p_value))
}
