//! What experiments on routing strategies have shown, from what all replicas have stored.

mod recorder;
mod watch;

use intent_engine::{Experiment, StrategyName, experiment::Results};

pub(crate) use self::{
    recorder::ExposureRecorder,
    watch::{SampleRatio, watch},
};
use crate::storage::{GroupTotals, Storage, StorageError};

/// The quantiles of the latency that are reported.
pub(crate) const LATENCY_QUANTILES: [f64; 3] = [0.50, 0.95, 0.99];

/// An experiment as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// What follows from the outcomes.
    pub(crate) results: Results,
    /// More on each group, in the order of the results.
    pub(crate) groups: Vec<GroupReport>,
}

/// What the results do not say of a group.
#[derive(Clone, Debug)]
pub(crate) struct GroupReport {
    /// How many decisions, and how many of them went wrong on the way.
    pub(crate) totals: GroupTotals,
    /// [`LATENCY_QUANTILES`] in milliseconds; `None` without decisions.
    pub(crate) latency_ms: [Option<f64>; 3],
}

/// Reads what was stored of an experiment with its present share and strategies.
///
/// # Errors
/// [`StorageError`] when the database cannot be read.
pub(crate) async fn report(storage: &Storage, experiment: &Experiment) -> Result<Report, StorageError> {
    let allocation = experiment.allocation();
    let (totals, results) = results(storage, experiment).await?;
    let mut groups = Vec::with_capacity(results.groups.len());
    for group in &results.groups {
        let group = group.outcome.group;
        let totals = find(&totals, group);
        let mut latency_ms = [None; 3];
        for (latency_ms, quantile) in latency_ms.iter_mut().zip(LATENCY_QUANTILES) {
            *latency_ms =
                storage.experiment_latency_ms(&allocation, group.as_str(), totals.exposures, quantile).await?;
        }
        groups.push(GroupReport { totals, latency_ms });
    }
    Ok(Report { results, groups })
}

/// Reads how many decisions each group had, and what follows from their outcomes.
async fn results(storage: &Storage, experiment: &Experiment) -> Result<(Vec<GroupTotals>, Results), StorageError> {
    let totals = storage.experiment_totals(&experiment.allocation()).await?;
    let outcomes: Vec<_> = totals.iter().filter_map(GroupTotals::outcome).collect();
    let results = experiment.results(&outcomes);
    Ok((totals, results))
}

fn find(totals: &[GroupTotals], group: StrategyName) -> GroupTotals {
    let found = totals.iter().find(|totals| totals.group == group.as_str());
    found.cloned().unwrap_or_else(|| GroupTotals::of_nobody(group.as_str()))
}
