//! A model that is computed when it is first needed.

use std::sync::{Arc, OnceLock};

use intent_model::{
    Document, Labels, Model, ModelError, ModelKind, Pack, Scores, SentenceEncoder, zero_shot::ZeroShot,
};

/// `zero_shot`, whose vectors take seconds to compute for a pack with thousands of examples.
#[derive(Debug)]
pub(super) struct LazyZeroShot {
    labels: Labels,
    model: OnceLock<ZeroShot>,
    ingredients: Option<(Pack, Arc<SentenceEncoder>)>,
}

impl LazyZeroShot {
    /// Takes a model that is there already.
    pub(super) fn loaded(model: ZeroShot) -> Self {
        Self { labels: model.labels().clone(), model: OnceLock::from(model), ingredients: None }
    }

    /// Takes what the model is made of.
    pub(super) fn new(pack: Pack, encoder: Arc<SentenceEncoder>) -> Self {
        Self { labels: pack.labels(), model: OnceLock::new(), ingredients: Some((pack, encoder)) }
    }

    /// Tells whether it is computed already.
    pub(super) fn is_loaded(&self) -> bool {
        self.model.get().is_some()
    }

    /// Returns the model, after computing it when nobody has yet.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the encoder fails.
    pub(super) fn get(&self) -> Result<&ZeroShot, ModelError> {
        if let (None, Some((pack, encoder))) = (self.model.get(), &self.ingredients) {
            let model = ZeroShot::new(pack, Arc::clone(encoder))?;
            // Two that came at once computed the same.
            let _ = self.model.set(model);
        }
        Ok(self.model.get().expect("it was there or has just been computed"))
    }
}

impl Model for LazyZeroShot {
    fn kind(&self) -> ModelKind {
        ModelKind::ZeroShot
    }

    fn labels(&self) -> &Labels {
        &self.labels
    }

    fn score(&self, documents: &[&Document]) -> Result<Vec<Scores>, ModelError> {
        self.get()?.score(documents)
    }
}
