//! The sentence encoder: texts to unit vectors.

use std::{path::Path, sync::Arc};

pub use crate::transformer::Precision;
use crate::{
    Document, Embedding, ModelError,
    transformer::{Specification, Task, Transformer},
};

/// Turns texts into embeddings whose dot product says how alike the texts are (Reimers and Gurevych 2019,
/// "Sentence-BERT").
///
/// Mean pooling over the real tokens and L2 norm, or as the model's files say. A text's embedding does not depend on
/// what it is batched with. Every call computes on one core; calls from many threads run beside each other. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct SentenceEncoder {
    transformer: Arc<Transformer>,
    dimension: usize,
}

impl SentenceEncoder {
    /// Loads a directory that [`crate::import`] wrote, or one with `tokenizer.json` and `model.onnx` made by others.
    ///
    /// Where a directory made by others has only one graph, that one is loaded whatever its precision.
    ///
    /// # Errors
    /// [`ModelError::Io`] when a file cannot be read, [`ModelError::InvalidFile`] when one is broken, changed since it
    /// was imported, or does not fit the others.
    pub fn load(directory: &Path, precision: Precision) -> Result<Self, ModelError> {
        let transformer = Transformer::load(directory, precision, Task::Embedding)?;
        let dimension = transformer.specification().hidden_size.expect("loading measures it");
        Ok(Self { transformer: Arc::new(transformer), dimension })
    }

    /// Returns the length of an embedding.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns the arithmetic of the loaded graph.
    pub fn precision(&self) -> Precision {
        self.transformer.precision()
    }

    /// Returns a digest of everything that decides an embedding: tokenizer, weights, precision, length limit, pooling.
    /// Classifiers trained on embeddings of one fingerprint are only good for that one.
    pub fn fingerprint(&self) -> &str {
        self.transformer.fingerprint()
    }

    /// Returns how the model is used: limits, pooling, architecture.
    pub fn specification(&self) -> &Specification {
        self.transformer.specification()
    }

    /// Embeds texts, in batches of similar length; the embeddings come back in the order of the texts.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the runtime fails.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>, ModelError> {
        let rows = self.transformer.run(texts)?;
        Ok(rows.into_iter().map(|row| Embedding { values: normalized(row.values), truncated: row.truncated }).collect())
    }

    /// Gives every document that has no embedding yet its embedding, in one sorted batch.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the runtime fails; no document has changed then.
    pub fn embed_documents(&self, documents: &[&Document]) -> Result<(), ModelError> {
        let missing: Vec<&Document> =
            documents.iter().copied().filter(|document| document.embedding().is_none()).collect();
        let texts: Vec<&str> = missing.iter().map(|document| document.text()).collect();
        for (document, embedding) in missing.into_iter().zip(self.embed(&texts)?) {
            document.set_embedding(embedding);
        }
        Ok(())
    }
}

/// Scales a vector to length 1; a zero vector stays.
fn normalized(mut values: Vec<f32>) -> Arc<[f32]> {
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    if norm > 0.0 {
        values.iter_mut().for_each(|value| *value /= norm);
    }
    values.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiny;

    #[test]
    fn an_embedding_has_length_one_and_the_models_dimension() {
        for embedding in tiny::encoder().embed(&["hello", "", "where is my order?"]).unwrap() {
            assert_eq!(embedding.values.len(), tiny::DIMENSION);
            let norm: f32 = embedding.values.iter().map(|value| value * value).sum();
            assert!((norm - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn documents_keep_the_embedding_they_have() {
        let encoder = tiny::encoder();
        let given = Embedding { values: vec![1.0].into(), truncated: true };
        let (has, lacks) = (Document::new("hello"), Document::new("hello"));
        has.set_embedding(given.clone());
        encoder.embed_documents(&[&has, &lacks]).unwrap();
        assert_eq!(has.embedding(), Some(&given));
        assert_eq!(lacks.embedding(), Some(&encoder.embed(&["hello"]).unwrap()[0]));
    }

    #[test]
    fn calls_from_many_threads_agree() {
        let encoder = tiny::encoder();
        let texts = ["cancel my order", "hi", "what is the capital of peru"];
        let expected = encoder.embed(&texts).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(encoder.embed(&texts).unwrap(), expected));
            }
        });
    }
}
