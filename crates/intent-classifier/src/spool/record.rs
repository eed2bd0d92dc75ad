//! How records lie in a spool file, and how they are found again in one that was damaged.
//!
//! A record is a mark, the length of its content, a checksum over length and content, and the content, JSON in UTF-8.
//! The mark holds a byte that UTF-8 never does, so that it cannot be mistaken for content.

use std::ops::Range;

/// Begins every record.
const MARK: [u8; 4] = [0xf5, b'F', b'B', b'1'];
/// Mark, length and checksum.
const HEADER_BYTES: usize = 12;

/// Where everything in a spool file is. Together, the parts are the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The contents of whole records, in order.
    pub(crate) records: Vec<Range<usize>>,
    /// What is no record, although something follows it or all of it is there: the disk changed it.
    pub(crate) damaged: Vec<Range<usize>>,
    /// Where a record begins whose end was never written; the length of the file when there is none.
    pub(crate) end: usize,
}

/// Appends a record with `content` to `buffer`.
pub(crate) fn encode(content: &[u8], buffer: &mut Vec<u8>) {
    let length = u32::try_from(content.len()).expect("a record is smaller than 4 GiB").to_le_bytes();
    buffer.extend_from_slice(&MARK);
    buffer.extend_from_slice(&length);
    buffer.extend_from_slice(&checksum(length, content).to_le_bytes());
    buffer.extend_from_slice(content);
}

/// Finds the records in the bytes of a spool file, whatever happened to them.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    let mut found = Scan { end: bytes.len(), ..Scan::default() };
    let mut at = 0;
    while at < bytes.len() {
        if let Some(content) = record_at(bytes, at) {
            at = content.end;
            found.records.push(content);
            continue;
        }
        match (at + 1..bytes.len()).find(|&later| record_at(bytes, later).is_some()) {
            Some(next) => {
                found.damaged.push(at..next);
                at = next;
            }
            None => {
                if is_torn(&bytes[at..]) {
                    found.end = at;
                } else {
                    found.damaged.push(at..bytes.len());
                }
                break;
            }
        }
    }
    found
}

/// Returns the content of the record that begins at `at`, if a whole one does.
fn record_at(bytes: &[u8], at: usize) -> Option<Range<usize>> {
    let header = bytes[at..].first_chunk::<HEADER_BYTES>()?;
    let (length, sum) = header.strip_prefix(&MARK)?.split_first_chunk::<4>()?;
    let start = at + HEADER_BYTES;
    let end = start.checked_add(u32::from_le_bytes(*length) as usize)?;
    let content = bytes.get(start..end)?;
    (sum == checksum(*length, content).to_le_bytes()).then_some(start..end)
}

/// Tells whether the rest of a file is the beginning of a record, or was only reserved by the file system.
fn is_torn(rest: &[u8]) -> bool {
    if rest.iter().all(|&byte| byte == 0) || rest.len() < MARK.len() && MARK.starts_with(rest) {
        return true;
    }
    match rest.strip_prefix(&MARK).map(|rest| rest.split_first_chunk::<4>()) {
        Some(Some((length, _))) => rest.len() < HEADER_BYTES + u32::from_le_bytes(*length) as usize,
        Some(None) => true,
        None => false,
    }
}

/// CRC-32 (IEEE 802.3).
fn checksum(length: [u8; 4], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(content);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    fn file(contents: &[String]) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for content in contents {
            encode(content.as_bytes(), &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn recovered(bytes: &[u8], scan: &Scan) -> Vec<String> {
        let text = |content: &Range<usize>| String::from_utf8_lossy(&bytes[content.clone()]).into_owned();
        scan.records.iter().map(text).collect()
    }

    /// Every byte of a file is in exactly one part.
    fn parts_are_the_file(bytes: &[u8], scan: &Scan) -> bool {
        let records = scan.records.iter().map(|content| content.start - HEADER_BYTES..content.end);
        let mut parts: Vec<Range<usize>> = records.chain(scan.damaged.iter().cloned()).collect();
        parts.push(scan.end..bytes.len());
        parts.sort_by_key(|part| (part.start, part.end));
        parts.iter().try_fold(0, |end, part| (part.start == end).then_some(part.end)) == Some(bytes.len())
    }

    #[test]
    fn an_empty_file_has_no_records() {
        assert_eq!(scan(&[]), Scan::default());
    }

    #[test]
    fn what_the_file_system_only_reserved_is_no_damage() {
        let (mut bytes, ends) = file(&["a".to_owned()]);
        bytes.extend([0; 4096]);
        assert_eq!((scan(&bytes).end, scan(&bytes).damaged.len()), (ends[0], 0));
    }

    proptest! {
        #[test]
        fn a_whole_file_is_read_whole(contents in vec(".*", 0..8)) {
            let (bytes, _) = file(&contents);
            let scan = scan(&bytes);
            prop_assert_eq!(recovered(&bytes, &scan), contents);
            prop_assert!(scan.damaged.is_empty() && scan.end == bytes.len());
        }

        #[test]
        fn a_file_cut_anywhere_keeps_what_was_whole(contents in vec(".*", 1..8), cut in any::<Index>()) {
            let (bytes, ends) = file(&contents);
            let cut = cut.index(bytes.len() + 1);
            let bytes = &bytes[..cut];
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let scan = scan(bytes);
            prop_assert_eq!(recovered(bytes, &scan), &contents[..whole]);
            prop_assert!(scan.damaged.is_empty(), "{:?}", scan);
            prop_assert_eq!(scan.end, if whole == 0 { 0 } else { ends[whole - 1] });
        }

        #[test]
        fn a_damaged_record_costs_no_other(
            contents in vec(".*", 1..8), place in any::<Index>(), change in 1..=u8::MAX,
        ) {
            let (mut bytes, ends) = file(&contents);
            let place = place.index(bytes.len());
            bytes[place] ^= change;
            let hit = ends.iter().position(|&end| place < end).expect("it is in a record");
            let scan = scan(&bytes);
            let mut others = contents.clone();
            others.remove(hit);
            prop_assert_eq!(recovered(&bytes, &scan), others);
            prop_assert!(parts_are_the_file(&bytes, &scan), "{:?}", scan);
            // Only of the last record one cannot know whether its end was ever written.
            prop_assert!(!scan.damaged.is_empty() || hit == contents.len() - 1);
        }

        #[test]
        fn any_bytes_are_taken_apart_without_loss(
            contents in vec(".*", 0..4), noise in vec(vec(any::<u8>(), 0..40), 5),
        ) {
            let mut bytes = noise[0].clone();
            for (content, noise) in contents.iter().zip(&noise[1..]) {
                encode(content.as_bytes(), &mut bytes);
                bytes.extend(noise);
            }
            let scan = scan(&bytes);
            prop_assert!(parts_are_the_file(&bytes, &scan), "{:?}", scan);
            let found = recovered(&bytes, &scan);
            let mut rest = found.iter();
            // Noise may by chance look like a record; those that were written are there, in their order.
            prop_assert!(contents.iter().all(|content| rest.any(|found| found == content)), "{:?}", found);
        }
    }
}
