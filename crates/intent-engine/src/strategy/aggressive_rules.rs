use intent_model::ModelKind;

use super::{Candidate, Step, Strategy, control::Control};

/// Like [`Control`], but rules are believed earlier.
#[derive(Debug)]
pub(super) struct AggressiveRules;

impl AggressiveRules {
    const RULES_THRESHOLD: f32 = 0.75;
}

impl Strategy for AggressiveRules {
    fn plan(&self, candidates: &[Candidate]) -> Vec<Step> {
        let mut steps = Control.plan(candidates);
        for step in steps.iter_mut().filter(|step| step.kind == ModelKind::Rules) {
            step.accept_from = step.accept_from.min(Self::RULES_THRESHOLD);
        }
        steps
    }
}
