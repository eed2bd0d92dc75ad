//! How much of an audit trail to list.

use serde::Deserialize;
use utoipa::IntoParams;

use super::error::{FieldError, Problem};

/// How many changes are listed unless the caller says otherwise, and at most.
const DEFAULT: u32 = 50;
const MAX: u32 = 1000;

/// How much to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryParameters {
    /// The most changes to list.
    #[param(minimum = 1, maximum = 1000, example = 50)]
    limit: Option<u32>,
}

impl HistoryParameters {
    /// Returns how many changes to list.
    ///
    /// # Errors
    /// 422 when that is none, or too many.
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        let limit = self.limit.unwrap_or(DEFAULT);
        if (1..=MAX).contains(&limit) {
            return Ok(limit);
        }
        Err(Problem::invalid(vec![FieldError::new("limit", format!("must be 1 to {MAX}"))]))
    }
}
