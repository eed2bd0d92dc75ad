//! The models that answer now.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use intent_model::{Calibration, Labels, Model, ModelError, ModelKind};

use crate::RemoteModel;

/// One version of all models, loaded and ready. Replaced as a whole when a new version is promoted.
#[derive(Debug)]
pub struct Catalog {
    version: Arc<str>,
    intents: Vec<Arc<str>>,
    models: BTreeMap<ModelKind, LoadedModel>,
}

/// A model with what is needed to use its scores.
#[derive(Clone, Debug)]
pub struct LoadedModel {
    /// The model itself.
    pub backend: Backend,
    /// Turns its scores into confidence.
    pub calibration: Calibration,
    /// The share of validation texts it gets right, 0 to 1; models are compared by it.
    pub accuracy: f32,
    /// The share of validation texts on which its confidence reaches the threshold, 0 to 1.
    pub coverage: f32,
}

/// A model and where it computes.
#[derive(Clone, Debug)]
pub enum Backend {
    /// On the thread of the request: for models that take microseconds, where a change of thread would cost more.
    Inline(Arc<dyn Model>),
    /// On the inference threads, in micro-batches.
    Workers(Arc<dyn Model>),
    /// In another process.
    Remote(Arc<dyn RemoteModel>),
}

impl Backend {
    /// Returns which of the service's models this is.
    pub fn kind(&self) -> ModelKind {
        match self {
            Self::Inline(model) | Self::Workers(model) => model.kind(),
            Self::Remote(model) => model.kind(),
        }
    }

    /// Returns the labels in the order of the scores.
    pub fn labels(&self) -> &Labels {
        match self {
            Self::Inline(model) | Self::Workers(model) => model.labels(),
            Self::Remote(model) => model.labels(),
        }
    }

    /// Returns the model when it computes in this process.
    pub fn local(&self) -> Option<&Arc<dyn Model>> {
        match self {
            Self::Inline(model) | Self::Workers(model) => Some(model),
            Self::Remote(_) => None,
        }
    }
}

/// What a model costs, in the order in which a cascade asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CostClass {
    /// Microseconds.
    Text,
    /// One pass of the sentence encoder, shared by all models of this class.
    Embedding,
    /// One pass of a fine-tuned transformer.
    Transformer,
}

impl CostClass {
    /// Returns what a call takes before any was measured: a guess by order of magnitude.
    pub fn usual_latency(self) -> Duration {
        match self {
            Self::Text => Duration::from_micros(50),
            Self::Embedding => Duration::from_millis(2),
            Self::Transformer => Duration::from_millis(6),
        }
    }

    /// Returns the class of a model.
    pub fn of(kind: ModelKind) -> Self {
        match kind {
            ModelKind::Rules | ModelKind::Linear => Self::Text,
            ModelKind::ZeroShot | ModelKind::Hybrid => Self::Embedding,
            ModelKind::Distilbert => Self::Transformer,
        }
    }
}

impl Catalog {
    /// Puts models together that answer for the same labels.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when two models have different labels.
    pub fn new(
        version: impl Into<Arc<str>>,
        labels: &Labels,
        models: impl IntoIterator<Item = LoadedModel>,
    ) -> Result<Self, ModelError> {
        let mut by_kind = BTreeMap::new();
        for loaded in models {
            let kind = loaded.backend.kind();
            if loaded.backend.labels() != labels {
                return Err(ModelError::Inference(format!(
                    "the model `{kind}` has other labels than the intent pack; train it again for this pack"
                )));
            }
            by_kind.insert(kind, loaded);
        }
        Ok(Self { version: version.into(), intents: labels.iter().map(Arc::from).collect(), models: by_kind })
    }

    /// Returns the version of the models.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Returns the names of the intents, in the order of every model's scores.
    pub fn intents(&self) -> &[Arc<str>] {
        &self.intents
    }

    /// Returns a model, when it is loaded.
    pub fn get(&self, kind: ModelKind) -> Option<&LoadedModel> {
        self.models.get(&kind)
    }

    /// Iterates over the loaded models, cheapest first.
    pub fn iter(&self) -> impl Iterator<Item = (ModelKind, &LoadedModel)> {
        self.models.iter().map(|(kind, loaded)| (*kind, loaded))
    }
}
