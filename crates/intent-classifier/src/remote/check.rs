//! Whether the model server works.

use std::sync::Arc;

use async_trait::async_trait;

use super::RemoteClient;
use crate::{health::DependencyCheck, telemetry::labels::Dependency};

/// Lets the model server classify a text. Whether its labels are the intents is for the probe of the model to find out.
#[derive(Debug)]
pub(crate) struct ModelServerCheck(pub(crate) Arc<RemoteClient>);

#[async_trait]
impl DependencyCheck for ModelServerCheck {
    fn dependency(&self) -> Dependency {
        Dependency::Torchserve
    }

    async fn check(&self) -> Result<(), String> {
        self.0.check().await
    }
}
