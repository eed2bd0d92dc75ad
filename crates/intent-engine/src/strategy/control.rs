use super::{Candidate, Step, Strategy, accept_from_threshold, cascade};

/// Progressive: accepts the first model, cheapest first, whose calibrated confidence reaches its threshold.
#[derive(Debug)]
pub(super) struct Control;

impl Strategy for Control {
    fn plan(&self, candidates: &[Candidate]) -> Vec<Step> {
        cascade(candidates).map(accept_from_threshold).collect()
    }
}
