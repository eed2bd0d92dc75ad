//! The trained classifier on n-grams and the sentence embedding.

use std::path::Path;

use crate::{
    Document, Labels, Model, ModelError, ModelKind, Scores, SentenceEncoder,
    binary::{self, Reader, Writer},
    linear::Linear,
    ngram::Features,
};

const MAGIC: &[u8; 8] = b"IC-HYBRI";
const FORMAT_VERSION: u32 = 1;

/// The temperature of the out-of-scope energy, on the scale of the classifiers' margins; chosen on the out-of-scope
/// validation texts of CLINC150, where 0.05 to 0.1 are best.
const ENERGY_TEMPERATURE: f32 = 0.1;

/// One linear classifier over all labels on word and character n-grams and the sentence embedding.
///
/// The embedding is centred on the mean of the training texts and scaled to a fixed length first: sentence embeddings
/// share a large common direction that says nothing of the intent. Logits are the decision values of one-against-rest
/// classifiers. The out-of-scope score is the energy of the logits (Liu et al. 2020, "Energy-based Out-of-distribution
/// Detection"): a text that no classifier claims is foreign.
#[derive(Clone, Debug)]
pub struct Hybrid {
    ngrams: Linear,
    embedding: EmbeddingWeights,
    encoder: SentenceEncoder,
}

/// How an embedding becomes features, and the weights of these.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingWeights {
    /// The mean embedding of the training texts; one value per dimension.
    pub centre: Vec<f32>,
    /// The length that a centred embedding is scaled to; above 0.
    pub scale: f32,
    /// One row of weights per dimension, one weight per label.
    pub weights: Vec<f32>,
}

impl EmbeddingWeights {
    /// Returns the features of an embedding: centred, scaled to the length `scale`.
    pub fn features(centre: &[f32], scale: f32, embedding: &[f32]) -> Vec<f32> {
        let mut features: Vec<f32> = embedding.iter().zip(centre).map(|(value, mean)| value - mean).collect();
        let norm = features.iter().map(|value| value * value).sum::<f32>().sqrt();
        if norm > 0.0 {
            features.iter_mut().for_each(|value| *value *= scale / norm);
        }
        features
    }

    fn add(&self, embedding: &[f32], logits: &mut [f32]) {
        let features = Self::features(&self.centre, self.scale, embedding);
        for (feature, weights) in features.iter().zip(self.weights.chunks_exact(logits.len())) {
            for (logit, weight) in logits.iter_mut().zip(weights) {
                *logit += feature * weight;
            }
        }
    }
}

/// Returns the out-of-scope score of logits: their negative log-sum-exp.
pub fn energy(logits: &[f32]) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|logit| ((logit - max) / ENERGY_TEMPERATURE).exp()).sum();
    -(max + ENERGY_TEMPERATURE * sum.ln())
}

impl Hybrid {
    /// Puts a trained classifier together: `ngrams` holds the weights of the n-grams and the biases.
    ///
    /// # Panics
    /// When the lengths do not fit each other.
    pub fn new(ngrams: Linear, embedding: EmbeddingWeights, encoder: SentenceEncoder) -> Self {
        let (dimension, labels) = (encoder.dimension(), ngrams.labels().len());
        assert_eq!(embedding.centre.len(), dimension, "the centre is an embedding");
        assert_eq!(embedding.weights.len(), dimension * labels, "there is one weight per dimension and label");
        Self { ngrams, embedding, encoder }
    }

    /// Returns the content of the model's file; the encoder is not part of it, only its fingerprint.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(MAGIC, FORMAT_VERSION);
        writer.text(self.encoder.fingerprint());
        writer.real(self.embedding.scale);
        writer.numbers(&self.embedding.centre);
        writer.sized_reals(&self.embedding.weights);
        self.ngrams.write(&mut writer);
        writer.into_bytes()
    }

    /// Loads a file that holds [`Hybrid::to_bytes`], to be used with the encoder it was trained with.
    ///
    /// # Errors
    /// [`ModelError::Io`] when it cannot be read, [`ModelError::InvalidFile`] when it is damaged, another kind of file,
    /// or was trained with another encoder.
    pub fn load(path: &Path, encoder: SentenceEncoder) -> Result<Self, ModelError> {
        Self::from_bytes(path, &binary::read_file(path)?, encoder)
    }

    /// Reads what [`Hybrid::to_bytes`] wrote; `path` is for messages only.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] when the content is damaged, another kind of file, or for another encoder.
    pub fn from_bytes(path: &Path, bytes: &[u8], encoder: SentenceEncoder) -> Result<Self, ModelError> {
        let mut reader = Reader::new(path, bytes, MAGIC, FORMAT_VERSION)?;
        let fingerprint = reader.text("the fingerprint of the encoder")?;
        if fingerprint != encoder.fingerprint() {
            return Err(reader.invalid(format!(
                "it was trained with the encoder `{fingerprint}` and the one that is loaded is `{}`: train again, or \
                 set `ENCODER_DIR` and `ENCODER_PRECISION` to that encoder",
                encoder.fingerprint()
            )));
        }
        let scale = reader.real("the scale of the embedding")?;
        let centre = reader.reals(encoder.dimension(), "the centre of the embeddings")?;
        let weights = reader.sized_reals("the weights of the embedding")?;
        let ngrams = Linear::read(&mut reader)?;
        if weights.len() != centre.len() * ngrams.labels().len() {
            return Err(reader.invalid(format!(
                "it holds {} weights for {} dimensions and {} labels",
                weights.len(),
                centre.len(),
                ngrams.labels().len()
            )));
        }
        reader.end()?;
        Ok(Self { ngrams, embedding: EmbeddingWeights { centre, scale, weights }, encoder })
    }
}

impl Model for Hybrid {
    fn kind(&self) -> ModelKind {
        ModelKind::Hybrid
    }

    fn labels(&self) -> &Labels {
        self.ngrams.labels()
    }

    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
        self.encoder.embed_documents(documents)?;
        let mut features = Features::default();
        let score = |document: &&Document| {
            let embedding = document.embedding().expect("the encoder has just embedded every document");
            let mut logits = self.ngrams.logits(document.text(), &mut features);
            self.embedding.add(&embedding.values, &mut logits);
            Scores {
                out_of_scope: Some(energy(&logits)),
                truncated: embedding.truncated,
                ..Scores::from_logits(logits)
            }
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
        ngram::{NgramOptions, Ngrams},
        tiny,
    };

    fn model() -> Hybrid {
        let texts = ["play a song", "play music", "how is the weather", "weather today"];
        let ngrams = Ngrams::fit(texts, NgramOptions { least_documents: 1, ..NgramOptions::default() });
        let wave = |count: usize| (0..count).map(|at| (at as f32 * 0.7).sin()).collect::<Vec<f32>>();
        let encoder = tiny::encoder();
        let embedding =
            EmbeddingWeights { centre: wave(encoder.dimension()), scale: 2.0, weights: wave(encoder.dimension() * 2) };
        let weights = wave(ngrams.len() * 2);
        let ngrams = Linear::new(Labels::new(["music", "weather"]), ngrams, &weights, vec![0.25, -0.5]);
        Hybrid::new(ngrams, embedding, encoder)
    }

    fn read(bytes: &[u8]) -> Result<Hybrid, ModelError> {
        Hybrid::from_bytes(Path::new("hybrid.bin"), bytes, tiny::encoder())
    }

    #[test]
    fn it_conforms() {
        conformance::check(&model(), Tolerance { batch: 1e-2 });
    }

    #[test]
    fn a_file_gives_the_same_scores_as_the_model_it_was_written_from() {
        let model = model();
        let document = Document::new("Play the weather song");
        let score = |model: &Hybrid| model.score(&[&document]).expect("scores");
        assert_eq!(score(&read(&model.to_bytes()).expect("just written")), score(&model));
    }

    #[test]
    fn a_file_for_another_encoder_is_refused_with_what_to_do() {
        let mut bytes = model().to_bytes();
        let fingerprint = tiny::encoder().fingerprint().as_bytes()[0];
        let at = bytes.iter().position(|&byte| byte == fingerprint).expect("it stands near the beginning");
        bytes[at.max(16)] ^= 1;
        let error = read(&bytes).expect_err("another fingerprint").to_string();
        assert!(error.contains("train again"), "{error}");
    }

    #[test]
    fn a_text_that_no_label_claims_has_more_energy() {
        assert!(energy(&[-1.0, -1.0, -1.0]) > energy(&[1.0, -1.0, -1.0]));
        assert!((energy(&[1.0, -9.0]) + 1.0).abs() < 1e-6);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = model().to_bytes();
        for length in (0..bytes.len()).step_by(7) {
            read(&bytes[..length]).expect_err("truncated");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_file_never_panics(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let mut bytes = model().to_bytes();
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(read) = read(&bytes) {
                read.score(&[&Document::new("play")]).expect("scores");
            }
        }
    }
}
