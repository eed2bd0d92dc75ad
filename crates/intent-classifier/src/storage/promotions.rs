//! Which model version served from when on.

use std::time::SystemTime;

use sqlx::{query, query_as};
use uuid::Uuid;

use super::{Storage, StorageError, millis, on_pool, time};

/// A version that was let serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promotion {
    /// The version.
    pub(crate) version: String,
    /// When.
    pub(crate) at: SystemTime,
    /// Who let it.
    pub(crate) actor: String,
}

impl Storage {
    /// Stores that a version serves from then on, unless it is the one that was stored last.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it.
    pub(crate) async fn store_promotion(&self, promotion: &Promotion) -> Result<(), StorageError> {
        on_pool!(self, |pool| {
            let insert = query(
                "INSERT INTO promotions (id, version, promoted_at_ms, promoted_by) SELECT $1, $2, $3, $4 WHERE $2 <> \
                 COALESCE((SELECT version FROM promotions ORDER BY promoted_at_ms DESC, id DESC LIMIT 1), '')",
            );
            let insert = insert
                .bind(Uuid::now_v7().to_string())
                .bind(&promotion.version)
                .bind(millis(promotion.at))
                .bind(&promotion.actor);
            self.writing(insert.execute(pool)).await.map(drop)
        })
    }

    /// Returns the latest promotions, the latest first, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn promotions(&self, limit: u32) -> Result<Vec<Promotion>, StorageError> {
        let rows: Vec<(String, i64, String)> = on_pool!(self, |pool| {
            let rows = query_as(
                "SELECT version, promoted_at_ms, promoted_by FROM promotions ORDER BY promoted_at_ms DESC, id DESC LIMIT $1",
            );
            self.reading(rows.bind(i64::from(limit)).fetch_all(pool)).await
        })?;
        Ok(rows.into_iter().map(|(version, at, actor)| Promotion { version, at: time(at), actor }).collect())
    }
}
