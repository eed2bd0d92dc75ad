//! The latest decisions that no model was sure of, for people who look for what to teach the models.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use intent_engine::{Decision, Flag, RankedIntent, SelectionReason, TextDigest};

use super::decision::Excerpt;
use crate::http::RequestId;

/// The most texts that are kept.
const MAX_TEXTS: usize = 200;
/// A confidence below this is low, whatever the thresholds say.
const LOW: f32 = 0.5;

/// The latest texts of low confidence, in memory only, the oldest forgotten first. A text that comes again takes one place.
#[derive(Debug, Default)]
pub(crate) struct LowConfidence(Mutex<VecDeque<UnsureDecision>>);

/// A decision that no model was sure of.
#[derive(Clone, Debug)]
pub(crate) struct UnsureDecision {
    /// When it was made.
    pub(crate) at: SystemTime,
    /// The request.
    pub(crate) request_id: RequestId,
    /// How often the text came while it is kept.
    pub(crate) times: u64,
    /// The beginning of the text; only of subjects who had `enhanced_logging`.
    pub(crate) text: Option<Excerpt>,
    /// How long the text is, in characters.
    pub(crate) chars: usize,
    /// The answer.
    pub(crate) best: RankedIntent,
    /// What else it could have been.
    pub(crate) runner_up: Option<RankedIntent>,
    /// The model that decided.
    pub(crate) model: &'static str,
    /// Why that one.
    pub(crate) selection: &'static str,
    text_digest: TextDigest,
}

impl LowConfidence {
    /// Keeps a decision if no model was sure of it: none reached its threshold, or the confidence is below 0.5.
    pub(crate) fn note(&self, request_id: RequestId, decision: &Decision, text: &str) {
        let is_settled = matches!(decision.selection, SelectionReason::MostAccurate | SelectionReason::Fallback);
        if !is_settled && decision.best().confidence >= LOW {
            return;
        }
        let mut unsure = UnsureDecision {
            at: SystemTime::now(),
            request_id,
            times: 1,
            text: decision.flags.contains(Flag::EnhancedLogging).then(|| Excerpt::of(text)),
            chars: text.chars().count(),
            best: decision.best().clone(),
            runner_up: decision.ranking.get(1).cloned(),
            model: decision.model.as_str(),
            selection: decision.selection.as_str(),
            text_digest: TextDigest::of(text),
        };
        let mut kept = self.lock();
        if let Some(index) = kept.iter().position(|earlier| earlier.text_digest == unsure.text_digest) {
            let earlier = kept.remove(index).expect("it was just found");
            unsure.times += earlier.times;
            unsure.text = unsure.text.or(earlier.text);
        }
        if kept.len() == MAX_TEXTS {
            kept.pop_front();
        }
        kept.push_back(unsure);
    }

    /// Returns what is kept, the latest first.
    pub(crate) fn latest(&self) -> Vec<UnsureDecision> {
        self.lock().iter().rev().cloned().collect()
    }

    /// Forgets all texts, and keeps what was decided.
    pub(crate) fn forget_texts(&self) {
        self.lock().iter_mut().for_each(|unsure| unsure.text = None);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<UnsureDecision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
