//! Whether each model classifies, found out by letting it.

use std::{sync::Arc, time::Duration};

use intent_model::ModelKind;

use super::monitor::{Latest, Observation};
use crate::{config::HealthSettings, serving::Serving};

/// What every model is asked. That it answers is what counts, not what.
const TEXT: &str = "Does this model still answer?";

/// What the latest probe of each model found.
#[derive(Debug)]
pub(crate) struct ModelProbes {
    latest: [Latest; ModelKind::ALL.len()],
    settings: HealthSettings,
}

impl ModelProbes {
    /// Has probed nothing yet.
    pub(super) fn new(settings: &HealthSettings) -> Self {
        Self { latest: Default::default(), settings: settings.clone() }
    }

    /// Lets every loaded model classify once, one after the other. A model that loads on first use is left alone until
    /// somebody has used it.
    pub(crate) async fn run(&self, serving: &Serving) {
        let limit = self.settings.timeout();
        for kind in ModelKind::ALL {
            let latest = &self.latest[kind as usize];
            if serving.engine().catalog().get(kind).is_none() || serving.loads_on_first_use(kind) {
                latest.clear();
                continue;
            }
            let probe =
                async { serving.engine().probe(kind, TEXT, limit).await.map(drop).map_err(|error| error.to_string()) };
            latest.observe(limit, probe).await;
        }
    }

    /// Returns what the latest probe of a model found; `None` when it was not probed.
    pub(crate) fn latest(&self, kind: ModelKind) -> Option<Arc<Observation>> {
        self.latest[kind as usize].get()
    }

    /// Returns the age from which on an observation says nothing any more: three rounds were missed.
    pub(crate) fn max_age(&self) -> Duration {
        3 * (self.settings.interval() + self.settings.timeout())
    }
}
