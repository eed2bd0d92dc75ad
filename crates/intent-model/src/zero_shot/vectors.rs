//! What a pack says of its intents, as vectors.

use std::path::Path;

use crate::{
    Labels, ModelError, Pack, SentenceEncoder,
    binary::{self, Reader, Writer},
    pack::words_of_name,
    transformer::map_chunks,
};

const MAGIC: &[u8; 8] = b"IC-ZEROS";
const FORMAT_VERSION: u32 = 1;

/// The phrasings of a name that are averaged.
const NAME_PHRASINGS: [&str; 6] =
    ["{}", "{}?", "a request about {}", "I need help with {}", "tell me about {}", "I want {}"];

/// How a sentence of a description begins that says what does not belong to the intent.
const EXCLUSIONS: [&str; 5] = ["not ", "no ", "never ", "nothing ", "neither "];

/// The most examples of one intent that are kept, the first of the pack; more would slow every text down.
const MAX_EXAMPLES: usize = 500;

/// How many of the nearest examples count.
const NEAREST: usize = 3;

/// As many examples the name and the description count for.
const SAID_WEIGHT: f32 = 2.0;

/// The share of the nearest examples in what the examples say; the rest is their centroid's.
const NEAREST_SHARE: f32 = 2.0 / 3.0;

/// How many texts one thread embeds at a time.
const BATCH: usize = 64;

/// The embeddings of names, descriptions and examples of all intents. All vectors have unit length.
#[derive(Clone, Debug)]
pub struct IntentVectors {
    labels: Labels,
    encoder_fingerprint: String,
    pack_hash: String,
    dimension: usize,
    intents: Vec<Intent>,
}

#[derive(Clone, Debug)]
struct Intent {
    name: Vec<f32>,
    description: Vec<f32>,
    /// The normalised mean of the examples; zeros when there are none.
    centroid: Vec<f32>,
    /// One example after the other.
    examples: Vec<f32>,
}

impl IntentVectors {
    /// Embeds what a pack says of its intents, on all cores.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the encoder fails.
    pub fn compute(pack: &Pack, encoder: &SentenceEncoder) -> Result<Self, ModelError> {
        let mut texts: Vec<String> = Vec::new();
        let mut counts = Vec::new();
        for intent in &pack.intents {
            let words = words_of_name(&intent.name);
            texts.extend(NAME_PHRASINGS.iter().map(|phrasing| phrasing.replace("{}", &words)));
            let sentences = inclusive_sentences(&intent.description);
            texts.extend(sentences.iter().map(|sentence| (*sentence).to_owned()));
            let examples = intent.examples.iter().take(MAX_EXAMPLES);
            counts.push((sentences.len(), examples.len()));
            texts.extend(examples.cloned());
        }
        let rows = embed(&texts, encoder)?;
        let mut rows = rows.iter().map(|row| &row[..]);
        let dimension = encoder.dimension();
        let mut take = |count: usize| rows.by_ref().take(count).collect::<Vec<&[f32]>>();
        let intents = counts.into_iter().map(|(sentences, examples)| {
            let name = mean_direction(&take(NAME_PHRASINGS.len()), dimension);
            let description = mean_direction(&take(sentences), dimension);
            let examples = take(examples);
            Intent { name, description, centroid: mean_direction(&examples, dimension), examples: examples.concat() }
        });
        Ok(Self {
            labels: pack.labels(),
            encoder_fingerprint: encoder.fingerprint().to_owned(),
            pack_hash: pack.content_hash(),
            dimension,
            intents: intents.collect(),
        })
    }

    /// Returns the intents in the order of the scores.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Returns the fingerprint of the encoder that computed the vectors.
    pub fn encoder_fingerprint(&self) -> &str {
        &self.encoder_fingerprint
    }

    /// Returns the [`Pack::content_hash`] of the pack that was embedded.
    pub fn pack_hash(&self) -> &str {
        &self.pack_hash
    }

    /// Returns how near an embedding is to each intent, -1 to 1.
    pub(super) fn scores(&self, embedding: &[f32]) -> Vec<f32> {
        self.intents.iter().map(|intent| intent.score(embedding)).collect()
    }

    /// Returns the content of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(MAGIC, FORMAT_VERSION);
        writer.texts(self.labels.iter());
        writer.text(&self.encoder_fingerprint);
        writer.text(&self.pack_hash);
        writer.number(self.dimension as u32);
        for intent in &self.intents {
            writer.number((intent.examples.len() / self.dimension) as u32);
            for vectors in [&intent.name, &intent.description, &intent.centroid, &intent.examples] {
                writer.numbers(vectors);
            }
        }
        writer.into_bytes()
    }

    /// Loads a file that holds [`IntentVectors::to_bytes`].
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read, [`ModelError::InvalidFile`] when it is damaged or another kind of file.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Self::from_bytes(path, &binary::read_file(path)?)
    }

    /// Reads what [`IntentVectors::to_bytes`] wrote; `path` is for messages only.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] when the content is damaged or another kind of file.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut reader = Reader::new(path, bytes, MAGIC, FORMAT_VERSION)?;
        let labels = Labels::new(reader.texts("the labels")?);
        if labels.is_empty() {
            return Err(reader.invalid("it has no labels"));
        }
        let encoder_fingerprint = reader.text("the encoder's fingerprint")?;
        let pack_hash = reader.text("the pack's hash")?;
        let dimension = reader.number("the dimension")? as usize;
        if dimension == 0 {
            return Err(reader.invalid("its vectors have no dimension"));
        }
        let mut intents = Vec::with_capacity(labels.len());
        for label in labels.iter() {
            let examples = reader.number("the number of examples")? as usize;
            let mut vectors =
                |count: usize, what| reader.reals(count.saturating_mul(dimension), &format!("{what} of `{label}`"));
            intents.push(Intent {
                name: vectors(1, "the name")?,
                description: vectors(1, "the description")?,
                centroid: vectors(1, "the centroid")?,
                examples: vectors(examples, "the examples")?,
            });
        }
        reader.end()?;
        Ok(Self { labels, encoder_fingerprint, pack_hash, dimension, intents })
    }
}

impl Intent {
    fn score(&self, embedding: &[f32]) -> f32 {
        let said = (dot(&self.name, embedding) + dot(&self.description, embedding)) / 2.0;
        let mut nearest = Nearest::default();
        self.examples.chunks_exact(embedding.len()).for_each(|example| nearest.add(dot(example, embedding)));
        let Some(mean) = nearest.mean() else { return said };
        let shown = NEAREST_SHARE * mean + (1.0 - NEAREST_SHARE) * dot(&self.centroid, embedding);
        let examples = (self.examples.len() / embedding.len()) as f32;
        (SAID_WEIGHT * said + examples * shown) / (SAID_WEIGHT + examples)
    }
}

/// The largest similarities seen so far, largest first.
#[derive(Default)]
struct Nearest {
    similarities: [f32; NEAREST],
    count: usize,
}

impl Nearest {
    fn add(&mut self, similarity: f32) {
        let kept = &self.similarities[..self.count];
        let place = kept.iter().position(|kept| similarity > *kept).unwrap_or(self.count);
        if place < NEAREST {
            self.count = (self.count + 1).min(NEAREST);
            self.similarities[place..self.count].rotate_right(1);
            self.similarities[place] = similarity;
        }
    }

    fn mean(&self) -> Option<f32> {
        (self.count > 0).then(|| self.similarities[..self.count].iter().sum::<f32>() / self.count as f32)
    }
}

/// The sentences of a description that say what belongs to the intent; the whole description when none does.
fn inclusive_sentences(description: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    for (offset, _) in description.match_indices(['.', ':', ';', '!', '?']) {
        let end = offset + 1;
        if description[end..].starts_with(char::is_whitespace) {
            sentences.push(description[start..end].trim());
            start = end;
        }
    }
    sentences.push(description[start..].trim());
    let excludes = |sentence: &str| {
        let sentence = sentence.to_lowercase();
        EXCLUSIONS.iter().any(|beginning| sentence.starts_with(beginning))
    };
    sentences.retain(|sentence| !sentence.is_empty() && !excludes(sentence));
    if sentences.is_empty() { vec![description] } else { sentences }
}

fn embed(texts: &[String], encoder: &SentenceEncoder) -> Result<Vec<std::sync::Arc<[f32]>>, ModelError> {
    let batches =
        map_chunks(texts, BATCH, |batch| encoder.embed(&batch.iter().map(String::as_str).collect::<Vec<_>>()))?;
    Ok(batches.into_iter().flatten().map(|embedding| embedding.values).collect())
}

/// The sum of vectors scaled to unit length; zeros when there are none.
fn mean_direction(vectors: &[&[f32]], dimension: usize) -> Vec<f32> {
    let mut sum = vec![0.0; dimension];
    for vector in vectors {
        sum.iter_mut().zip(*vector).for_each(|(sum, value)| *sum += value);
    }
    let norm = dot(&sum, &sum).sqrt();
    if norm > 0.0 {
        sum.iter_mut().for_each(|value| *value /= norm);
    }
    sum
}

/// Eight sums at a time, so that the compiler may use vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tiny;

    #[test]
    fn sentences_that_rule_out_are_left_out() {
        let cases: [(&str, &[&str]); 5] = [
            ("Asks for a fact: who, what. Not why.", &["Asks for a fact:", "who, what."]),
            ("Costs 3.50 or no. 5 at most", &["Costs 3.50 or no.", "5 at most"]),
            ("not this", &["not this"]),
            ("Notes and memos.", &["Notes and memos."]),
            ("卡片到达了吗。", &["卡片到达了吗。"]),
        ];
        for (description, expected) in cases {
            assert_eq!(inclusive_sentences(description), expected);
        }
    }

    #[test]
    fn every_truncation_of_a_file_is_an_error() {
        let pack = Pack::load_embedded(&[("pack.toml", &Pack::template("t"))]).unwrap();
        let bytes = IntentVectors::compute(&pack, &tiny::encoder()).unwrap().to_bytes();
        for length in (0..bytes.len()).step_by(7) {
            assert!(IntentVectors::from_bytes("f".as_ref(), &bytes[..length]).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_nearest_are_the_largest(mut similarities in proptest::collection::vec(-1.0f32..1.0, 1..10)) {
            let mut nearest = Nearest::default();
            similarities.iter().for_each(|similarity| nearest.add(*similarity));
            similarities.sort_by(|a, b| b.total_cmp(a));
            similarities.truncate(NEAREST);
            let expected = similarities.iter().sum::<f32>() / similarities.len() as f32;
            prop_assert_eq!(nearest.mean(), Some(expected));
        }

        #[test]
        fn the_dot_product_is_the_plain_one(pairs in proptest::collection::vec((-1.0f32..1.0, -1.0f32..1.0), 0..40)) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let plain: f32 = pairs.iter().map(|(x, y)| x * y).sum();
            prop_assert!((dot(&a, &b) - plain).abs() < 1e-4);
        }
    }
}
