//! The series that every request touches, looked up once: to look them up each time would be most of what counting costs.

use std::sync::Arc;

use intent_engine::SelectionReason;
use intent_model::ModelKind;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};

use super::{labels::*, metrics::Buckets};
use crate::http::Operation;

/// What is counted of one model.
#[derive(Clone, Debug)]
pub(super) struct ModelSeries {
    pub(super) confidence: Histogram,
    pub(super) inference_duration: Histogram,
    /// In the order of [`SelectionReason::ALL`].
    selected: [Counter; SelectionReason::ALL.len()],
    cached: Counter,
}

impl ModelSeries {
    pub(super) fn new(
        kind: ModelKind,
        confidence: &Family<ModelLabels, Histogram, Buckets>,
        inference_duration: &Family<ModelLabels, Histogram, Buckets>,
        selection: &Family<SelectionLabels, Counter>,
    ) -> Self {
        let labels = ModelLabels { model: kind.as_str() };
        let selected = |reason| series(selection, SelectionLabels { model: kind.as_str(), reason });
        Self {
            confidence: series(confidence, labels.clone()),
            inference_duration: series(inference_duration, labels),
            selected: SelectionReason::ALL.map(|reason| selected(reason.as_str())),
            cached: selected(CACHED),
        }
    }

    /// Returns the counter of the texts that the model decided for a reason; `None`: that its answer was kept.
    pub(super) fn selected(&self, reason: Option<SelectionReason>) -> &Counter {
        reason.map_or(&self.cached, |reason| &self.selected[reason as usize])
    }
}

/// What is counted of one operation over HTTP.
#[derive(Clone, Debug)]
pub(super) struct OperationSeries {
    pub(super) labels: HttpEndpointLabels,
    pub(super) received: Counter,
    pub(super) duration: Histogram,
    /// By the statuses that the operation is documented to answer with.
    answered: Vec<(u16, Counter)>,
}

impl OperationSeries {
    pub(super) fn new(
        operation: &Operation,
        received: &Family<HttpEndpointLabels, Counter>,
        duration: &Family<HttpEndpointLabels, Histogram, Buckets>,
        answered: &Family<HttpRequestLabels, Counter>,
    ) -> Self {
        let (method, endpoint): (_, Arc<str>) = (operation.method, operation.path.as_str().into());
        let labels = HttpEndpointLabels { method, endpoint: Arc::clone(&endpoint) };
        let of_status = |&status: &u16| {
            (status, series(answered, HttpRequestLabels { method, endpoint: Arc::clone(&endpoint), status }))
        };
        Self {
            received: series(received, labels.clone()),
            duration: series(duration, labels.clone()),
            answered: operation.statuses.iter().map(of_status).collect(),
            labels,
        }
    }

    /// Returns the counter of the answers with a status, if that is a documented one.
    pub(super) fn answered(&self, status: u16) -> Option<&Counter> {
        self.answered.iter().find(|(documented, _)| *documented == status).map(|(_, counter)| counter)
    }
}

/// Returns the counters of the cache by layer and result, in the order of their values.
pub(super) fn of_cache(requests: &Family<CacheLabels, Counter>) -> [[Counter; 3]; 2] {
    [CacheLayer::Memory, CacheLayer::Redis].map(|layer| {
        [CacheResult::Hit, CacheResult::Miss, CacheResult::Error]
            .map(|result| series(requests, CacheLabels { layer, result }))
    })
}

fn series<L, M, C>(family: &Family<L, M, C>, labels: L) -> M
where
    L: Clone + std::hash::Hash + Eq,
    M: Clone,
    C: prometheus_client::metrics::family::MetricConstructor<M>,
{
    family.get_or_create(&labels).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_where_their_numbers_say() {
        assert!(ModelKind::ALL.iter().enumerate().all(|(at, kind)| at == *kind as usize));
        assert!(SelectionReason::ALL.iter().enumerate().all(|(at, reason)| at == *reason as usize));
        assert!(CacheLayer::ALL.iter().enumerate().all(|(at, layer)| at == *layer as usize));
        assert!(CacheResult::ALL.iter().enumerate().all(|(at, result)| at == *result as usize));
    }
}
