use std::{
    fs,
    time::{Duration, SystemTime},
};

use sqlx::Executor;

use super::{Database, until};
use crate::storage::{Access, Fault, Promotion, Topic, pool::Pool};

fn promotion(version: &str) -> Promotion {
    Promotion { version: version.to_owned(), at: SystemTime::now(), actor: "v".repeat(4_000) }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_a_database_that_cannot_be_reached() {
    let database = Database::sqlite();
    // A file is where the folder should be.
    fs::write(&database.settings.data_directory, "").expect("there is room for a file");
    let storage = database.open_unprepared();
    let mut status = storage.watch_status();
    storage.start();
    until(&mut status, |status| status.access == Access::None(Fault::Unreachable)).await;
    assert!(storage.status().last_error.is_some());

    fs::remove_file(&database.settings.data_directory).expect("the file is there");
    until(&mut status, |status| status.access == Access::ReadWrite).await;
}

#[tokio::test]
async fn a_full_sqlite_reads_on_and_recovers() {
    let mut database = Database::sqlite();
    // The limit below is one of the connection.
    database.settings.max_connections = 1;
    let storage = database.open().await;
    storage.start();
    let Pool::Sqlite(pool) = storage.pool() else { panic!("it is SQLite") };
    pool.execute("PRAGMA max_page_count = 1").await.expect("a pragma");
    let mut failed = None;
    for number in 0..200 {
        if let Err(error) = storage.store_promotion(&promotion(&number.to_string())).await {
            failed = error.fault();
            break;
        }
    }
    assert_eq!(failed, Some(Fault::Full));
    let refused = storage.store_promotion(&promotion("v")).await.expect_err("changes are refused");
    assert_eq!(refused.fault(), Some(Fault::Full));
    storage.documents(Topic::Flags).await.expect("reading goes on");

    pool.execute("PRAGMA max_page_count = 1000000").await.expect("a pragma");
    let mut status = storage.watch_status();
    until(&mut status, |status| status.access == Access::ReadWrite).await;
    storage.store_promotion(&promotion("v")).await.expect("changes are taken again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_takes_no_changes_reads_on_and_recovers() {
    let database = Database::postgres();
    let storage = database.open().await;
    storage.start();
    let Pool::Postgres(pool) = storage.pool() else { panic!("it is Postgres") };
    let name = pool.connect_options().get_database().expect("it has a name").to_owned();
    // From here on as after a failover to a standby: new connections are read-only, the old ones are gone.
    let other = Database::postgres().open().await;
    let Pool::Postgres(administrator) = other.pool() else { panic!("it is Postgres") };
    let run = async |sql: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(administrator).await.expect("the superuser may");
    };
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    run(format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    run(cut.clone()).await;

    let mut status = storage.watch_status();
    until(&mut status, |status| status.access == Access::ReadOnly(Fault::ReadOnly)).await;
    storage.documents(Topic::Flags).await.expect("reading goes on");
    assert_eq!(storage.store_promotion(&promotion("v")).await.expect_err("no changes").fault(), Some(Fault::ReadOnly));
    let fresh = database.open_unprepared();
    let mut fresh_status = fresh.watch_status();
    fresh.start();
    until(&mut fresh_status, |status| status.access == Access::ReadOnly(Fault::ReadOnly)).await;
    fresh.documents(Topic::Flags).await.expect("a process that starts now reads, too");

    run(format!("ALTER DATABASE {name} RESET default_transaction_read_only")).await;
    run(cut).await;
    until(&mut status, |status| status.access == Access::ReadWrite).await;
    storage.store_promotion(&promotion("v")).await.expect("changes are taken again");
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up() {
    let mut database = Database::postgres();
    database.settings.timeout_ms = 500;
    let storage = database.open().await;
    let Pool::Postgres(pool) = storage.pool() else { panic!("it is Postgres") };
    let began = std::time::Instant::now();
    let error =
        storage.reading(sqlx::query("SELECT pg_sleep(3600)").execute(pool)).await.expect_err("an hour is too long");
    assert_eq!(error.fault(), Some(Fault::Slow));
    assert!(began.elapsed() < Duration::from_secs(60), "only a hang takes that long");
    storage.documents(Topic::Flags).await.expect("the next statement is not affected");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_not_waited_for_twice() {
    let mut database = Database::with(Some("postgres://nobody@127.0.0.1:1/none".to_owned()));
    database.settings.timeout_ms = 50;
    let storage = database.open_unprepared();
    let mut status = storage.watch_status();
    storage.start();
    until(&mut status, |status| matches!(status.access, Access::None(Fault::Unreachable | Fault::Slow))).await;
    let error = storage.documents(Topic::Flags).await.expect_err("there is no database");
    assert!(std::error::Error::source(&error).is_none(), "it was not even asked: {error:?}");
}
