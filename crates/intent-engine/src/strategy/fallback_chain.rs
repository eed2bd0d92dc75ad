use intent_model::ModelKind;

use super::{Candidate, Step, Strategy, quality_first::QualityFirst};

/// Plain classification, without confidence or budget: the most accurate model that works, rules last.
#[derive(Debug)]
pub(super) struct FallbackChain;

impl Strategy for FallbackChain {
    fn plan(&self, candidates: &[Candidate]) -> Vec<Step> {
        let mut steps = QualityFirst.plan(candidates);
        steps.sort_by_key(|step| step.kind == ModelKind::Rules);
        steps
    }
}
