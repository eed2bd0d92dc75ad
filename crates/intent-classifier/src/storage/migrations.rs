//! The tables, brought up to date before they are used.

use std::{borrow::Cow, fs::File};

use sqlx::{
    ConnectOptions, Connection, SqlSafeStr,
    migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator},
    query_scalar,
};

use super::{
    Fault, Storage, StorageError, on_pool,
    pool::{self, Pool},
};

/// Every migration in order: number, name, SQL. They are never changed once released, only added; each leaves tables that
/// the version before can still use, so that replicas can be replaced one by one.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (1, "initial", include_str!("../../../../migrations/0001_initial.sql")),
    (2, "subjects of exposures", include_str!("../../../../migrations/0002_subjects_of_exposures.sql")),
    (3, "rollouts", include_str!("../../../../migrations/0003_rollouts.sql")),
];

/// The newest migration of this program.
const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// What a migration run found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Migrated {
    /// How many migrations were applied just now.
    pub(crate) applied: usize,
    /// The newest migration of this program.
    pub(crate) version: i64,
}

impl Storage {
    /// Brings the tables up to date. Safe when several processes do it at once: one does, the others wait. The only
    /// operation that may take long; it connects on its own.
    ///
    /// # Errors
    /// [`StorageError`]; what was applied until then stays, each migration whole or not at all.
    pub(crate) async fn migrate(&self) -> Result<Migrated, StorageError> {
        match self.pool() {
            Pool::Sqlite(pool) => {
                let options = pool.connect_options();
                let file = options.get_filename().to_owned();
                // SQLite has no lock that spans several transactions.
                let _lock = tokio::task::spawn_blocking(move || {
                    pool::make_folder_of(&file)?;
                    let lock = File::options().create(true).append(true).open(file.with_extension("lock"))?;
                    lock.lock().map(|()| lock)
                })
                .await
                .expect("taking a lock does not panic")
                .map_err(|error| StorageError::from(sqlx::Error::Io(error)))?;
                run(self.connected(options.connect()).await?).await
            }
            Pool::Postgres(pool) => {
                // A long migration is not a slow statement.
                let options = pool.connect_options().as_ref().clone().options([("statement_timeout", "0")]);
                run(self.connected(options.connect()).await?).await
            }
        }
    }

    /// Tells whether the tables are those of this program or newer ones. Works on a database that takes no changes.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when the database cannot be asked.
    pub(super) async fn is_up_to_date(&self) -> Result<bool, StorageError> {
        if let Pool::Sqlite(pool) = self.pool() {
            // Nothing can be opened in a folder that is not there.
            let file = pool.connect_options().get_filename().to_owned();
            let made = tokio::task::spawn_blocking(move || pool::make_folder_of(&file)).await;
            made.expect("making a folder does not panic").map_err(sqlx::Error::Io)?;
        }
        let asked: Result<i64, StorageError> = on_pool!(self, |pool| {
            let found = query_scalar("SELECT COUNT(*) FROM _sqlx_migrations WHERE version = $1 AND success")
                .bind(VERSION)
                .fetch_one(pool);
            self.limited(found).await
        });
        match asked {
            Ok(found) => Ok(found == 1),
            // There is no such table.
            Err(StorageError::Unavailable { fault: Fault::Starting, .. } | StorageError::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Connects within the limit.
    async fn connected<C>(&self, connecting: impl Future<Output = Result<C, sqlx::Error>>) -> Result<C, StorageError> {
        match tokio::time::timeout(self.0.limit, connecting).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StorageError::known(Fault::Unreachable)),
        }
    }
}

async fn run<C: Connection + Migrate>(mut connection: C) -> Result<Migrated, StorageError> {
    let migrations = MIGRATIONS
        .map(|(version, name, sql)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
        })
        .to_vec();
    let mut migrator = Migrator::with_migrations(migrations);
    // A newer replica may have been here first. The lock is taken here, as counting needs it, too.
    migrator.set_ignore_missing(true).set_locking(false);
    connection.lock().await.map_err(understood)?;
    let before = applied(&mut connection, &migrator).await.map_err(understood)?;
    migrator.run_direct(None, &mut connection, false).await.map_err(understood)?;
    let after = applied(&mut connection, &migrator).await.map_err(understood)?;
    connection.unlock().await.map_err(understood)?;
    // Everything is done; whether the farewell arrives does not matter.
    let _ = connection.close().await;
    Ok(Migrated { applied: after.saturating_sub(before), version: VERSION })
}

async fn applied<C: Migrate>(connection: &mut C, migrator: &Migrator) -> Result<usize, MigrateError> {
    connection.ensure_migrations_table(&migrator.table_name).await?;
    Ok(connection.list_applied_migrations(&migrator.table_name).await?.len())
}

fn understood(error: MigrateError) -> StorageError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => StorageError::Unreadable { table: "_sqlx_migrations", reason: other.to_string() },
    }
}
