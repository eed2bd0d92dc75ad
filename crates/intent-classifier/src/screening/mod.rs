//! Looks at texts before they are classified: cleans them, counts what is suspicious, and refuses nothing unless told to.
//!
//! The models cope with strange texts by themselves; this is for the people who run the service and want to know that
//! somebody probes it.

mod audit;
mod clean;
mod finding;

use crate::limits::{Quota, Source, Table};

pub(crate) use self::{
    audit::{Audit, Suspicion, excerpt},
    clean::{INVISIBLE, clean, is_visible},
    finding::{Finding, Findings},
};

/// Texts that no model is sure about, of one source in a minute, from which on it looks like probing.
const UNSURE_PER_MINUTE: u32 = 120;

/// Everything that is kept about suspicious texts.
#[derive(Debug)]
pub(crate) struct Screening {
    refused: Findings,
    unsure: Table,
    /// The last suspicious texts.
    pub(crate) audit: Audit,
}

impl Screening {
    /// Prepares for a server that refuses some kinds.
    pub(crate) fn new(refused: &[Finding]) -> Self {
        Self { refused: refused.iter().copied().collect(), unsure: Table::new(), audit: Audit::new() }
    }

    /// Returns what a text with these findings is refused for; nothing when it is taken.
    pub(crate) fn refused(&self, findings: Findings) -> Findings {
        findings.of(self.refused)
    }

    /// Counts a text that no model was sure about; tells whether its source sends too many of them.
    pub(crate) fn is_flood(&self, source: &Source) -> bool {
        self.unsure.take(source, Quota::new(UNSURE_PER_MINUTE), 1).is_err()
    }
}
