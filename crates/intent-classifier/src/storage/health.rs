//! The database as a dependency that health endpoints show.

use async_trait::async_trait;
use sqlx::query;

use super::{Storage, on_pool};
use crate::{health::DependencyCheck, telemetry::labels::Dependency};

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
