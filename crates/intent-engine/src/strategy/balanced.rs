use intent_model::ModelKind;

use super::{Candidate, Step, Strategy, accept_from_threshold, cascade};

/// Asks zero-shot first, which needs no training and so follows a changed pack at once; the router skips it when it
/// does not fit the budget.
#[derive(Debug)]
pub(super) struct Balanced;

impl Strategy for Balanced {
    fn plan(&self, candidates: &[Candidate]) -> Vec<Step> {
        let is_zero_shot = |candidate: &&Candidate| candidate.kind == ModelKind::ZeroShot;
        let first = candidates.iter().filter(is_zero_shot);
        let rest = cascade(candidates).filter(|candidate| !is_zero_shot(candidate));
        first.chain(rest).map(accept_from_threshold).collect()
    }
}
