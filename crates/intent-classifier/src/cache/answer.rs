//! An answer as Redis keeps it.
//!
//! ```text
//! byte 0      version of the format
//! bytes 1-4   CRC-32 of the rest, little-endian
//! rest        JSON: [model, selection, model version, strategy, truncated, rule, [[intent, confidence], …], reasons]
//! ```
//!
//! JSON writes an `f32` with as many digits as it takes to read the same number again.

use std::sync::Arc;

use intent_engine::{
    CacheUse, Decision, FlagSet, LatencyRequirement, RankedIntent, SelectionReason, StrategyName, Timings,
};
use intent_model::ModelKind;

const VERSION: u8 = 1;
/// Version and checksum.
const HEAD: usize = 5;
/// A hundred and fifty intents with long names are a tenth of this.
const MAX_BYTES: usize = 64 * 1024;

type Body = (ModelKind, String, Arc<str>, StrategyName, bool, Option<String>, Vec<(Arc<str>, f32)>, Vec<String>);

/// What Redis holds is not an answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("an answer of {0} bytes")]
    Length(usize),
    #[error("version {0} of the format, expected {VERSION}")]
    Version(u8),
    #[error("the checksum does not match")]
    Checksum,
    #[error("{0}")]
    Body(String),
}

/// Writes what is kept of a decision; `None` when it is too long to keep.
pub(super) fn encode(decision: &Decision) -> Option<Vec<u8>> {
    let ranking = decision.ranking.iter().map(|ranked| (Arc::clone(&ranked.intent), ranked.confidence)).collect();
    let body: Body = (
        decision.model,
        decision.selection.as_str().to_owned(),
        Arc::clone(&decision.model_version),
        decision.strategy,
        decision.truncated,
        decision.rule.clone(),
        ranking,
        decision.reasons.clone(),
    );
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    serde_json::to_writer(&mut bytes, &body).expect("an answer is plain data");
    let checksum = crc32fast::hash(&bytes[HEAD..]);
    bytes[1..HEAD].copy_from_slice(&checksum.to_le_bytes());
    (bytes.len() <= MAX_BYTES).then_some(bytes)
}

/// Reads what was kept of a decision.
///
/// # Errors
/// [`Unreadable`] for anything that [`encode`] of this format has not written.
pub(super) fn decode(bytes: &[u8]) -> Result<Decision, Unreadable> {
    let (&[version, a, b, c, d], body) = bytes.split_first_chunk::<HEAD>().ok_or(Unreadable::Length(bytes.len()))?;
    if bytes.len() > MAX_BYTES {
        return Err(Unreadable::Length(bytes.len()));
    }
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    if crc32fast::hash(body) != u32::from_le_bytes([a, b, c, d]) {
        return Err(Unreadable::Checksum);
    }
    let (model, selection, model_version, strategy, truncated, rule, ranking, reasons): Body =
        serde_json::from_slice(body).map_err(|error| Unreadable::Body(error.to_string()))?;
    let selection = SelectionReason::ALL
        .into_iter()
        .find(|reason| reason.as_str() == selection)
        .ok_or_else(|| Unreadable::Body(format!("unknown selection {selection:?}")))?;
    Ok(Decision {
        ranking: ranking.into_iter().map(|(intent, confidence)| RankedIntent { intent, confidence }).collect(),
        model,
        selection,
        model_version,
        rule,
        truncated,
        cached: true,
        cache: CacheUse::default(),
        degraded: false,
        strategy,
        // The engine says what they are for the request at hand.
        experiment_group: StrategyName::Control,
        exposure: None,
        flags: FlagSet::default(),
        latency_requirement: LatencyRequirement::default(),
        reasons,
        fallbacks: Vec::new(),
        skipped: Vec::new(),
        timings: Timings::default(),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decision(ranking: Vec<(String, f32)>, rule: Option<String>, reasons: Vec<String>) -> Decision {
        let ranking = ranking.into_iter().map(|(intent, confidence)| (Arc::from(intent), confidence)).collect();
        let selection = SelectionReason::Confident.as_str().to_owned();
        let body: Body =
            (ModelKind::Hybrid, selection, "v1".into(), StrategyName::Balanced, true, rule, ranking, reasons);
        let json = serde_json::to_vec(&body).expect("plain data");
        decode(&[&[VERSION][..], &crc32fast::hash(&json).to_le_bytes(), &json].concat()).expect("it is whole")
    }

    /// An answer with everything in it.
    pub(in crate::cache) fn example() -> Decision {
        let ranking = vec![("refund".to_owned(), 0.75), ("greeting".to_owned(), 0.25)];
        decision(ranking, Some("refund-words".to_owned()), vec!["rules confidence 0.75 >= 0.70".to_owned()])
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_the_same(
            ranking in prop::collection::vec((".{0,40}", 0.0_f32..=1.0), 1..20),
            rule in prop::option::of(".{0,20}"),
            reasons in prop::collection::vec(".{0,60}", 0..5),
        ) {
            let decision = decision(ranking, rule, reasons);
            let read = decode(&encode(&decision).expect("it is short")).expect("it is whole");
            prop_assert_eq!(format!("{decision:?}"), format!("{read:?}"));
        }

        #[test]
        fn garbage_is_no_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn a_damaged_answer_is_no_answer(at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let mut bytes = encode(&decision(vec![("refund".into(), 0.9)], None, vec![])).expect("it is short");
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn an_answer_that_was_cut_is_no_answer(at in any::<prop::sample::Index>()) {
            let bytes = encode(&decision(vec![("refund".into(), 0.9)], None, vec![])).expect("it is short");
            prop_assert!(decode(&bytes[..at.index(bytes.len())]).is_err());
        }
    }

    #[test]
    fn an_answer_is_compact() {
        let ranking = vec![("code_generation".to_owned(), 0.971_234), ("explanation".to_owned(), 0.012_345)];
        let decision = decision(ranking, None, vec!["linear confidence 0.97 >= 0.85".to_owned()]);
        let bytes = encode(&decision).expect("it is short");
        assert!(bytes.len() < 180, "{} bytes", bytes.len());
    }

    #[test]
    fn an_answer_that_is_too_long_is_not_kept() {
        let mut long = decision(vec![], None, vec![]);
        long.reasons.push("x".repeat(MAX_BYTES));
        assert_eq!(encode(&long), None);
        assert_eq!(decode(&vec![1; MAX_BYTES + 1]).expect_err("too long"), Unreadable::Length(MAX_BYTES + 1));
    }

    #[test]
    fn another_version_of_the_format_is_no_answer() {
        let mut bytes = encode(&decision(vec![("refund".into(), 0.9)], None, vec![])).expect("it is short");
        bytes[0] = 2;
        assert_eq!(decode(&bytes).expect_err("another version"), Unreadable::Version(2));
    }
}
