//! Whether the parts of the service work: found out in the background, so that asking costs nothing.

mod dependencies;
mod heartbeat;
mod monitor;
mod probes;

use std::sync::Arc;

use tokio::time::sleep;

pub(crate) use self::{
    dependencies::{Dependencies, DependencyCheck},
    heartbeat::Heartbeat,
    monitor::Observation,
    probes::ModelProbes,
};
use crate::{
    config::HealthSettings,
    http::{App, Phase},
};

/// What background checks have found.
#[derive(Debug)]
pub(crate) struct Health {
    /// Whether the async runtime runs its tasks.
    pub(crate) heartbeat: Arc<Heartbeat>,
    /// Whether each model classifies.
    pub(crate) models: ModelProbes,
    /// Whether what the service depends on answers.
    pub(crate) dependencies: Dependencies,
    settings: HealthSettings,
}

impl Health {
    /// Knows of nothing yet.
    pub(crate) fn new(settings: &HealthSettings) -> Self {
        Self {
            heartbeat: Arc::new(Heartbeat::new(settings.max_stall())),
            models: ModelProbes::new(settings),
            dependencies: Dependencies::default(),
            settings: settings.clone(),
        }
    }
}

/// Starts the checks; they run until the process ends. Call it within the async runtime.
pub(crate) fn watch(app: &Arc<App>) {
    app.health.heartbeat.start();
    for check in app.health.dependencies.checks() {
        let settings = app.health.settings.clone();
        tokio::spawn(async move {
            loop {
                check.run(settings.timeout()).await;
                sleep(monitor::jittered(settings.interval())).await;
            }
        });
    }
    let app = Arc::clone(app);
    tokio::spawn(async move {
        loop {
            sleep(monitor::jittered(app.health.settings.interval())).await;
            if let (Phase::Serving, Ok(serving)) = (app.phase.get(), app.serving()) {
                app.health.models.run(serving).await;
            }
        }
    });
}
