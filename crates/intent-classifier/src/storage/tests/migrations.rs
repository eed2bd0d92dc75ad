use futures_util::future::join_all;

use super::{Database, on_both_databases, until};
use crate::storage::{Access, Fault, Topic};

on_both_databases! {
    async fn of_many_that_start_at_once_one_makes_the_tables(database: Database) {
        let storages: Vec<_> = (0..6).map(|_| database.open_unprepared()).collect();
        let runs = join_all(storages.iter().map(|storage| {
            let storage = storage.clone();
            tokio::spawn(async move { storage.migrate().await })
        }))
        .await;
        let applied: Vec<usize> =
            runs.into_iter().map(|run| run.expect("no panic").expect("migrated").applied).collect();
        assert_eq!(applied.iter().filter(|&&applied| applied > 0).count(), 1, "{applied:?}");
        let again = storages[0].migrate().await.expect("migrated");
        assert_eq!(again.applied, 0);
    }

    async fn a_storage_that_is_started_becomes_usable_by_itself(database: Database) {
        let storage = database.open_unprepared();
        let early = storage.documents(Topic::Flags).await.expect_err("there are no tables yet");
        assert_eq!(early.fault(), Some(Fault::Starting));
        let mut status = storage.watch_status();
        storage.start();
        until(&mut status, |status| status.access == Access::ReadWrite).await;
        storage.documents(Topic::Flags).await.expect("readable");
    }
}
