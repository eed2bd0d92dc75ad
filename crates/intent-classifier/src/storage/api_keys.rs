//! API keys: what is known of them; the keys themselves are known to their owners alone.

use std::time::SystemTime;

use sqlx::{query, query_as};
use uuid::Uuid;

use super::{
    Storage, StorageError, Topic,
    dialect::{begin, next_revision},
    millis, on_pool, time,
};

/// An API key to be stored.
#[derive(Clone, Debug)]
pub(crate) struct NewApiKey<'a> {
    /// Names it in lists and logs.
    pub(crate) id: Uuid,
    /// What it is for; for people.
    pub(crate) name: &'a str,
    /// A hash of the key, from which it cannot be found.
    pub(crate) hash: &'a str,
    /// What it allows.
    pub(crate) scopes: &'a [String],
    /// Who made it.
    pub(crate) created_by: &'a str,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiKey {
    /// Names it in lists and logs.
    pub(crate) id: Uuid,
    /// What it is for; for people.
    pub(crate) name: String,
    /// A hash of the key.
    pub(crate) hash: String,
    /// What it allows.
    pub(crate) scopes: Vec<String>,
    /// When it was made.
    pub(crate) created_at: SystemTime,
    /// Who made it.
    pub(crate) created_by: String,
    /// When it stopped to be valid; `None` while it is.
    pub(crate) revoked_at: Option<SystemTime>,
}

impl Storage {
    /// Stores an API key.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it.
    pub(crate) async fn create_api_key(&self, key: NewApiKey<'_>) -> Result<(), StorageError> {
        let scopes = serde_json::to_string(key.scopes).expect("strings are plain data");
        on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                next_revision(&mut transaction, Topic::ApiKeys).await?;
                query(
                    "INSERT INTO api_keys (id, name, hash, scopes, created_at_ms, created_by) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                )
                .bind(key.id.to_string())
                .bind(key.name)
                .bind(key.hash)
                .bind(scopes)
                .bind(millis(SystemTime::now()))
                .bind(key.created_by)
                .execute(&mut *transaction)
                .await?;
                transaction.commit().await
            })
            .await
        })?;
        self.announce();
        Ok(())
    }

    /// Returns all API keys, revoked ones included, the oldest first. [`Topic::ApiKeys`] changes when they do.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn api_keys(&self) -> Result<Vec<ApiKey>, StorageError> {
        type Row = (String, String, String, String, i64, String, Option<i64>);
        let rows: Vec<Row> = on_pool!(self, |pool| {
            let rows = query_as(
                "SELECT id, name, hash, scopes, created_at_ms, created_by, revoked_at_ms FROM api_keys \
                 ORDER BY created_at_ms, id",
            );
            self.reading(rows.fetch_all(pool)).await
        })?;
        rows.into_iter()
            .map(|(id, name, hash, scopes, created_at, created_by, revoked_at)| {
                let unreadable = |reason| StorageError::Unreadable { table: "api_keys", reason };
                Ok(ApiKey {
                    id: Uuid::parse_str(&id).map_err(|error| unreadable(error.to_string()))?,
                    name,
                    hash,
                    scopes: serde_json::from_str(&scopes).map_err(|error| unreadable(error.to_string()))?,
                    created_at: time(created_at),
                    created_by,
                    revoked_at: revoked_at.map(time),
                })
            })
            .collect()
    }

    /// Ends the validity of an API key; returns whether there was one that was valid.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it.
    pub(crate) async fn revoke_api_key(&self, id: Uuid) -> Result<bool, StorageError> {
        let revoked = on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                next_revision(&mut transaction, Topic::ApiKeys).await?;
                let done = query("UPDATE api_keys SET revoked_at_ms = $1 WHERE id = $2 AND revoked_at_ms IS NULL")
                    .bind(millis(SystemTime::now()))
                    .bind(id.to_string())
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
                Ok(done.rows_affected() == 1)
            })
            .await
        })?;
        self.announce();
        Ok(revoked)
    }
}
