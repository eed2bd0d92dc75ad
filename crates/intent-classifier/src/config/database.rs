//! Where state is kept.

use std::{path::PathBuf, str::FromStr, time::Duration};

use confique::Config;
use sqlx::postgres::PgConnectOptions;

use super::{ConfigError, Secret};

/// Where state is kept: feedback, flags, the router's settings, experiments, API keys. SQLite in `DATA_DIR` unless
/// Postgres is named by `DATABASE_URL` or `POSTGRES_HOST`.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct DatabaseSettings {
    /// Folder of the SQLite database and of the feedback that waits for a database. It is made when it is missing.
    #[config(env = "DATA_DIR", default = "./data")]
    pub(crate) data_directory: PathBuf,

    /// Postgres as a URL, `postgres://user:password@host:5432/name?sslmode=require`. Wins over the settings below.
    #[config(env = "DATABASE_URL")]
    pub(crate) url: Option<Secret>,

    /// Host of Postgres, or the folder of its socket.
    #[config(env = "POSTGRES_HOST")]
    pub(crate) postgres_host: Option<String>,

    /// Port of Postgres.
    #[config(env = "POSTGRES_PORT", default = 5432)]
    pub(crate) postgres_port: u16,

    /// Name of the database in Postgres.
    #[config(env = "POSTGRES_DB", default = "intent_classifier")]
    pub(crate) postgres_database: String,

    /// User of Postgres.
    #[config(env = "POSTGRES_USER", default = "intent_classifier")]
    pub(crate) postgres_user: String,

    /// Password of that user.
    #[config(env = "POSTGRES_PASSWORD")]
    pub(crate) postgres_password: Option<Secret>,

    /// Most connections of this process to the database. Postgres gets one more, which listens for changes.
    #[config(env = "DATABASE_MAX_CONNECTIONS", default = 10)]
    #[config(validate((1..=1000).contains(max_connections), "there must be 1 to 1000 connections"))]
    pub(crate) max_connections: u32,

    /// How long one operation may take, in milliseconds, waiting for a connection included.
    #[config(env = "DATABASE_TIMEOUT_MS", default = 2000)]
    #[config(validate((10..=600_000).contains(timeout_ms), "the time limit must be 10 to 600000 ms"))]
    pub(crate) timeout_ms: u64,

    /// How often changes made by other processes are looked for, in milliseconds. Postgres announces them besides, so
    /// that this counts only when an announcement is lost.
    #[config(env = "DATABASE_POLL_INTERVAL_MS", default = 500)]
    #[config(validate((10..=60_000).contains(poll_interval_ms), "the poll interval must be 10 to 60000 ms"))]
    pub(crate) poll_interval_ms: u64,
}

/// The database that the settings name.
#[derive(Clone, Debug)]
pub(crate) enum DatabaseChoice {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(Box<PgConnectOptions>),
}

impl DatabaseSettings {
    /// Returns how long one operation may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Returns how often changes are looked for.
    pub(crate) fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    /// Returns the database that is meant.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when the URL is not one of Postgres.
    pub(crate) fn choice(&self) -> Result<DatabaseChoice, ConfigError> {
        if let Some(url) = &self.url {
            let invalid = |reason| ConfigError::Invalid { variable: "DATABASE_URL", reason };
            let url = url.reveal();
            if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
                // The value is not shown: it may hold a password.
                let expected = "expected `postgres://user:password@host:port/name`; leave it unset for SQLite";
                return Err(invalid(expected.to_owned()));
            }
            let options = PgConnectOptions::from_str(url).map_err(|error| invalid(error.to_string()))?;
            return Ok(DatabaseChoice::Postgres(Box::new(options)));
        }
        let Some(host) = &self.postgres_host else {
            return Ok(DatabaseChoice::Sqlite(self.data_directory.join("intent-classifier.sqlite")));
        };
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(self.postgres_port)
            .database(&self.postgres_database)
            .username(&self.postgres_user);
        if let Some(password) = &self.postgres_password {
            options = options.password(password.reveal());
        }
        Ok(DatabaseChoice::Postgres(Box::new(options)))
    }

    /// Checks what no field can check alone.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.choice().map(drop)
    }
}
