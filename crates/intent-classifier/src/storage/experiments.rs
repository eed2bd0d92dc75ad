//! Who got what in an experiment, and how it went.

use std::time::SystemTime;

use intent_engine::experiment::{Clusters, GroupOutcome};
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
    /// Whom it was of, hashed.
    pub(crate) subject: String,
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

/// All that is known of one group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupTotals {
    /// The group.
    pub(crate) group: String,
    /// How many decisions.
    pub(crate) exposures: u64,
    /// How long they took, in milliseconds, by subject.
    pub(crate) latency_ms: Clusters,
    /// How sure they were, by subject.
    pub(crate) confidence: Clusters,
    /// 1 for each that a user found right, 0 for each that a user found wrong, by subject.
    pub(crate) accuracy: Clusters,
    /// How many models were stepped over, in all.
    pub(crate) fallbacks: u64,
    /// How many decisions were degraded.
    pub(crate) degraded: u64,
}

impl GroupTotals {
    /// A group in which nothing happened.
    pub(crate) fn of_nobody(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            exposures: 0,
            latency_ms: Clusters::default(),
            confidence: Clusters::default(),
            accuracy: Clusters::default(),
            fallbacks: 0,
            degraded: 0,
        }
    }

    /// Returns what statistics need; `None` for a strategy that this version does not know.
    pub(crate) fn outcome(&self) -> Option<GroupOutcome> {
        let Self { latency_ms, confidence, accuracy, .. } = *self;
        Some(GroupOutcome { group: self.group.parse().ok()?, latency_ms, confidence, accuracy })
    }
}

/// Group, subjects, n, n², latency, latency², n·latency, confidence, confidence², n·confidence, fallbacks, degraded: sums
/// over subjects.
type OutcomeRow = (String, i64, f64, f64, f64, f64, f64, f64, f64, f64, i64, i64);
/// Group, subjects, n, n², confirmed, confirmed², n·confirmed: sums over subjects.
type OpinionRow = (String, i64, f64, f64, f64, f64, f64);

impl From<OutcomeRow> for GroupTotals {
    fn from(row: OutcomeRow) -> Self {
        let (group, subjects, observations, observations_squared, ..) = row;
        let clusters = |total, total_squared, product| Clusters {
            subjects: subjects.cast_unsigned(),
            observations,
            observations_squared,
            total,
            total_squared,
            product,
        };
        Self {
            exposures: observations as u64,
            latency_ms: clusters(row.4, row.5, row.6),
            confidence: clusters(row.7, row.8, row.9),
            fallbacks: row.10.cast_unsigned(),
            degraded: row.11.cast_unsigned(),
            ..Self::of_nobody(&group)
        }
    }
}

fn accuracy(row: &OpinionRow) -> Clusters {
    let &(_, subjects, observations, observations_squared, total, total_squared, product) = row;
    let subjects = subjects.cast_unsigned();
    Clusters { subjects, observations, observations_squared, total, total_squared, product }
}

impl Storage {
    /// Stores exposures, all or none. Storing one again changes nothing.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take them.
    pub(crate) async fn store_exposures(&self, exposures: &[Exposure]) -> Result<(), StorageError> {
        const INSERT: &str = "INSERT INTO exposures (request_id, experiment, experiment_group, decided_at_ms, intent, \
            model, model_version, confidence, latency_ms, fallbacks, degraded, subject) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (request_id) DO NOTHING";
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
                        .bind(&exposure.subject)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            })
            .await
        })
    }

    /// Returns the totals of each group of an experiment, by name.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn experiment_totals(&self, experiment: &str) -> Result<Vec<GroupTotals>, StorageError> {
        // The inner query has a row per subject, the outer one adds up what an error of the mean is made of.
        const OUTCOMES: &str = "SELECT experiment_group, COUNT(*) AS subjects, \
            SUM(n) AS observations, SUM(n * n) AS observations_squared, \
            SUM(latency) AS latency, SUM(latency * latency) AS latency_squared, SUM(n * latency) AS latency_product, \
            SUM(sureness) AS confidence, SUM(sureness * sureness) AS confidence_squared, \
            SUM(n * sureness) AS confidence_product, \
            CAST(SUM(stepped_over) AS BIGINT) AS fallbacks, CAST(SUM(worse) AS BIGINT) AS degraded \
            FROM (SELECT experiment_group, CAST(COUNT(*) AS DOUBLE PRECISION) AS n, SUM(latency_ms) AS latency, \
                SUM(confidence) AS sureness, SUM(fallbacks) AS stepped_over, \
                SUM(CASE WHEN degraded THEN 1 ELSE 0 END) AS worse FROM exposures \
                WHERE experiment = $1 GROUP BY experiment_group, COALESCE(subject, request_id)) AS subjects \
            GROUP BY experiment_group ORDER BY experiment_group";
        const OPINIONS: &str = "SELECT experiment_group, COUNT(*) AS subjects, \
            SUM(n) AS observations, SUM(n * n) AS observations_squared, \
            SUM(confirmed) AS total, SUM(confirmed * confirmed) AS total_squared, SUM(n * confirmed) AS product \
            FROM (SELECT e.experiment_group, CAST(COUNT(*) AS DOUBLE PRECISION) AS n, \
                CAST(SUM(CASE WHEN f.kind = 'confirmation' THEN 1 ELSE 0 END) AS DOUBLE PRECISION) AS confirmed FROM exposures e \
                JOIN feedback f ON f.request_id = e.request_id \
                WHERE e.experiment = $1 GROUP BY e.experiment_group, COALESCE(e.subject, e.request_id)) AS subjects \
            GROUP BY experiment_group";
        let (outcomes, opinions): (Vec<OutcomeRow>, Vec<OpinionRow>) = on_pool!(self, |pool| {
            self.reading(async {
                let outcomes = query_as(OUTCOMES).bind(experiment).fetch_all(pool).await?;
                let opinions = query_as(OPINIONS).bind(experiment).fetch_all(pool).await?;
                Ok((outcomes, opinions))
            })
            .await
        })?;
        let accuracy_of =
            |group: &str| opinions.iter().find(|opinion| opinion.0 == group).map(accuracy).unwrap_or_default();
        Ok(outcomes.into_iter().map(|row| GroupTotals { accuracy: accuracy_of(&row.0), ..row.into() }).collect())
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
