//! The model that is never trained: how near a text is to what the pack says of each intent.
//!
//! With `sim` the cosine of two sentence embeddings, `n` the examples of an intent, and `x` the text:
//!
//! ```text
//! said    = 1/2 sim(x, name) + 1/2 sim(x, description)
//! shown   = 2/3 mean of the 3 largest sim(x, example) + 1/3 sim(x, centroid of the examples)
//! score   = (2 said + n shown) / (2 + n)
//! logit   = 30 score
//! foreign = 1 - largest score + 3/4 mean score over all intents
//! ```
//!
//! *name* is the normalised mean of the name as words in six phrasings ("{}", "{}?", "a request about {}", …).
//! *description* is the normalised mean of the description's sentences, without those that say what does not belong
//! ("Not …"): to an encoder, a sentence that rules a neighbour out is about that neighbour. What the pack says counts as
//! much as two examples, so that it decides when there are none and steps back when there are many. `foreign` is the
//! out-of-scope score: a text near to nothing, or no nearer to one intent than to the others, is foreign.
//!
//! Chosen on validation splits only; `docs/zero-shot.md` has the figures and the command that repeats them. In short,
//! accuracy in percent by bare name and by the combination: CLINC150 69.8 and 88.5 (10 examples an intent; AUROC of
//! `foreign` 0.970), BANKING77 60.0 and 81.3 (10 examples), `prompt-tasks` 42.0, 59.9 without examples and 91.5 with
//! all of them.

mod vectors;

use std::sync::Arc;

pub use vectors::IntentVectors;

use crate::{Document, Labels, Model, ModelError, ModelKind, Pack, Scores, SentenceEncoder};

/// Turns similarities into logits whose softmax is roughly calibrated without any fitting.
const LOGIT_SCALE: f32 = 30.0;

/// How much of the mean similarity to all intents is taken off the largest before it says "in scope".
const MEAN_SHARE: f32 = 0.75;

/// Scores a text by its similarity to the name, the description and the examples of each intent.
///
/// All it needs of the pack is computed at construction; a text costs one embedding, which other models of the same
/// encoder share, and one dot product per example.
#[derive(Debug)]
pub struct ZeroShot {
    vectors: IntentVectors,
    encoder: Arc<SentenceEncoder>,
}

impl ZeroShot {
    /// Embeds what the pack says of its intents, on all cores: one to two milliseconds per example and core.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the encoder fails.
    pub fn new(pack: &Pack, encoder: Arc<SentenceEncoder>) -> Result<Self, ModelError> {
        Ok(Self { vectors: IntentVectors::compute(pack, &encoder)?, encoder })
    }

    /// Takes vectors that were computed before.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when another encoder computed them.
    pub fn with_vectors(vectors: IntentVectors, encoder: Arc<SentenceEncoder>) -> Result<Self, ModelError> {
        if vectors.encoder_fingerprint() != encoder.fingerprint() {
            return Err(ModelError::Inference(format!(
                "the intent vectors were computed with the encoder {}, the loaded one is {}; compute them again",
                vectors.encoder_fingerprint(),
                encoder.fingerprint()
            )));
        }
        Ok(Self { vectors, encoder })
    }

    /// Returns the vectors, to be kept in a file.
    pub fn vectors(&self) -> &IntentVectors {
        &self.vectors
    }

    fn score_one(&self, document: &Document) -> Result<Scores, ModelError> {
        let embedding = document.embedding().ok_or_else(|| ModelError::Inference("a text was not embedded".into()))?;
        if embedding.values.len() != self.encoder.dimension() {
            let (found, expected) = (embedding.values.len(), self.encoder.dimension());
            let reason = format!("the text was embedded in {found} dimensions by another encoder, expected {expected}");
            return Err(ModelError::Inference(reason));
        }
        let scores = self.vectors.scores(&embedding.values);
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mean = scores.iter().sum::<f32>() / scores.len() as f32;
        let logits = scores.into_iter().map(|score| LOGIT_SCALE * score).collect();
        Ok(Scores {
            out_of_scope: Some(1.0 - largest + MEAN_SHARE * mean),
            truncated: embedding.truncated,
            ..Scores::from_logits(logits)
        })
    }
}

impl Model for ZeroShot {
    fn kind(&self) -> ModelKind {
        ModelKind::ZeroShot
    }

    fn labels(&self) -> &Labels {
        self.vectors.labels()
    }

    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
        self.encoder.embed_documents(documents)?;
        documents.iter().map(|document| self.score_one(document)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Calibration,
        conformance::{self, Tolerance},
        document::Embedding,
        tiny,
    };

    const NAMES_ONLY: &str = r#"
        name = "shop"
        version = "1"
        [[intents]]
        name = "cancel_order"
        description = "The customer wants to cancel an order. Not to ask where it is."
        [[intents]]
        name = "opening_hours"
        description = "The customer wants to know when the shop is open."
        "#;

    fn zero_shot(toml: &str) -> ZeroShot {
        let pack = Pack::load_embedded(&[("pack.toml", toml)]).unwrap();
        ZeroShot::new(&pack, Arc::new(tiny::encoder())).unwrap()
    }

    fn best(model: &ZeroShot, text: &str) -> usize {
        let scores = model.score(&[&Document::new(text)]).unwrap().remove(0);
        Calibration::IDENTITY.apply(&scores).ranking()[0]
    }

    #[test]
    fn it_keeps_the_contract_of_a_model() {
        // The encoder's fp32 results differ by up to 1e-5 between batches, and logits are 30 times similarities.
        let tolerance = Tolerance { batch: 30.0 * 1e-5 };
        conformance::check(&zero_shot(NAMES_ONLY), tolerance);
        conformance::check(&zero_shot(&NAMES_ONLY.replace("is it", "x")), tolerance);
        conformance::check(&zero_shot(&format!("{NAMES_ONLY}examples = ['when do you close']")), tolerance);
    }

    #[test]
    fn names_and_descriptions_are_enough() {
        let model = zero_shot(NAMES_ONLY);
        assert_eq!(best(&model, "please cancel my order"), 0);
        assert_eq!(best(&model, "is the shop open"), 1);
    }

    #[test]
    fn a_near_example_raises_the_score_of_its_intent() {
        let text = "my parcel went to mars";
        let with = |example: &str| zero_shot(&format!("{NAMES_ONLY}examples = ['{example}', 'open', 'hours']"));
        let score = |model: &ZeroShot| model.score(&[&Document::new(text)]).unwrap().remove(0).logits[1];
        assert!(score(&with("a parcel on mars")) > score(&with("something else")));
    }

    #[test]
    fn a_text_like_nothing_in_the_pack_is_more_foreign() {
        let model = zero_shot(NAMES_ONLY);
        let foreign = |text: &str| model.score(&[&Document::new(text)]).unwrap()[0].out_of_scope.unwrap();
        assert!(foreign("zxqv 998 ## lorem") > foreign("cancel an order"));
    }

    #[test]
    fn an_embedding_that_is_there_is_used() {
        let model = zero_shot(NAMES_ONLY);
        let (text, same) = (Document::new("hello"), Document::new("cancel order"));
        let embedding = model.encoder.embed(&["cancel order"]).unwrap().remove(0);
        text.set_embedding(Embedding { truncated: true, ..embedding });
        let scores = model.score(&[&text, &same]).unwrap();
        assert_eq!(scores[0].logits, scores[1].logits);
        assert!(scores[0].truncated && !scores[1].truncated);
    }

    #[test]
    fn an_embedding_of_another_encoder_is_an_error() {
        let text = Document::new("hello");
        text.set_embedding(Embedding { values: vec![1.0].into(), truncated: false });
        let error = zero_shot(NAMES_ONLY).score(&[&text]).unwrap_err().to_string();
        assert!(error.contains("in 1 dimensions by another encoder"), "{error}");
    }

    #[test]
    fn vectors_from_a_file_give_the_same_scores() {
        let model = zero_shot(&format!("{NAMES_ONLY}examples = ['when do you close', 'open on sunday?']"));
        let vectors = IntentVectors::from_bytes("zero_shot.bin".as_ref(), &model.vectors().to_bytes()).unwrap();
        let read = ZeroShot::with_vectors(vectors, Arc::new(tiny::encoder())).unwrap();
        let text = Document::new("are you open");
        assert_eq!(read.score(&[&text]).unwrap(), model.score(&[&text]).unwrap());
        assert_eq!(read.labels(), model.labels());
    }
}
