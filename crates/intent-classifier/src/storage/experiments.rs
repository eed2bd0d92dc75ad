//! Who got what in an experiment, and how it went.

use std::time::SystemTime;

use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::{Storage, StorageError, dialect::begin, millis, on_pool};

/// One decision that was part of an experiment, and its outcome as far as the service knows it. What users say of it is
/// feedback with the same request id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Exposure {
    /// The request; a second exposure of the same request is the same one.
    pub(crate) request_id: Uuid,
    /// The experiment.
    pub(crate) experiment: String,
    /// The group that the subject is in.
    pub(crate) group: String,
    /// When the decision was made.
    pub(crate) decided_at: SystemTime,
    /// What was decided.
    pub(crate) intent: String,
    /// The model that decided.
    pub(crate) model: String,
    /// Its version.
    pub(crate) model_version: String,
    /// How sure it was, 0 to 1.
    pub(crate) confidence: f64,
    /// How long it took, in milliseconds.
    pub(crate) latency_ms: f64,
    /// How many models were stepped over.
    pub(crate) fallbacks: u32,
    /// Whether a model that was wanted could not be used.
    pub(crate) degraded: bool,
}

/// Sums from which mean and variance follow.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Moments {
    /// The sum of the values.
    pub(crate) sum: f64,
    /// The sum of their squares.
    pub(crate) sum_of_squares: f64,
}

/// All that is known of one group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupTotals {
    /// The group.
    pub(crate) group: String,
    /// How many decisions.
    pub(crate) exposures: u64,
    /// How long they took, in milliseconds.
    pub(crate) latency_ms: Moments,
    /// How sure they were.
    pub(crate) confidence: Moments,
    /// How many models were stepped over, in all.
    pub(crate) fallbacks: u64,
    /// How many decisions were degraded.
    pub(crate) degraded: u64,
    /// How many users said whether the answer was right.
    pub(crate) feedback: u64,
    /// How many said it was.
    pub(crate) confirmations: u64,
}

impl Storage {
    /// Stores exposures, all or none. Storing one again changes nothing.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take them.
    pub(crate) async fn store_exposures(&self, exposures: &[Exposure]) -> Result<(), StorageError> {
        const INSERT: &str = "INSERT INTO exposures (request_id, experiment, experiment_group, decided_at_ms, intent, \
            model, model_version, confidence, latency_ms, fallbacks, degraded) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (request_id) DO NOTHING";
        on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                for exposure in exposures {
                    query(INSERT)
                        .bind(exposure.request_id.to_string())
                        .bind(&exposure.experiment)
                        .bind(&exposure.group)
                        .bind(millis(exposure.decided_at))
                        .bind(&exposure.intent)
                        .bind(&exposure.model)
                        .bind(&exposure.model_version)
                        .bind(exposure.confidence)
                        .bind(exposure.latency_ms)
                        .bind(i64::from(exposure.fallbacks))
                        .bind(exposure.degraded)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            })
            .await
        })
    }

    /// Returns the totals of each group of an experiment, by name. `since` leaves out what was decided before.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn experiment_totals(
        &self,
        experiment: &str,
        since: SystemTime,
    ) -> Result<Vec<GroupTotals>, StorageError> {
        const OUTCOMES: &str = "SELECT experiment_group, COUNT(*), SUM(latency_ms), SUM(latency_ms * latency_ms), \
            SUM(confidence), SUM(confidence * confidence), CAST(SUM(fallbacks) AS BIGINT), \
            SUM(CASE WHEN degraded THEN 1 ELSE 0 END) FROM exposures \
            WHERE experiment = $1 AND decided_at_ms >= $2 GROUP BY experiment_group ORDER BY experiment_group";
        const OPINIONS: &str = "SELECT e.experiment_group, COUNT(*), \
            SUM(CASE WHEN f.kind = 'confirmation' THEN 1 ELSE 0 END) FROM exposures e \
            JOIN feedback f ON f.request_id = e.request_id \
            WHERE e.experiment = $1 AND e.decided_at_ms >= $2 GROUP BY e.experiment_group";
        type Outcomes = Vec<(String, i64, f64, f64, f64, f64, i64, i64)>;
        type Opinions = Vec<(String, i64, i64)>;
        let (outcomes, opinions): (Outcomes, Opinions) = on_pool!(self, |pool| {
            self.reading(async {
                let outcomes = query_as(OUTCOMES).bind(experiment).bind(millis(since)).fetch_all(pool).await?;
                let opinions = query_as(OPINIONS).bind(experiment).bind(millis(since)).fetch_all(pool).await?;
                Ok((outcomes, opinions))
            })
            .await
        })?;
        let totals = outcomes.into_iter().map(|row| {
            let (feedback, confirmations) =
                opinions.iter().find(|opinion| opinion.0 == row.0).map_or((0, 0), |opinion| (opinion.1, opinion.2));
            GroupTotals {
                group: row.0,
                exposures: row.1.cast_unsigned(),
                latency_ms: Moments { sum: row.2, sum_of_squares: row.3 },
                confidence: Moments { sum: row.4, sum_of_squares: row.5 },
                fallbacks: row.6.cast_unsigned(),
                degraded: row.7.cast_unsigned(),
                feedback: feedback.cast_unsigned(),
                confirmations: confirmations.cast_unsigned(),
            }
        });
        Ok(totals.collect())
    }

    /// Returns the latency that a share `quantile` (0 to 1) of a group's `exposures` decisions did not exceed, in
    /// milliseconds; `None` when there are none.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn experiment_latency_ms(
        &self,
        experiment: &str,
        group: &str,
        exposures: u64,
        quantile: f64,
    ) -> Result<Option<f64>, StorageError> {
        let rank = (quantile.clamp(0.0, 1.0) * exposures as f64).ceil() as i64;
        on_pool!(self, |pool| {
            let latency = query_scalar(
                "SELECT latency_ms FROM exposures WHERE experiment = $1 AND experiment_group = $2 \
                 ORDER BY latency_ms LIMIT 1 OFFSET $3",
            );
            let latency = latency.bind(experiment).bind(group).bind((rank - 1).max(0));
            self.reading(latency.fetch_optional(pool)).await
        })
    }

    /// Deletes exposures from before a time, at most `limit`; returns how many.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it.
    pub(crate) async fn delete_exposures_before(&self, time: SystemTime, limit: u32) -> Result<u64, StorageError> {
        on_pool!(self, |pool| {
            let deleted = query(
                "DELETE FROM exposures WHERE request_id IN \
                 (SELECT request_id FROM exposures WHERE decided_at_ms < $1 ORDER BY decided_at_ms LIMIT $2)",
            );
            let deleted = deleted.bind(millis(time)).bind(i64::from(limit)).execute(pool);
            self.writing(deleted).await.map(|done| done.rows_affected())
        })
    }
}
