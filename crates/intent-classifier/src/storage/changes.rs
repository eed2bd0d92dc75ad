//! How a process learns what others changed.
//!
//! Every change takes the next revision of its topic in the same transaction. Whoever follows compares revisions: that
//! is correct whatever is announced, early, late or never. Postgres announces changes (`NOTIFY`), which only makes the
//! next comparison happen at once.

use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{Arc, Weak},
    time::Duration,
};

use sqlx::{PgPool, postgres::PgListener, query_as};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{Shared, Storage, StorageError, dialect::CHANNEL, on_pool, pool::Pool};

/// How long to wait before the announcements of a database are listened to again.
const LISTEN_AGAIN: Duration = Duration::from_millis(500);

/// What changes have in common; each topic counts its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Feature flags that were set through the API.
    Flags,
    /// The router's settings.
    Routing,
    /// Guarded rollouts of feature flags.
    Rollouts,
    /// Experiments.
    Experiments,
    /// Corrections of answers, which evict what is cached.
    Corrections,
    /// API keys.
    ApiKeys,
}

impl Topic {
    /// All topics.
    pub(crate) const ALL: [Self; 6] =
        [Self::Flags, Self::Routing, Self::Rollouts, Self::Experiments, Self::Corrections, Self::ApiKeys];

    /// Returns the name in the database.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Flags => "flags",
            Self::Routing => "routing",
            Self::Rollouts => "rollouts",
            Self::Experiments => "experiments",
            Self::Corrections => "corrections",
            Self::ApiKeys => "api_keys",
        }
    }
}

impl FromStr for Topic {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|topic| topic.as_str() == name).ok_or_else(|| format!("unknown topic `{name}`"))
    }
}

/// The revision of every topic at one moment; 0 where nothing was ever changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revisions(BTreeMap<Topic, u64>);

impl Revisions {
    /// Returns the revision of one topic.
    pub(crate) fn of(&self, topic: Topic) -> u64 {
        self.0.get(&topic).copied().unwrap_or(0)
    }
}

impl Storage {
    /// Reads the revision of every topic.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn revisions(&self) -> Result<Revisions, StorageError> {
        let rows: Vec<(String, i64)> = on_pool!(self, |pool| {
            self.reading(query_as("SELECT topic, revision FROM revisions").fetch_all(pool)).await
        })?;
        // A newer version may have topics that this one does not know.
        let known =
            rows.into_iter().filter_map(|(topic, revision)| Some((topic.parse().ok()?, revision.cast_unsigned())));
        Ok(Revisions(known.collect()))
    }

    /// Says that this process changed something, so that its own followers need not wait for the next look.
    pub(super) fn announce(&self) {
        self.0.changed.notify_one();
    }

    /// Compares revisions at every announcement and, as those get lost, at every poll interval.
    pub(super) fn follow_changes(&self) {
        let stop = &self.0.stop;
        let (storage, changed) = (Arc::downgrade(&self.0), Arc::clone(&self.0.changed));
        let poll_interval = self.0.poll_interval;
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let Some(shared) = storage.upgrade() else { return };
                let storage = Self(shared);
                if let Ok(found) = storage.revisions().await {
                    let revisions = &storage.0.revisions;
                    revisions.send_if_modified(|known| known.replace(found.clone()) != Some(found));
                }
                drop(storage);
                tokio::select! {
                    () = changed.notified() => {}
                    () = sleep(poll_interval) => {}
                }
            }
        }));
        if let Pool::Postgres(pool) = self.pool() {
            let listening = listen(pool.clone(), Arc::downgrade(&self.0));
            tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        }
    }
}

/// Turns announcements into looks, over a connection of its own that comes back by itself.
async fn listen(pool: PgPool, storage: Weak<Shared>) {
    // Not one of the others, which come and go.
    let own =
        sqlx::pool::PoolOptions::new().max_connections(1).connect_lazy_with(pool.connect_options().as_ref().clone());
    drop(pool);
    let mut failed = false;
    while storage.strong_count() > 0 {
        let ended = follow_announcements(&own, &storage).await;
        if let Err(error) = ended {
            // The monitor logs that the database is away; that announcements alone are missing is worth a line.
            if !std::mem::replace(&mut failed, true) {
                debug!(%error, "changes of other replicas are not announced");
            }
        } else if std::mem::take(&mut failed) {
            warn!("announcements of changes were lost for a while; polling made up for them");
        }
        sleep(LISTEN_AGAIN).await;
    }
}

/// Listens until the connection is lost.
async fn follow_announcements(pool: &PgPool, storage: &Weak<Shared>) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let Some(shared) = storage.upgrade() else { return Ok(()) };
        // Also now: what was announced before anybody listened is not announced again.
        shared.changed.notify_one();
        drop(shared);
        if listener.try_recv().await?.is_none() {
            return Ok(());
        }
    }
}
