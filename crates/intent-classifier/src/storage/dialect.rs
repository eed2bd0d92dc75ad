//! The little in which the two databases differ.

use std::future::Future;

use sqlx::{Database, Pool, Postgres, Sqlite, Transaction, query_scalar};

use super::Topic;

/// The channel on which Postgres announces changes.
pub(super) const CHANNEL: &str = "intent_classifier_changes";

/// Takes the next revision of a topic. It also locks the topic until the transaction ends, so that revisions become
/// visible in their order.
const NEXT_REVISION: &str = "INSERT INTO revisions (topic, revision) VALUES ($1, 1) \
    ON CONFLICT (topic) DO UPDATE SET revision = revisions.revision + 1 RETURNING revision";

/// What each database does in its own way.
pub(super) trait Dialect: Database {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;

    /// Takes the next revision of a topic and, when the transaction commits, tells other processes.
    fn next_revision(
        connection: &mut Self::Connection,
        topic: Topic,
    ) -> impl Future<Output = Result<i64, sqlx::Error>> + Send;
}

/// Begins a transaction that writes.
pub(super) async fn begin<DB: Dialect>(pool: &Pool<DB>) -> Result<Transaction<'static, DB>, sqlx::Error> {
    pool.begin_with(DB::BEGIN).await
}

/// Takes the next revision of a topic and, when the transaction commits, tells other processes. Changes of the topic wait
/// for each other from here on.
pub(super) async fn next_revision<DB: Dialect>(
    transaction: &mut Transaction<'static, DB>,
    topic: Topic,
) -> Result<i64, sqlx::Error> {
    DB::next_revision(&mut *transaction, topic).await
}

impl Dialect for Sqlite {
    /// A transaction that began by reading could not always go on to write.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";

    async fn next_revision(connection: &mut Self::Connection, topic: Topic) -> Result<i64, sqlx::Error> {
        query_scalar(NEXT_REVISION).bind(topic.as_str()).fetch_one(connection).await
    }
}

impl Dialect for Postgres {
    const BEGIN: &'static str = "BEGIN";

    async fn next_revision(connection: &mut Self::Connection, topic: Topic) -> Result<i64, sqlx::Error> {
        let revision = query_scalar(NEXT_REVISION).bind(topic.as_str()).fetch_one(&mut *connection).await?;
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(topic.as_str()).execute(connection).await?;
        Ok(revision)
    }
}
