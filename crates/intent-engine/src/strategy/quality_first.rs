use super::{Candidate, Step, Strategy};

/// Takes the answer of the most accurate model that works.
#[derive(Debug)]
pub(super) struct QualityFirst;

impl Strategy for QualityFirst {
    fn plan(&self, candidates: &[Candidate]) -> Vec<Step> {
        let mut best_first = candidates.to_vec();
        best_first.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy));
        best_first.iter().map(|candidate| Step { kind: candidate.kind, accept_from: 0.0 }).collect()
    }
}
