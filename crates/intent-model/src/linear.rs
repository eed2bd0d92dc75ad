//! The trained n-gram classifier.

use std::path::Path;

use crate::{
    Document, Labels, Model, ModelError, ModelKind, Scores,
    binary::{self, Reader, Writer},
    ngram::{Features, Ngrams},
    weights::QuantizedRows,
};

const MAGIC: &[u8; 8] = b"IC-LINEA";
const FORMAT_VERSION: u32 = 1;

/// One linear classifier over all labels on word and character n-grams.
///
/// Logits are the decision values of one-against-rest classifiers: 1 is the margin of a training text of that label.
/// The out-of-scope score is the negative of the largest: a text that no classifier claims is foreign.
#[derive(Clone, Debug)]
pub struct Linear {
    labels: Labels,
    ngrams: Ngrams,
    weights: QuantizedRows,
    bias: Vec<f32>,
}

impl Linear {
    /// Puts a trained classifier together: `weights` holds one row of weights per feature of `ngrams`, one weight per
    /// label; `bias` one number per label.
    ///
    /// # Panics
    /// When the lengths do not fit each other.
    pub fn new(labels: Labels, ngrams: Ngrams, weights: &[f32], bias: Vec<f32>) -> Self {
        assert_eq!(weights.len(), ngrams.len() * labels.len(), "there is one weight per feature and label");
        assert_eq!(bias.len(), labels.len(), "there is one bias per label");
        let weights = QuantizedRows::quantize(weights, labels.len());
        Self { labels, ngrams, weights, bias }
    }

    /// Returns the content of the model's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(MAGIC, FORMAT_VERSION);
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// Writes the classifier as a part of a file.
    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.texts(self.labels.iter());
        self.ngrams.write(writer);
        self.weights.write(writer);
        writer.numbers(&self.bias);
    }

    /// Loads a file that holds [`Linear::to_bytes`].
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read, [`ModelError::InvalidFile`] when it is damaged or another kind of file.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        Self::from_bytes(path, &binary::read_file(path)?)
    }

    /// Reads what [`Linear::to_bytes`] wrote; `path` is for messages only.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] when the content is damaged or another kind of file.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut reader = Reader::new(path, bytes, MAGIC, FORMAT_VERSION)?;
        let model = Self::read(&mut reader)?;
        reader.end()?;
        Ok(model)
    }

    /// Reads what [`Linear::write`] wrote.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ModelError> {
        let labels = Labels::new(reader.texts("the labels")?);
        if labels.is_empty() {
            return Err(reader.invalid("it has no labels"));
        }
        let ngrams = Ngrams::read(reader)?;
        let weights = QuantizedRows::read(reader, ngrams.len(), labels.len())?;
        let bias = reader.reals(labels.len(), "the biases")?;
        Ok(Self { labels, ngrams, weights, bias })
    }

    /// Returns the decision values of a text, one per label.
    pub(crate) fn logits(&self, text: &str, features: &mut Features) -> Vec<f32> {
        self.ngrams.features(text, features);
        let mut logits = self.bias.clone();
        for (&index, &value) in features.indices.iter().zip(&features.values) {
            self.weights.add(index as usize, value, &mut logits);
        }
        logits
    }
}

impl Model for Linear {
    fn kind(&self) -> ModelKind {
        ModelKind::Linear
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
        let mut features = Features::default();
        let score = |document: &&Document| {
            let logits = self.logits(document.text(), &mut features);
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            Scores { out_of_scope: Some(-largest), ..Scores::from_logits(logits) }
        };
        Ok(documents.iter().map(score).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        conformance::{self, Tolerance},
        ngram::NgramOptions,
    };

    fn model() -> Linear {
        let texts = ["play a song", "play music", "how is the weather", "weather today"];
        let ngrams = Ngrams::fit(texts, NgramOptions { least_documents: 1, ..NgramOptions::default() });
        let weights: Vec<f32> = (0..ngrams.len() * 2).map(|at| (at as f32 * 0.7).sin()).collect();
        Linear::new(Labels::new(["music", "weather"]), ngrams, &weights, vec![0.25, -0.5])
    }

    #[test]
    fn it_conforms() {
        conformance::check(&model(), Tolerance::EXACT);
    }

    #[test]
    fn a_file_gives_the_same_scores_as_the_model_it_was_written_from() {
        let model = model();
        let read = Linear::from_bytes(Path::new("linear.bin"), &model.to_bytes()).expect("just written");
        let document = Document::new("Play the weather song");
        let score = |model: &Linear| model.score(&[&document]).expect("scores");
        assert_eq!(score(&read), score(&model));
        assert_eq!(read.labels(), model.labels());
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = model().to_bytes();
        for length in 0..bytes.len() {
            let error = Linear::from_bytes(Path::new("linear.bin"), &bytes[..length]).expect_err("truncated");
            assert!(error.to_string().starts_with("`linear.bin` is not usable"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_file_never_panics(at in 0_usize..2_000, to in any::<u8>(), text in ".{0,20}") {
            let mut bytes = model().to_bytes();
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(read) = Linear::from_bytes(Path::new("linear.bin"), &bytes) {
                read.score(&[&Document::new(text)]).expect("scores");
            }
        }
    }
}
