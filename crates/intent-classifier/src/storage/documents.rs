//! Named JSON documents that are changed while the service runs, with revisions and an audit trail.
//!
//! Flags, the router's settings and rollouts are all of this kind: the topic groups them, and each document's revision is
//! the topic's revision at its last change.

use std::time::SystemTime;

use serde_json::Value;
use sqlx::{query, query_as};

use super::{
    Storage, StorageError, Topic,
    dialect::{begin, next_revision},
    millis, on_pool, time,
};

/// A document as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    /// Its name within the topic.
    pub(crate) name: String,
    /// Its content.
    pub(crate) body: Value,
    /// The revision of the topic at its last change.
    pub(crate) revision: u64,
    /// When it was changed last.
    pub(crate) updated_at: SystemTime,
    /// Who changed it last.
    pub(crate) updated_by: String,
}

/// All documents of a topic at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Documents {
    /// The revision of the topic; 0 when nothing was ever changed.
    pub(crate) revision: u64,
    /// By name.
    pub(crate) documents: Vec<Document>,
}

/// Which document to change, and on what condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change<'a> {
    /// The topic.
    pub(crate) topic: Topic,
    /// The document.
    pub(crate) name: &'a str,
    /// The revision that the caller has seen, 0 for a document that is not there; `None` changes it whatever it is.
    pub(crate) expected_revision: Option<u64>,
    /// Who changes it; for the audit trail.
    pub(crate) actor: &'a str,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changed {
    /// The revision it made.
    pub(crate) revision: u64,
    /// When.
    pub(crate) at: SystemTime,
    /// The content before; `None` when there was none.
    pub(crate) from: Option<Value>,
    /// The content now; `None` when the document is gone.
    pub(crate) to: Option<Value>,
}

/// A line of the audit trail.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DocumentChange {
    /// The document.
    pub(crate) name: String,
    /// Who changed it.
    pub(crate) actor: String,
    /// What was changed, and when.
    pub(crate) change: Changed,
}

/// Why a document was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError<E = std::convert::Infallible> {
    /// Somebody else changed it since the caller looked.
    #[error("it was changed since: it is at revision {current}")]
    Stale {
        /// The revision it is at.
        current: u64,
    },
    /// The new content cannot be made from the old one.
    #[error("the change cannot be made")]
    Invalid(E),
    /// The database did not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Storage {
    /// Returns all documents of a topic, by name.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn documents(&self, topic: Topic) -> Result<Documents, StorageError> {
        // One statement, so that revision and documents are of one moment.
        const ALL: &str = "SELECT r.revision, d.name, d.body, d.revision, d.updated_at_ms, d.updated_by \
            FROM revisions r LEFT JOIN documents d ON d.topic = r.topic WHERE r.topic = $1 ORDER BY d.name";
        type Row = (i64, Option<String>, Option<String>, Option<i64>, Option<i64>, Option<String>);
        let rows: Vec<Row> =
            on_pool!(self, |pool| self.reading(query_as(ALL).bind(topic.as_str()).fetch_all(pool)).await)?;
        let revision = rows.first().map_or(0, |row| row.0.cast_unsigned());
        let documents = rows
            .into_iter()
            .filter_map(|(_, name, body, revision, at, by)| Some((name?, body?, revision?, at?, by?)))
            .map(|(name, body, revision, at, updated_by)| {
                let body = parse(&body)?;
                Ok(Document { name, body, revision: revision.cast_unsigned(), updated_at: time(at), updated_by })
            })
            .collect::<Result<_, StorageError>>()?;
        Ok(Documents { revision, documents })
    }

    /// Changes one document: `edit` makes the new content from the old one, `None` for a document that is not there or
    /// shall be gone. The change and its line in the audit trail are written together or not at all.
    ///
    /// # Errors
    /// [`ChangeError::Stale`] when the document is not at the expected revision, [`ChangeError::Invalid`] with what
    /// `edit` says, [`ChangeError::Storage`] when the database does not take it; nothing is changed then. After
    /// [`StorageError::Unavailable`] with a source it may have been changed all the same: look before trying again.
    pub(crate) async fn change_document<E: Send>(
        &self,
        change: Change<'_>,
        edit: impl FnOnce(Option<&Value>) -> Result<Option<Value>, E> + Send,
    ) -> Result<Changed, ChangeError<E>> {
        let changed = self.change_documents(&[change], |before, _| Ok(vec![edit(before[0].as_ref())?])).await?;
        Ok(changed.into_iter().next().expect("one document was changed"))
    }

    /// Changes several documents of different topics, all or none: `edit` makes the new contents from the old ones and
    /// the revisions that the changes will have, each in the order of `changes`. Whoever changes two topics together names
    /// them in the same order.
    ///
    /// # Errors
    /// As [`Storage::change_document`].
    pub(crate) async fn change_documents<E: Send>(
        &self,
        changes: &[Change<'_>],
        edit: impl FnOnce(&[Option<Value>], &[u64]) -> Result<Vec<Option<Value>>, E> + Send,
    ) -> Result<Vec<Changed>, ChangeError<E>> {
        let at = SystemTime::now();
        let outcome = on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                let (mut revisions, mut before) = (Vec::new(), Vec::new());
                for Change { topic, name, expected_revision, .. } in changes {
                    // First of all, as it makes changes of the topic wait for each other.
                    revisions.push(next_revision(&mut transaction, *topic).await?.cast_unsigned());
                    let found: Option<(String, i64)> =
                        query_as("SELECT body, revision FROM documents WHERE topic = $1 AND name = $2")
                            .bind(topic.as_str())
                            .bind(name)
                            .fetch_optional(&mut *transaction)
                            .await?;
                    let current = found.as_ref().map_or(0, |(_, revision)| revision.cast_unsigned());
                    if expected_revision.is_some_and(|expected| expected != current) {
                        return Ok(Err(ChangeError::Stale { current }));
                    }
                    match found.map(|(body, _)| parse(&body)).transpose() {
                        Ok(from) => before.push(from),
                        Err(error) => return Ok(Err(error.into())),
                    }
                }
                let after = match edit(&before, &revisions) {
                    Ok(after) => after,
                    Err(error) => return Ok(Err(ChangeError::Invalid(error))),
                };
                let mut changed = Vec::with_capacity(changes.len());
                for (((change, revision), from), to) in changes.iter().zip(revisions).zip(before).zip(after) {
                    let Change { topic, name, actor, .. } = *change;
                    let new_body = to.as_ref().map(Value::to_string);
                    match &new_body {
                        Some(body) => {
                            query(
                                "INSERT INTO documents (topic, name, body, revision, updated_at_ms, updated_by) \
                                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (topic, name) DO UPDATE SET \
                                 body = excluded.body, revision = excluded.revision, \
                                 updated_at_ms = excluded.updated_at_ms, updated_by = excluded.updated_by",
                            )
                            .bind(topic.as_str())
                            .bind(name)
                            .bind(body)
                            .bind(revision.cast_signed())
                            .bind(millis(at))
                            .bind(actor)
                            .execute(&mut *transaction)
                            .await?;
                        }
                        None => {
                            query("DELETE FROM documents WHERE topic = $1 AND name = $2")
                                .bind(topic.as_str())
                                .bind(name)
                                .execute(&mut *transaction)
                                .await?;
                        }
                    }
                    query(
                        "INSERT INTO document_changes \
                         (topic, revision, name, changed_at_ms, changed_by, old_body, new_body) \
                         VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    )
                    .bind(topic.as_str())
                    .bind(revision.cast_signed())
                    .bind(name)
                    .bind(millis(at))
                    .bind(actor)
                    .bind(from.as_ref().map(Value::to_string))
                    .bind(new_body)
                    .execute(&mut *transaction)
                    .await?;
                    changed.push(Changed { revision, at: time(millis(at)), from, to });
                }
                transaction.commit().await?;
                Ok(Ok(changed))
            })
            .await
        });
        let changed = outcome.map_err(ChangeError::Storage)??;
        self.announce();
        Ok(changed)
    }

    /// Returns the latest changes of one document, the latest first, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn document_history(
        &self,
        topic: Topic,
        name: &str,
        limit: u32,
    ) -> Result<Vec<DocumentChange>, StorageError> {
        type Row = (i64, String, i64, String, Option<String>, Option<String>);
        let rows: Vec<Row> = on_pool!(self, |pool| {
            let rows = query_as(
                "SELECT revision, name, changed_at_ms, changed_by, old_body, new_body FROM document_changes \
                 WHERE topic = $1 AND name = $2 ORDER BY revision DESC LIMIT $3",
            );
            self.reading(rows.bind(topic.as_str()).bind(name).bind(i64::from(limit)).fetch_all(pool)).await
        })?;
        rows.into_iter()
            .map(|(revision, name, at, actor, from, to)| {
                let from = from.as_deref().map(parse).transpose()?;
                let to = to.as_deref().map(parse).transpose()?;
                let change = Changed { revision: revision.cast_unsigned(), at: time(at), from, to };
                Ok(DocumentChange { name, actor, change })
            })
            .collect()
    }
}

fn parse(body: &str) -> Result<Value, StorageError> {
    serde_json::from_str(body)
        .map_err(|error| StorageError::Unreadable { table: "documents", reason: error.to_string() })
}
