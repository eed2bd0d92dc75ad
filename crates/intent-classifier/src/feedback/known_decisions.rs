//! What was decided lately, so that feedback that names a request is kept together with what it is about.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use intent_engine::Decision;
use uuid::Uuid;

/// The most decisions that are remembered.
const MAX_DECISIONS: usize = 50_000;
/// The most bytes that their contexts take together.
const MAX_CONTEXT_BYTES: usize = 16 << 20;
/// A longer context is not remembered, in bytes.
const MAX_ONE_CONTEXT_BYTES: usize = 16 << 10;

/// What is worth knowing of a decision when somebody says whether it was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownDecision {
    /// The model that decided.
    pub(crate) model: &'static str,
    /// Its version.
    pub(crate) model_version: Arc<str>,
    /// The group of the experiment.
    pub(crate) experiment_group: &'static str,
    /// The user, when one was named.
    pub(crate) user_id: Option<Box<str>>,
    /// The `context` of the request, as JSON.
    pub(crate) context: Option<Box<str>>,
}

/// The decisions of this process, the oldest forgotten first.
#[derive(Debug, Default)]
pub(crate) struct KnownDecisions(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_request: HashMap<Uuid, KnownDecision>,
    order: VecDeque<Uuid>,
    context_bytes: usize,
}

impl KnownDecisions {
    /// Remembers a decision with the user and the `context` of its request, JSON.
    pub(crate) fn remember(
        &self,
        request_id: Uuid,
        decision: &Decision,
        user_id: Option<&str>,
        context: Option<Box<str>>,
    ) {
        let known = KnownDecision {
            model: decision.model.as_str(),
            model_version: Arc::clone(&decision.model_version),
            experiment_group: decision.experiment_group.as_str(),
            user_id: user_id.map(Box::from),
            context,
        };
        self.insert(request_id, known);
    }

    fn insert(&self, request_id: Uuid, mut decision: KnownDecision) {
        decision.context = decision.context.filter(|context| context.len() <= MAX_ONE_CONTEXT_BYTES);
        let mut inner = self.0.lock().expect("no code panics while it holds this lock");
        inner.context_bytes += context_bytes(&decision);
        match inner.by_request.insert(request_id, decision) {
            // A caller used an id twice; the place in line is that of the first.
            Some(before) => inner.context_bytes -= context_bytes(&before),
            None => inner.order.push_back(request_id),
        }
        while inner.order.len() > MAX_DECISIONS || inner.context_bytes > MAX_CONTEXT_BYTES {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some(forgotten) = inner.by_request.remove(&oldest) {
                inner.context_bytes -= context_bytes(&forgotten);
            }
        }
    }

    /// Returns what is remembered of a request.
    pub(crate) fn of(&self, request_id: Uuid) -> Option<KnownDecision> {
        self.0.lock().expect("no code panics while it holds this lock").by_request.get(&request_id).cloned()
    }
}

fn context_bytes(decision: &KnownDecision) -> usize {
    decision.context.as_ref().map_or(0, |context| context.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(context_bytes: usize) -> KnownDecision {
        let context = Some("x".repeat(context_bytes).into_boxed_str());
        let model_version = Arc::from("v1");
        KnownDecision { model: "rules", model_version, experiment_group: "control", user_id: None, context }
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let known = KnownDecisions::default();
        for number in 0..MAX_DECISIONS as u128 + 10 {
            known.insert(Uuid::from_u128(number), decision(0));
        }
        assert_eq!(known.of(Uuid::from_u128(9)), None);
        assert_eq!(known.of(Uuid::from_u128(10)), Some(decision(0)));
    }

    #[test]
    fn contexts_are_bounded_one_by_one_and_together() {
        let known = KnownDecisions::default();
        known.insert(Uuid::nil(), decision(MAX_ONE_CONTEXT_BYTES + 1));
        assert_eq!(known.of(Uuid::nil()).expect("it is remembered").context, None);
        let fitting = (MAX_CONTEXT_BYTES / MAX_ONE_CONTEXT_BYTES) as u128;
        for number in 1..=fitting + 1 {
            known.insert(Uuid::from_u128(number), decision(MAX_ONE_CONTEXT_BYTES));
        }
        assert_eq!(known.of(Uuid::from_u128(1)), None);
        assert!(known.of(Uuid::from_u128(2)).is_some());
    }

    #[test]
    fn an_id_that_comes_twice_stands_for_the_later_decision() {
        let known = KnownDecisions::default();
        known.insert(Uuid::nil(), decision(1));
        known.insert(Uuid::nil(), decision(2));
        assert_eq!(known.of(Uuid::nil()), Some(decision(2)));
    }
}
