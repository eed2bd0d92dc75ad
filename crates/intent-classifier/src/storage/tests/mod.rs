//! What the storage promises, on both databases; Postgres is real.

#[path = "../../../tests/it/postgres.rs"]
#[expect(dead_code, reason = "the faults are injected by the tests of the whole server")]
mod postgres;

mod documents;
mod experiments;
mod faults;
mod feedback;
mod keys_and_promotions;
mod migrations;
mod rollouts;

use std::time::Duration;

use confique::{Config, Layer};
use tempfile::TempDir;

use super::Storage;
use crate::config::{DatabaseSettings, Secret};

/// Runs a test on each database.
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($($argument:ident: $kind:ty),+) $body:block)+) => { $(
        mod $name {
            use super::*;

            async fn test($($argument: $kind),+) $body

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                $crate::storage::tests::run(test, $crate::storage::tests::Database::sqlite()).await;
            }

            $(#[$attribute])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                $crate::storage::tests::run(test, $crate::storage::tests::Database::postgres()).await;
            }
        }
    )+ };
}
use on_both_databases;

/// An empty database; several processes, played by several storages, may use it.
pub(super) struct Database {
    settings: DatabaseSettings,
    _folder: TempDir,
}

impl Database {
    fn sqlite() -> Self {
        Self::with(None)
    }

    fn postgres() -> Self {
        Self::with(Some(postgres::database()))
    }

    fn with(url: Option<String>) -> Self {
        let folder = TempDir::new().expect("there is room for a folder");
        let mut settings = DatabaseSettings::from_layer(<DatabaseSettings as Config>::Layer::default_values())
            .expect("every setting that is needed has a default");
        settings.data_directory = folder.path().join("data");
        settings.url = url.map(Secret::from);
        // The machine of a test may be busy.
        settings.timeout_ms = 20_000;
        Self { settings, _folder: folder }
    }

    /// Opens it as one process does, whose tables are up to date.
    pub(super) async fn open(&self) -> Storage {
        let storage = self.open_unprepared();
        storage.connect().await.expect("the database can be used");
        storage
    }

    /// Opens it as a process does that starts.
    pub(super) fn open_unprepared(&self) -> Storage {
        Storage::new(&self.settings).expect("the settings name a database")
    }
}

async fn run<F: Future<Output = ()>>(test: impl FnOnce(Database) -> F, database: Database) {
    test(database).await;
}

/// Longer than anything takes on the slowest machine; only a hang reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a condition on what is watched holds.
async fn until<T>(watched: &mut tokio::sync::watch::Receiver<T>, condition: impl FnMut(&T) -> bool) {
    tokio::time::timeout(PATIENCE, watched.wait_for(condition))
        .await
        .expect("it happens in time")
        .expect("it is alive");
}
