//! The last suspicious texts, for people who look into an incident: bounded, sampled, in memory only.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use super::finding::{Finding, Findings};
use crate::limits::Quota;

/// How many texts are kept.
const MAX_ENTRIES: usize = 256;
/// How many texts of one kind are kept in a minute; the rest is counted and forgotten.
const KEPT_PER_MINUTE: u32 = 20;
/// How much of a text is kept, in characters.
const MAX_EXCERPT_CHARS: usize = 120;

/// The last suspicious texts.
#[derive(Debug)]
pub(crate) struct Audit {
    began: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: VecDeque<Suspicion>,
    whole_at_ns: [u64; Finding::ALL.len()],
}

/// A suspicious text.
#[derive(Clone, Debug)]
pub(crate) struct Suspicion {
    /// When it came.
    pub(crate) at: SystemTime,
    /// The request.
    pub(crate) request_id: String,
    /// Who sent it, as audit trails say it.
    pub(crate) caller: String,
    /// What is suspicious.
    pub(crate) findings: Findings,
    /// Whether it was refused.
    pub(crate) refused: bool,
    /// How long the text is, in characters.
    pub(crate) chars: usize,
    /// Its beginning, every character that is not plain escaped.
    pub(crate) excerpt: String,
}

impl Audit {
    /// Keeps nothing yet.
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), inner: Mutex::default() }
    }

    /// Keeps a text, unless enough of its kinds were kept in the last minute.
    pub(crate) fn note(&self, findings: Findings, suspicion: impl FnOnce() -> Suspicion) {
        let now_ns = self.began.elapsed().as_nanos() as u64;
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let quota = Quota::new(KEPT_PER_MINUTE);
        let mut wanted = false;
        for finding in findings.iter() {
            let whole_at_ns = &mut inner.whole_at_ns[finding as usize];
            if let Ok((then_ns, _)) = quota.take(*whole_at_ns, now_ns, 1) {
                *whole_at_ns = then_ns;
                wanted = true;
            }
        }
        if wanted {
            if inner.entries.len() == MAX_ENTRIES {
                inner.entries.pop_front();
            }
            inner.entries.push_back(suspicion());
        }
    }

    /// Returns what is kept, the latest first.
    pub(crate) fn entries(&self) -> Vec<Suspicion> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.iter().rev().cloned().collect()
    }
}

/// Returns the beginning of a text in which nothing can forge a line or a cell: escaped, on one line, and never
/// beginning as a formula does.
pub(crate) fn excerpt(text: &str) -> String {
    let shown: String = text.chars().take(MAX_EXCERPT_CHARS).flat_map(char::escape_debug).collect();
    if shown.starts_with(['=', '+', '-', '@']) { format!("'{shown}") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspicion(number: usize, findings: Findings) -> Suspicion {
        let (request_id, caller) = (number.to_string(), "anonymous@192.0.2.1".to_owned());
        let (at, excerpt) = (SystemTime::now(), excerpt("text"));
        Suspicion { at, request_id, caller, findings, refused: false, chars: 4, excerpt }
    }

    #[test]
    fn a_flood_of_one_kind_leaves_room_for_the_others() {
        let audit = Audit::new();
        let flood = Findings::from_iter([Finding::Repetition]);
        let rare = Findings::from_iter([Finding::PromptInjection]);
        for number in 0..10_000 {
            audit.note(flood, || suspicion(number, flood));
        }
        audit.note(rare, || suspicion(10_000, rare));
        let entries = audit.entries();
        assert!(entries.len() <= MAX_ENTRIES && entries.len() >= 21, "{}", entries.len());
        assert_eq!(entries[0].request_id, "10000");
    }

    #[test]
    fn an_excerpt_is_one_line_and_no_formula() {
        assert_eq!(excerpt("a\nb\u{1b}[31m\u{202e}\""), r#"a\nb\u{1b}[31m\u{202e}\""#);
        assert_eq!(excerpt("=HYPERLINK(1)"), "'=HYPERLINK(1)");
        assert_eq!(excerpt(&"a".repeat(1_000)).len(), MAX_EXCERPT_CHARS);
    }
}
