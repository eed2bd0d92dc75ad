//! What users say about answers.

use std::{fmt, str::FromStr, time::SystemTime};

use serde::{Deserialize, Serialize};
use sqlx::{query, query_as};
use uuid::Uuid;

use super::{
    Storage, StorageError, Topic,
    dialect::{begin, next_revision},
    millis, on_pool,
};

/// What a user says about one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Feedback {
    /// Names it; a second one with the same name is the same one.
    pub(crate) id: Uuid,
    /// The request whose answer it is about.
    pub(crate) request_id: Option<Uuid>,
    /// The text that was classified.
    pub(crate) text: String,
    /// What it was taken for.
    pub(crate) original_intent: String,
    /// What it should have been taken for.
    pub(crate) correct_intent: String,
    /// How sure the service was, 0 to 1.
    pub(crate) original_confidence: Option<f64>,
    /// Whether the answer was right.
    pub(crate) kind: FeedbackKind,
    /// Who says so.
    pub(crate) user_id: Option<String>,
    /// What they say besides.
    pub(crate) comment: Option<String>,
    /// The `context` of the request, as JSON.
    pub(crate) context: Option<String>,
    /// The model that answered.
    pub(crate) model: Option<String>,
    /// Its version.
    pub(crate) model_version: Option<String>,
    /// The group of the experiment the request was in.
    pub(crate) experiment_group: Option<String>,
    /// Whether answers and models may change by it: the flag `feedback_learning` for its author.
    pub(crate) learn: bool,
    /// When it arrived, in milliseconds since the Unix epoch.
    pub(crate) received_at_ms: i64,
}

#[cfg(test)]
impl Feedback {
    /// A correction from `refund` to `greeting` of which nothing else is known.
    pub(crate) fn correction(id: u128, text: &str) -> Self {
        Self {
            id: Uuid::from_u128(id),
            request_id: None,
            text: text.to_owned(),
            original_intent: "refund".to_owned(),
            correct_intent: "greeting".to_owned(),
            original_confidence: None,
            kind: FeedbackKind::Correction,
            user_id: None,
            comment: None,
            context: None,
            model: None,
            model_version: None,
            experiment_group: None,
            learn: true,
            received_at_ms: 0,
        }
    }
}

/// Whether an answer was right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FeedbackKind {
    /// It was wrong.
    Correction,
    /// It was right.
    Confirmation,
}

/// What became of a feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is stored now.
    New,
    /// It was stored before.
    Repeated,
    /// Something else is stored under its id; that stays.
    Contradicted,
}

/// How often feedback of each kind came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedbackTotals {
    /// Answers that were wrong.
    pub(crate) corrections: u64,
    /// Answers that were right.
    pub(crate) confirmations: u64,
}

/// How often one intent was corrected to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IntentPairTotal {
    /// What texts were taken for.
    pub(crate) original_intent: String,
    /// What they should have been taken for.
    pub(crate) correct_intent: String,
    /// How often.
    pub(crate) count: u64,
}

/// How often feedback of each kind came for a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelTotal {
    /// The model; `None` where it is not known.
    pub(crate) model: Option<String>,
    /// The kinds.
    pub(crate) totals: FeedbackTotals,
}

/// Where a page of feedback ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeedbackPosition {
    received_at_ms: i64,
    id: String,
}

impl FeedbackPosition {
    /// Returns the position before all feedback from `since` on.
    pub(crate) fn before(since: SystemTime) -> Self {
        Self { received_at_ms: millis(since), id: String::new() }
    }

    /// Returns the position after one feedback.
    pub(crate) fn after(feedback: &Feedback) -> Self {
        Self { received_at_ms: feedback.received_at_ms, id: feedback.id.to_string() }
    }
}

impl Storage {
    /// Stores feedback, all or none, and returns what became of each. Storing it again changes nothing. A correction
    /// becomes visible to the other replicas, which drop their cached answers to its text. Where it does not say which model
    /// answered, the exposure of the same request does, if there is one.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it; nothing is stored then as far as the database said.
    pub(crate) async fn store_feedback(&self, feedback: &[Feedback]) -> Result<Vec<Stored>, StorageError> {
        const INSERT: &str = "INSERT INTO feedback (id, request_id, text, original_intent, correct_intent, \
            original_confidence, kind, user_id, comment, context, model, model_version, experiment_group, \
            learn, received_at_ms, correction_revision) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
            COALESCE($11, (SELECT model FROM exposures WHERE request_id = $2)), \
            COALESCE($12, (SELECT model_version FROM exposures WHERE request_id = $2)), \
            COALESCE($13, (SELECT experiment_group FROM exposures WHERE request_id = $2)), \
            $14, $15, $16) ON CONFLICT (id) DO NOTHING";
        const SAID: &str = "SELECT text, original_intent, correct_intent, kind, request_id, user_id, comment \
            FROM feedback WHERE id = $1";
        let has_corrections = feedback.iter().any(|one| one.kind == FeedbackKind::Correction);
        let stored = on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                // One revision for all of them; it makes corrections wait for each other, so that followers miss none.
                let revision = match has_corrections {
                    true => Some(next_revision(&mut transaction, Topic::Corrections).await?),
                    false => None,
                };
                let mut stored = Vec::with_capacity(feedback.len());
                for one in feedback {
                    let id = one.id.to_string();
                    let inserted = query(INSERT)
                        .bind(&id)
                        .bind(one.request_id.map(|id| id.to_string()))
                        .bind(&one.text)
                        .bind(&one.original_intent)
                        .bind(&one.correct_intent)
                        .bind(one.original_confidence)
                        .bind(one.kind.as_str())
                        .bind(&one.user_id)
                        .bind(&one.comment)
                        .bind(&one.context)
                        .bind(&one.model)
                        .bind(&one.model_version)
                        .bind(&one.experiment_group)
                        .bind(one.learn)
                        .bind(one.received_at_ms)
                        .bind(revision.filter(|_| one.kind == FeedbackKind::Correction))
                        .execute(&mut *transaction)
                        .await?;
                    if inserted.rows_affected() == 1 {
                        stored.push(Stored::New);
                        continue;
                    }
                    let said: Said = query_as(SAID).bind(&id).fetch_one(&mut *transaction).await?;
                    stored.push(if said == said_by(one) { Stored::Repeated } else { Stored::Contradicted });
                }
                transaction.commit().await?;
                Ok(stored)
            })
            .await
        })?;
        if has_corrections {
            self.announce();
        }
        Ok(stored)
    }

    /// Returns the next feedback in the order it arrived, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn feedback_after(
        &self,
        position: &FeedbackPosition,
        limit: u32,
    ) -> Result<Vec<Feedback>, StorageError> {
        const PAGE: &str = "SELECT id, request_id, text, original_intent, correct_intent, original_confidence, kind, \
            user_id, comment, context, model, model_version, experiment_group, learn, received_at_ms FROM feedback \
            WHERE received_at_ms > $1 OR (received_at_ms = $1 AND id > $2) ORDER BY received_at_ms, id LIMIT $3";
        let rows: Vec<Row> = on_pool!(self, |pool| {
            let page = query_as(PAGE).bind(position.received_at_ms).bind(&position.id).bind(i64::from(limit));
            self.reading(page.fetch_all(pool)).await
        })?;
        rows.into_iter().map(read).collect()
    }

    /// Returns how many corrections and confirmations there are.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn feedback_totals(&self) -> Result<FeedbackTotals, StorageError> {
        let rows: Vec<(String, i64)> = on_pool!(self, |pool| {
            self.reading(query_as("SELECT kind, COUNT(*) FROM feedback GROUP BY kind").fetch_all(pool)).await
        })?;
        let of = |kind: FeedbackKind| {
            rows.iter().find(|(name, _)| name == kind.as_str()).map_or(0, |(_, count)| count.cast_unsigned())
        };
        let (corrections, confirmations) = (of(FeedbackKind::Correction), of(FeedbackKind::Confirmation));
        Ok(FeedbackTotals { corrections, confirmations })
    }

    /// Returns the most frequent corrections, the most frequent first, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn feedback_by_intents(&self, limit: u32) -> Result<Vec<IntentPairTotal>, StorageError> {
        let rows: Vec<(String, String, i64)> = on_pool!(self, |pool| {
            let rows = query_as(
                "SELECT original_intent, correct_intent, COUNT(*) AS total FROM feedback WHERE kind = 'correction' \
                 GROUP BY original_intent, correct_intent ORDER BY total DESC, original_intent, correct_intent LIMIT $1",
            );
            self.reading(rows.bind(i64::from(limit)).fetch_all(pool)).await
        })?;
        let pair = |(original_intent, correct_intent, count): (String, String, i64)| IntentPairTotal {
            original_intent,
            correct_intent,
            count: count.cast_unsigned(),
        };
        Ok(rows.into_iter().map(pair).collect())
    }

    /// Returns the totals of each model, by its name.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn feedback_by_models(&self) -> Result<Vec<ModelTotal>, StorageError> {
        let rows: Vec<(Option<String>, i64, i64)> = on_pool!(self, |pool| {
            let rows = query_as(
                "SELECT model, COUNT(*), SUM(CASE WHEN kind = 'confirmation' THEN 1 ELSE 0 END) FROM feedback \
                 GROUP BY model ORDER BY model",
            );
            self.reading(rows.fetch_all(pool)).await
        })?;
        let total = |(model, all, confirmations): (Option<String>, i64, i64)| {
            let totals = FeedbackTotals {
                corrections: (all - confirmations).cast_unsigned(),
                confirmations: confirmations.cast_unsigned(),
            };
            ModelTotal { model, totals }
        };
        Ok(rows.into_iter().map(total).collect())
    }

    /// Returns the corrections after a revision of [`Topic::Corrections`] that answers shall change by: the revision of
    /// each and its text, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn corrected_texts_after(
        &self,
        revision: u64,
        limit: u32,
    ) -> Result<Vec<(u64, String)>, StorageError> {
        let rows: Vec<(i64, String)> = on_pool!(self, |pool| {
            let rows = query_as(
                "SELECT correction_revision, text FROM feedback WHERE correction_revision > $1 AND learn \
                 ORDER BY correction_revision LIMIT $2",
            );
            self.reading(rows.bind(revision.cast_signed()).bind(i64::from(limit)).fetch_all(pool)).await
        })?;
        Ok(rows.into_iter().map(|(revision, text)| (revision.cast_unsigned(), text)).collect())
    }

    /// Keeps models from learning from feedback; it stays in the statistics. Returns how many of `ids` there are.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it; nothing is changed then.
    pub(crate) async fn reject_feedback(&self, ids: &[Uuid]) -> Result<u64, StorageError> {
        on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                let mut found = 0;
                for id in ids {
                    let reject = query("UPDATE feedback SET learn = FALSE WHERE id = $1").bind(id.to_string());
                    found += reject.execute(&mut *transaction).await?.rows_affected();
                }
                transaction.commit().await?;
                Ok(found)
            })
            .await
        })
    }

    /// Deletes feedback that arrived before a time, at most `limit`; returns how many.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it.
    pub(crate) async fn delete_feedback_before(&self, time: SystemTime, limit: u32) -> Result<u64, StorageError> {
        on_pool!(self, |pool| {
            let deleted = query(
                "DELETE FROM feedback WHERE id IN \
                 (SELECT id FROM feedback WHERE received_at_ms < $1 ORDER BY received_at_ms LIMIT $2)",
            );
            let deleted = deleted.bind(millis(time)).bind(i64::from(limit)).execute(pool);
            self.writing(deleted).await.map(|done| done.rows_affected())
        })
    }
}

impl FeedbackKind {
    /// All kinds.
    pub(crate) const ALL: [Self; 2] = [Self::Correction, Self::Confirmation];

    /// Returns the name in requests, metrics and the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Correction => "correction",
            Self::Confirmation => "confirmation",
        }
    }
}

impl fmt::Display for FeedbackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FeedbackKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| format!("unknown kind of feedback `{name}`, expected `correction` or `confirmation`"))
    }
}

/// What a user said, what the service knows of the request aside: text, intents, kind, request, user, comment.
type Said = (String, String, String, String, Option<String>, Option<String>, Option<String>);

fn said_by(one: &Feedback) -> Said {
    (
        one.text.clone(),
        one.original_intent.clone(),
        one.correct_intent.clone(),
        one.kind.as_str().to_owned(),
        one.request_id.map(|id| id.to_string()),
        one.user_id.clone(),
        one.comment.clone(),
    )
}

/// The columns in the order of [`Feedback`].
type Row = (
    String,
    Option<String>,
    String,
    String,
    String,
    Option<f64>,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    bool,
    i64,
);

fn read(row: Row) -> Result<Feedback, StorageError> {
    let unreadable = |reason| StorageError::Unreadable { table: "feedback", reason };
    let uuid = |text: &str| Uuid::parse_str(text).map_err(|error| unreadable(format!("id `{text}`: {error}")));
    Ok(Feedback {
        id: uuid(&row.0)?,
        request_id: row.1.as_deref().map(uuid).transpose()?,
        text: row.2,
        original_intent: row.3,
        correct_intent: row.4,
        original_confidence: row.5,
        kind: row.6.parse().map_err(unreadable)?,
        user_id: row.7,
        comment: row.8,
        context: row.9,
        model: row.10,
        model_version: row.11,
        experiment_group: row.12,
        learn: row.13,
        received_at_ms: row.14,
    })
}
