//! Rollouts: where they stand, and what was observed.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use intent_engine::{
    Flag, GuardedRollout,
    experiment::Clusters,
    rollout::{Evidence, Measure},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{query, query_as};

use super::{Change, ChangeError, Storage, StorageError, Topic, dialect::begin, flags::body_of, on_pool};

/// A rollout as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRollout {
    /// Where it stands.
    pub(crate) rollout: GuardedRollout,
    /// The revision of the flag that it made last; at any other, somebody else has changed the flag since.
    pub(crate) flag_revision: u64,
    /// The revision at its last change.
    pub(crate) revision: u64,
    /// When that was.
    pub(crate) updated_at: SystemTime,
}

/// What storing a rollout does to its flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FlagWrite {
    /// Sets it to what the rollout says, when it is at this revision; `None` whatever it is at.
    Set(Option<u64>),
    /// Leaves it alone; this is its revision as the rollout knows it.
    Keep(u64),
}

/// What an observation is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObservationKey {
    /// The rollout.
    pub(crate) rollout: Arc<str>,
    /// Its stage.
    pub(crate) stage: u64,
    /// What is measured.
    pub(crate) measure: Measure,
    /// Whether the subject has the feature.
    pub(crate) is_treatment: bool,
    /// The subject, hashed; empty for all that are observed once.
    pub(crate) subject: String,
}

/// Observations, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// How many.
    pub(crate) observations: f64,
    /// Their sum.
    pub(crate) total: f64,
    /// The sum of their squares.
    pub(crate) total_squared: f64,
}

impl Sums {
    /// Adds others.
    pub(crate) fn add(&mut self, other: Self) {
        self.observations += other.observations;
        self.total += other.total;
        self.total_squared += other.total_squared;
    }
}

/// The document of a rollout.
#[derive(Debug, Serialize, Deserialize)]
struct Body {
    rollout: GuardedRollout,
    flag_revision: u64,
}

impl Body {
    fn write(rollout: &GuardedRollout, flag_revision: u64) -> Value {
        serde_json::to_value(Self { rollout: rollout.clone(), flag_revision }).expect("a rollout is plain data")
    }

    fn read(body: Value) -> Result<Self, StorageError> {
        let unreadable = |reason| StorageError::Unreadable { table: "documents", reason };
        let body: Self = serde_json::from_value(body).map_err(|error| unreadable(error.to_string()))?;
        body.rollout.check().map_err(unreadable)?;
        Ok(body)
    }
}

impl Storage {
    /// Returns the latest rollout of every flag that had one, by the flag's name.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn rollouts(&self) -> Result<Vec<StoredRollout>, StorageError> {
        let documents = self.documents(Topic::Rollouts).await?.documents.into_iter();
        // A newer version may have flags that this one does not know.
        let known = documents.filter(|document| document.name.parse::<Flag>().is_ok());
        known
            .map(|document| {
                let Body { rollout, flag_revision } = Body::read(document.body)?;
                let (revision, updated_at) = (document.revision, document.updated_at);
                Ok(StoredRollout { rollout, flag_revision, revision, updated_at })
            })
            .collect()
    }

    /// Stores where a rollout stands and sets its flag, both or neither, each with its line in the audit trail.
    /// `expected_revision` is that of the rollout of this flag which the caller has seen; 0 when there was none.
    ///
    /// # Errors
    /// [`ChangeError::Stale`] when rollout or flag were changed since; see [`Storage::change_documents`].
    pub(crate) async fn store_rollout(
        &self,
        rollout: &GuardedRollout,
        expected_revision: u64,
        flag: FlagWrite,
        actor: &str,
    ) -> Result<StoredRollout, ChangeError> {
        let name = rollout.plan.flag.as_str();
        let change = Change { topic: Topic::Rollouts, name, expected_revision: Some(expected_revision), actor };
        let (changed, flag_revision) = match flag {
            FlagWrite::Keep(flag_revision) => {
                let body = Body::write(rollout, flag_revision);
                (self.change_document(change, |_| Ok(Some(body))).await?, flag_revision)
            }
            FlagWrite::Set(expected) => {
                // Rollouts first: who changes flags alone takes no second topic, so nobody waits in a circle.
                let actor = rollout.actor();
                let of_flag = Change { topic: Topic::Flags, name, expected_revision: expected, actor: &actor };
                let setting = rollout.setting();
                let changed = self
                    .change_documents(&[change, of_flag], |_, revisions| {
                        Ok(vec![
                            Some(Body::write(rollout, revisions[1])),
                            Some(body_of(setting.enabled, setting.rollout)),
                        ])
                    })
                    .await?;
                let [of_rollout, of_flag] = <[_; 2]>::try_from(changed).expect("two documents were changed");
                (of_rollout, of_flag.revision)
            }
        };
        let (revision, updated_at) = (changed.revision, changed.at);
        Ok(StoredRollout { rollout: rollout.clone(), flag_revision, revision, updated_at })
    }

    /// Adds observations to those that are there, all or none.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take them.
    pub(crate) async fn add_rollout_observations(
        &self,
        observations: &BTreeMap<ObservationKey, Sums>,
    ) -> Result<(), StorageError> {
        const ADD: &str = "INSERT INTO rollout_observations \
            (rollout, stage, measure, is_treatment, subject, observations, total, total_squared) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
            ON CONFLICT (rollout, stage, measure, is_treatment, subject) DO UPDATE SET \
            observations = rollout_observations.observations + excluded.observations, \
            total = rollout_observations.total + excluded.total, \
            total_squared = rollout_observations.total_squared + excluded.total_squared";
        on_pool!(self, |pool| {
            self.writing(async {
                let mut transaction = begin(pool).await?;
                // In the order of their keys, the same in every process, so that nobody waits in a circle.
                for (key, sums) in observations {
                    query(ADD)
                        .bind(&*key.rollout)
                        .bind(key.stage.cast_signed())
                        .bind(key.measure.to_string())
                        .bind(key.is_treatment)
                        .bind(&key.subject)
                        .bind(sums.observations)
                        .bind(sums.total)
                        .bind(sums.total_squared)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await
            })
            .await
        })
    }

    /// Returns what was observed in one stage of a rollout, by all processes together.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn rollout_evidence(&self, rollout: &str, stage: u64) -> Result<Evidence, StorageError> {
        // A subject with a name is one cluster; of the others, each observation is one.
        const SUMS: &str = "SELECT measure, is_treatment, \
            CAST(SUM(CASE WHEN subject = '' THEN observations ELSE 1 END) AS DOUBLE PRECISION), \
            SUM(observations), SUM(total), \
            SUM(CASE WHEN subject = '' THEN observations ELSE observations * observations END), \
            SUM(CASE WHEN subject = '' THEN total_squared ELSE total * total END), \
            SUM(CASE WHEN subject = '' THEN total ELSE observations * total END) \
            FROM rollout_observations WHERE rollout = $1 AND stage = $2 GROUP BY measure, is_treatment";
        type Row = (String, bool, f64, f64, f64, f64, f64, f64);
        let rows: Vec<Row> = on_pool!(self, |pool| {
            self.reading(query_as(SUMS).bind(rollout).bind(stage.cast_signed()).fetch_all(pool)).await
        })?;
        let mut evidence = Evidence::default();
        for (measure, is_treatment, subjects, observations, total, observations_squared, total_squared, product) in rows
        {
            let measure =
                measure.parse().map_err(|reason| StorageError::Unreadable { table: "rollout_observations", reason })?;
            let subjects = subjects as u64;
            let group = if is_treatment { &mut evidence.treatment } else { &mut evidence.control };
            let clusters = Clusters { subjects, observations, total, observations_squared, total_squared, product };
            group.insert(measure, clusters);
        }
        Ok(evidence)
    }

    /// Deletes what was observed in earlier stages of a rollout.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not take it.
    pub(crate) async fn forget_rollout_observations(&self, rollout: &str, before: u64) -> Result<(), StorageError> {
        on_pool!(self, |pool| {
            let delete = query("DELETE FROM rollout_observations WHERE rollout = $1 AND stage < $2");
            self.writing(delete.bind(rollout).bind(before.cast_signed()).execute(pool)).await.map(drop)
        })
    }
}
