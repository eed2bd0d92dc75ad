//! Word and character n-grams weighted by TF-IDF.
//!
//! A text becomes two blocks of sparse features, words and characters, each of unit length. A feature is known by a
//! 64-bit hash of its n-gram, so that a vocabulary holds no strings: some 24 bytes per feature, and a collision among
//! 100,000 features has a chance of 3 in 10 billion and costs one wrong weight.

use std::collections::HashMap;

use crate::{
    ModelError,
    binary::{Reader, Writer},
    text::fold,
};

/// Which n-grams are features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NgramOptions {
    /// The longest word n-gram, in words; the shortest is one word.
    pub longest_word_ngram: usize,
    /// The shortest character n-gram within a padded word, in characters.
    pub shortest_char_ngram: usize,
    /// The longest character n-gram, in characters.
    pub longest_char_ngram: usize,
    /// In how many texts an n-gram must occur to become a feature.
    pub least_documents: u32,
}

impl Default for NgramOptions {
    fn default() -> Self {
        Self { longest_word_ngram: 2, shortest_char_ngram: 2, longest_char_ngram: 5, least_documents: 1 }
    }
}

/// The sparse features of one text, and the space to compute them in; meant to be used again for the next text.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Indices of the features, ascending within each block.
    pub indices: Vec<u32>,
    /// The weight of each, in the order of `indices`.
    pub values: Vec<f32>,
    found: Vec<u32>,
    hashes: Vec<u64>,
    words: Vec<(usize, usize)>,
}

/// A vocabulary of n-grams with their inverse document frequencies.
///
/// Term frequency is sublinear, `1 + ln(count)`; the inverse document frequency smoothed,
/// `1 + ln((1 + documents) / (1 + documents with the n-gram))`.
#[derive(Clone, Debug)]
pub struct Ngrams {
    options: NgramOptions,
    /// Hash of each feature's n-gram, commonest first, so that the features most texts share lie close together.
    keys: Vec<u64>,
    idf: Vec<f32>,
    /// The inverse document frequency of an n-gram that no training text had.
    unknown_idf: f32,
    table: Table,
}

/// A block of features that has its own unit length.
#[derive(Clone, Copy, PartialEq)]
enum Block {
    Words,
    Characters,
}

impl Ngrams {
    /// Learns the vocabulary of some texts.
    pub fn fit<'a>(texts: impl IntoIterator<Item = &'a str>, options: NgramOptions) -> Self {
        let mut documents = 0_u32;
        let mut frequencies: HashMap<u64, u32> = HashMap::new();
        let mut features = Features::default();
        for text in texts {
            documents += 1;
            let folded = fold(text);
            for block in [Block::Words, Block::Characters] {
                features.hashes.clear();
                hash_ngrams(&folded, block, options, &mut features);
                features.hashes.sort_unstable();
                features.hashes.dedup();
                for &hash in &features.hashes {
                    *frequencies.entry(hash).or_default() += 1;
                }
            }
        }
        let mut kept: Vec<(u64, u32)> =
            frequencies.into_iter().filter(|&(_, frequency)| frequency >= options.least_documents).collect();
        kept.sort_unstable_by_key(|&(hash, frequency)| (std::cmp::Reverse(frequency), hash));
        let inverse = |frequency: u32| 1.0 + ((1.0 + documents as f32) / (1.0 + frequency as f32)).ln();
        let keys = kept.iter().map(|&(hash, _)| hash).collect();
        let idf = kept.iter().map(|&(_, frequency)| inverse(frequency)).collect();
        Self::from_parts(options, keys, idf, inverse(0))
    }

    /// Puts a vocabulary together again; `keys` and `idf` are in feature order and equally long.
    fn from_parts(options: NgramOptions, keys: Vec<u64>, idf: Vec<f32>, unknown_idf: f32) -> Self {
        let table = Table::new(&keys);
        Self { options, keys, idf, unknown_idf, table }
    }

    /// Writes the vocabulary.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.number(self.options.longest_word_ngram as u32);
        writer.number(self.options.shortest_char_ngram as u32);
        writer.number(self.options.longest_char_ngram as u32);
        writer.number(self.options.least_documents);
        writer.real(self.unknown_idf);
        writer.number(self.keys.len() as u32);
        writer.numbers(&self.keys);
        writer.numbers(&self.idf);
    }

    /// Reads what [`Ngrams::write`] wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ModelError> {
        let options = NgramOptions {
            longest_word_ngram: reader.number("the n-gram options")? as usize,
            shortest_char_ngram: reader.number("the n-gram options")? as usize,
            longest_char_ngram: reader.number("the n-gram options")? as usize,
            least_documents: reader.number("the n-gram options")?,
        };
        if options.longest_word_ngram.max(options.longest_char_ngram) > LONGEST_NGRAM {
            return Err(reader.invalid(format!("it asks for n-grams longer than {LONGEST_NGRAM}")));
        }
        let unknown_idf = reader.real("the inverse document frequencies")?;
        let count = reader.number("the number of features")? as usize;
        let keys: Vec<u64> = reader.numbers(count, "the vocabulary")?;
        let idf = reader.reals(count, "the inverse document frequencies")?;
        Ok(Self::from_parts(options, keys, idf, unknown_idf))
    }

    /// Returns how many features there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Tells whether no n-gram became a feature.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Computes the features of a text into `features`, replacing what is there.
    ///
    /// N-grams outside the vocabulary are no features, but they count in the length that each block is divided by: a
    /// text of mostly unknown words has small weights.
    pub fn features(&self, text: &str, features: &mut Features) {
        let folded = fold(text);
        features.indices.clear();
        features.values.clear();
        for block in [Block::Words, Block::Characters] {
            features.hashes.clear();
            hash_ngrams(&folded, block, self.options, features);
            self.weigh(features);
        }
    }

    /// Appends the features of one block's hashes.
    fn weigh(&self, features: &mut Features) {
        features.found.clear();
        features.found.extend(features.hashes.iter().filter_map(|&hash| self.table.get(&self.keys, hash)));
        features.found.sort_unstable();
        let first = features.values.len();
        let unknown = features.hashes.len() - features.found.len();
        let mut squares = unknown as f32 * self.unknown_idf * self.unknown_idf;
        for run in features.found.chunk_by(|a, b| a == b) {
            let frequency = if run.len() == 1 { 1.0 } else { 1.0 + (run.len() as f32).ln() };
            let weight = frequency * self.idf[run[0] as usize];
            squares += weight * weight;
            features.indices.push(run[0]);
            features.values.push(weight);
        }
        if squares > 0.0 {
            let length = squares.sqrt();
            features.values[first..].iter_mut().for_each(|value| *value /= length);
        }
    }
}

/// Appends the hashes of all n-grams of one block of a folded text to `features.hashes`.
fn hash_ngrams(folded: &str, block: Block, options: NgramOptions, features: &mut Features) {
    match block {
        Block::Words => hash_words(folded, options, features),
        Block::Characters => hash_characters(folded, options, &mut features.hashes),
    }
}

/// Word n-grams: runs of letters and digits, joined over whatever stands between them.
fn hash_words(folded: &str, options: NgramOptions, features: &mut Features) {
    let Features { words, hashes, .. } = features;
    words.clear();
    let mut start = None;
    for (at, character) in folded.char_indices() {
        match (start, character.is_alphanumeric()) {
            (None, true) => start = Some(at),
            (Some(from), false) => {
                words.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|from| (from, folded.len())));
    for first in 0..words.len() {
        let mut hash = WORD_SEED;
        for &(from, to) in words[first..].iter().take(options.longest_word_ngram) {
            hash = folded[from..to].chars().fold(hash, |hash, character| extend(hash, character as u32));
            hashes.push(finish(hash));
            hash = extend(hash, ' ' as u32);
        }
    }
}

/// Character n-grams of every whitespace-separated word, padded with one space on each side.
fn hash_characters(folded: &str, options: NgramOptions, hashes: &mut Vec<u64>) {
    for word in folded.split_whitespace() {
        let padded = || std::iter::once(' ').chain(word.chars()).chain(std::iter::once(' '));
        let mut from = padded();
        loop {
            let mut hash = CHARACTER_SEED;
            let mut length = 0;
            for character in from.clone().take(options.longest_char_ngram) {
                hash = extend(hash, character as u32);
                length += 1;
                if length >= options.shortest_char_ngram {
                    hashes.push(finish(hash));
                }
            }
            if from.next().is_none() {
                break;
            }
        }
    }
}

/// The longest n-gram that a file may ask for, so that a damaged one cannot make scoring slow.
const LONGEST_NGRAM: usize = 16;

const WORD_SEED: u64 = 0xcbf2_9ce4_8422_2325;
const CHARACTER_SEED: u64 = 0x9ae1_6a3b_2f90_404f;

/// One step of FNV-1a over code points, so that a longer n-gram goes on from the hash of its beginning.
fn extend(hash: u64, character: u32) -> u64 {
    (hash ^ u64::from(character)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Spreads the bits (the finaliser of SplitMix64).
fn finish(hash: u64) -> u64 {
    let mut z = hash;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An open-addressing hash table from n-gram hashes to features, at most half full.
///
/// A slot is an index into the keys, which lie beside it: a table of slots with keys would take four times the memory.
#[derive(Clone, Debug)]
struct Table {
    slots: Vec<u32>,
}

/// The slot that holds no feature.
const FREE: u32 = u32::MAX;

impl Table {
    fn new(keys: &[u64]) -> Self {
        let mut table = Self { slots: vec![FREE; (keys.len() * 2).next_power_of_two().max(2)] };
        for (feature, &key) in keys.iter().enumerate() {
            let slot = table.slot(keys, key);
            table.slots[slot] = feature as u32;
        }
        table
    }

    /// Finds the slot that holds `key`, or the free one where it belongs.
    fn slot(&self, keys: &[u64], key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = key as usize & mask;
        while self.slots[slot] != FREE && keys[self.slots[slot] as usize] != key {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn get(&self, keys: &[u64], key: u64) -> Option<u32> {
        let feature = self.slots[self.slot(keys, key)];
        (feature != FREE).then_some(feature)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The n-grams of a text, found by asking which of `candidates` have one of its hashes.
    fn known(text: &str, block: Block, candidates: &[&str]) -> Vec<String> {
        let mut features = Features::default();
        hash_ngrams(text, block, NgramOptions::default(), &mut features);
        let seed = if block == Block::Words { WORD_SEED } else { CHARACTER_SEED };
        let hash = |ngram: &str| finish(ngram.chars().fold(seed, |hash, character| extend(hash, character as u32)));
        candidates
            .iter()
            .filter(|ngram| features.hashes.contains(&hash(ngram)))
            .map(|&ngram| ngram.to_owned())
            .collect()
    }

    #[test]
    fn words_are_joined_over_punctuation() {
        let candidates = ["don", "don t", "t", "t stop", "don t stop", "stop"];
        assert_eq!(known("don't – stop", Block::Words, &candidates), ["don", "don t", "t", "t stop", "stop"]);
    }

    #[test]
    fn characters_stay_within_padded_words() {
        let candidates = [" a", "a ", " a ", "a b", " bcde", "bcd", "bcdef", "f ", "ef "];
        assert_eq!(
            known("a bcdef", Block::Characters, &candidates),
            [" a", "a ", " a ", " bcde", "bcd", "bcdef", "f ", "ef "]
        );
    }

    #[test]
    fn a_known_text_has_blocks_of_unit_length() {
        let ngrams = Ngrams::fit(["play a song", "play music"], NgramOptions::default());
        let mut features = Features::default();
        ngrams.features("Play a SONG", &mut features);
        let squares: f32 = features.values.iter().map(|value| value * value).sum();
        assert!((squares - 2.0).abs() < 1e-5, "two blocks of length 1, not {squares}");
    }

    #[test]
    fn unknown_words_make_the_known_ones_weigh_less() {
        let ngrams = Ngrams::fit(["play a song", "play music"], NgramOptions::default());
        let squares = |text: &str| {
            let mut features = Features::default();
            ngrams.features(text, &mut features);
            features.values.iter().map(|value| value * value).sum::<f32>()
        };
        assert!(squares("play qwerty") < squares("play music"));
        assert_eq!(squares(""), 0.0);
    }

    proptest! {
        #[test]
        fn any_text_has_finite_features(text in ".{0,60}", other in "[a-c ]{0,20}") {
            let ngrams = Ngrams::fit([other.as_str(), "a b c"], NgramOptions::default());
            let mut features = Features::default();
            ngrams.features(&text, &mut features);
            prop_assert_eq!(features.indices.len(), features.values.len());
            prop_assert!(features.values.iter().all(|value| value.is_finite() && *value > 0.0));
        }
    }
}
