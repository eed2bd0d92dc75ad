//! Which answer feedback is about, where that is found out after it was stored.

use std::time::SystemTime;

use sqlx::{query, query_as};
use uuid::Uuid;

use super::{Storage, StorageError, dialect::begin, millis, on_pool};

/// What was answered to the request that a feedback names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AnswerOfFeedback {
    /// The feedback.
    pub(crate) feedback: Uuid,
    /// The model that answered.
    pub(crate) model: String,
    /// Its version.
    pub(crate) model_version: String,
    /// The group of the experiment the request was in.
    pub(crate) experiment_group: String,
    /// The `context` of the request, as JSON.
    pub(crate) context: Option<String>,
}

impl Storage {
    /// Returns feedback that names a request of which nothing is known yet: the feedback and the request, the latest
    /// first, at most `limit`, none that arrived before `since`.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn feedback_without_answer(
        &self,
        since: SystemTime,
        limit: u32,
    ) -> Result<Vec<(Uuid, Uuid)>, StorageError> {
        let rows: Vec<(String, String)> = on_pool!(self, |pool| {
            let rows = query_as(
                "SELECT id, request_id FROM feedback WHERE received_at_ms >= $1 AND model IS NULL \
                 AND request_id IS NOT NULL ORDER BY received_at_ms DESC, id DESC LIMIT $2",
            );
            self.reading(rows.bind(millis(since)).bind(i64::from(limit)).fetch_all(pool)).await
        })?;
        // What is no UUID was written by somebody else, who knows what it is about.
        let uuid = |text: &str| Uuid::parse_str(text).ok();
        Ok(rows.iter().filter_map(|(id, request_id)| Some((uuid(id)?, uuid(request_id)?))).collect())
    }

    /// Stores which answers feedback is about. What is known already stays.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it; nothing is changed then.
    pub(crate) async fn complete_feedback(&self, answers: &[AnswerOfFeedback]) -> Result<(), StorageError> {
        const UPDATE: &str = "UPDATE feedback SET model = $2, model_version = $3, experiment_group = $4, context = $5 \
            WHERE id = $1 AND model IS NULL";
        on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                for answer in answers {
                    query(UPDATE)
                        .bind(answer.feedback.to_string())
                        .bind(&answer.model)
                        .bind(&answer.model_version)
                        .bind(&answer.experiment_group)
                        .bind(&answer.context)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            })
            .await
        })
    }
}
