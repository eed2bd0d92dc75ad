//! Puts together the models that are there.

use std::{collections::BTreeMap, fmt, sync::Arc};

use intent_engine::{Backend, Catalog, LoadedModel};
use intent_model::{
    Calibration, Model, ModelError, ModelKind, Rules, SentenceEncoder,
    directory::{ModelDirectory, Version},
    pack::{Pack, PackErrors},
    zero_shot::{IntentVectors, ZeroShot},
};

use super::{
    lazy::LazyZeroShot,
    pack::{self, ServedPack},
};
use crate::{
    config::ModelSettings,
    remote::{RemoteClassifier, RemoteClient},
};

/// The name of the models' version when none was trained.
const UNTRAINED: &str = "untrained";
/// How right untrained models are assumed to be: the router asks them early and trusts them last.
const UNTRAINED_ACCURACY: f32 = 0.5;
/// How right a model on a model server is assumed to be where no validation data of it is known: it was put there because
/// it is better than what computes here. `routing/config` can say otherwise.
const UNMEASURED_REMOTE_ACCURACY: f32 = 0.97;
/// How often untrained models are assumed to be sure.
const UNTRAINED_COVERAGE: f32 = 0.5;

/// Models that can serve together.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// The models.
    pub(crate) catalog: Catalog,
    /// The pack they are for.
    pub(crate) pack: Pack,
    /// Whether each model is there, and if not, why.
    pub(crate) availability: BTreeMap<ModelKind, Availability>,
    /// `zero_shot`, when it is there, to see whether it has been computed yet.
    pub(super) zero_shot: Option<Arc<LazyZeroShot>>,
    /// The model server that `distilbert` is asked of.
    pub(super) remote: Option<Arc<RemoteClient>>,
}

/// Whether a model is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It is loaded.
    Loaded,
    /// What it needs is not there.
    NotConfigured(String),
    /// What it needs is there but cannot be used.
    Broken(String),
}

/// Not even the least that is needed could be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AssemblyError {
    /// The intent pack has mistakes.
    #[error("the intent pack cannot be used:\n{0}")]
    Pack(PackErrors),
    /// The models do not fit the pack or each other.
    #[error("the models cannot serve together")]
    Models(#[source] ModelError),
}

impl Availability {
    /// Returns the word used in answers.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded => "healthy",
            Self::NotConfigured(_) => "not_configured",
            Self::Broken(_) => "unhealthy",
        }
    }

    /// Returns why the model is not there.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Loaded => None,
            Self::NotConfigured(reason) | Self::Broken(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Loads the pack that is configured; `None` when none is.
///
/// # Errors
/// [`AssemblyError::Pack`] with every mistake in it.
pub(crate) fn load_configured_pack(settings: &ModelSettings) -> Result<Option<Pack>, AssemblyError> {
    settings.pack.as_deref().map(Pack::load).transpose().map_err(AssemblyError::Pack)
}

/// Loads the pack for those who name none: the configured one, else the one in the binary.
///
/// # Errors
/// [`AssemblyError::Pack`] with every mistake in it.
pub(crate) fn default_pack(settings: &ModelSettings) -> Result<Pack, AssemblyError> {
    match load_configured_pack(settings)? {
        Some(pack) => Ok(pack),
        None => pack::embedded().map_err(AssemblyError::Pack),
    }
}

/// Loads every model for which there is what it needs, for the configured pack, else the one of the version that
/// serves, else the one in the binary. With a model server, `distilbert` is asked there.
///
/// # Errors
/// [`AssemblyError`] when the pack, or all models together, cannot be used. A model that is missing is no error.
pub(crate) fn assemble(
    settings: &ModelSettings,
    configured: Option<Pack>,
    remote: Option<&Arc<RemoteClient>>,
) -> Result<Assembly, AssemblyError> {
    assemble_only(&ModelKind::ALL, settings, configured, remote)
}

/// As [`assemble`], but loads nothing that only other models than `wanted` need.
///
/// # Errors
/// As [`assemble`].
pub(crate) fn assemble_only(
    wanted: &[ModelKind],
    settings: &ModelSettings,
    configured: Option<Pack>,
    remote: Option<&Arc<RemoteClient>>,
) -> Result<Assembly, AssemblyError> {
    let wants = |kind| wanted.contains(&kind);
    let version = ModelDirectory::new(&settings.directory).open_current();
    let is_configured = configured.is_some();
    let pack = match (configured, version.as_ref().ok().and_then(Option::as_ref).and_then(Version::pack_path)) {
        (Some(pack), _) => pack,
        (None, Some(path)) => Pack::load(&path).map_err(AssemblyError::Pack)?,
        (None, None) => pack::embedded().map_err(AssemblyError::Pack)?,
    };
    let mut models = Models::new(&pack, version);
    if wants(ModelKind::Rules) {
        models.add_rules()?;
    }
    if wants(ModelKind::Linear) {
        models.add_linear();
    }
    if wants(ModelKind::ZeroShot) || wants(ModelKind::Hybrid) {
        models.add_models_of_the_encoder(settings);
    }
    if wants(ModelKind::Distilbert) {
        match remote {
            Some(client) => models.add_remote_distilbert(client),
            None => models.add_distilbert(settings),
        }
    }
    let Models { version, loaded, availability, zero_shot, .. } = models;
    let mut name = match &version {
        Ok(Some(version)) => version.manifest().version.clone(),
        Ok(None) | Err(_) => UNTRAINED.to_owned(),
    };
    if is_configured {
        // Answers are remembered by this name: what they depend on must be in it.
        name = format!("{name}+{:.8}", pack.content_hash());
    }
    if let Some(client) = remote {
        name = format!("{name}+{}", client.label());
    }
    let catalog = Catalog::new(name, &pack.labels(), loaded).map_err(AssemblyError::Models)?;
    Ok(Assembly { catalog, pack, availability, zero_shot, remote: remote.cloned() })
}

/// What an assembly is made of, while it is made.
struct Models<'a> {
    pack: &'a Pack,
    version: Result<Option<Version>, ModelError>,
    loaded: Vec<LoadedModel>,
    availability: BTreeMap<ModelKind, Availability>,
    zero_shot: Option<Arc<LazyZeroShot>>,
}

impl<'a> Models<'a> {
    fn new(pack: &'a Pack, version: Result<Option<Version>, ModelError>) -> Self {
        Self { pack, version, loaded: Vec::new(), availability: BTreeMap::new(), zero_shot: None }
    }

    fn add_rules(&mut self) -> Result<(), AssemblyError> {
        let rules = Rules::compile(self.pack).map_err(AssemblyError::Models)?;
        if rules.is_empty() {
            self.miss(ModelKind::Rules, Availability::NotConfigured("the intent pack has no rules".to_owned()));
        } else {
            self.add(Backend::Inline(Arc::new(rules)));
        }
        Ok(())
    }

    fn add_linear(&mut self) {
        self.add_trained(ModelKind::Linear, |model| Backend::Inline(model), Version::linear);
    }

    /// Adds `zero_shot` and `hybrid`, which share the sentence encoder.
    fn add_models_of_the_encoder(&mut self, settings: &ModelSettings) {
        let folder = settings.encoder_directory();
        let encoder = if folder.is_dir() {
            SentenceEncoder::load(&folder, settings.encoder_precision)
                .map_err(|error| Availability::Broken(chain(&error)))
        } else {
            let folder = folder.display();
            Err(Availability::NotConfigured(format!("there is no sentence encoder in `{folder}`; see `models import`")))
        };
        match encoder {
            Ok(encoder) => {
                self.add_zero_shot(&encoder, settings.prewarm);
                self.add_trained(
                    ModelKind::Hybrid,
                    |model| Backend::Workers(model),
                    |version| version.hybrid(&encoder),
                );
            }
            Err(availability) => {
                self.miss(ModelKind::ZeroShot, availability.clone());
                self.miss(ModelKind::Hybrid, availability);
            }
        }
    }

    /// Adds `zero_shot` from the vectors of the version when they are for this pack; else it computes them on first use.
    fn add_zero_shot(&mut self, encoder: &SentenceEncoder, prewarm: bool) {
        let encoder = Arc::new(encoder.clone());
        let version = self.version.as_ref().ok().and_then(Option::as_ref);
        let vectors = version
            .and_then(Version::zero_shot_path)
            .and_then(|path| IntentVectors::load(&path).ok())
            .filter(|vectors| vectors.pack_hash() == self.pack.content_hash());
        let model = match vectors.map(|vectors| ZeroShot::with_vectors(vectors, Arc::clone(&encoder))) {
            Some(Ok(model)) => LazyZeroShot::loaded(model),
            Some(Err(_)) | None => LazyZeroShot::new(self.pack.clone(), encoder),
        };
        match prewarm.then(|| model.get().map(drop)).transpose() {
            Ok(_) => {
                let model = Arc::new(model);
                self.zero_shot = Some(Arc::clone(&model));
                self.add(Backend::Workers(model));
            }
            Err(error) => self.miss(ModelKind::ZeroShot, Availability::Broken(chain(&error))),
        }
    }

    fn add_distilbert(&mut self, settings: &ModelSettings) {
        let precision = settings.encoder_precision;
        self.add_trained(
            ModelKind::Distilbert,
            |model| Backend::Workers(model),
            |version| version.sequence_classifier(precision),
        );
    }

    /// Adds `distilbert` on a model server, with the calibration of the version's own, when it has one.
    fn add_remote_distilbert(&mut self, client: &Arc<RemoteClient>) {
        let model = RemoteClassifier::new(Arc::clone(client), self.pack.labels());
        self.add(Backend::Remote(Arc::new(model)));
    }

    /// Adds a model of the version that serves.
    fn add_trained<M: Model + 'static>(
        &mut self,
        kind: ModelKind,
        place: impl FnOnce(Arc<M>) -> Backend,
        load: impl FnOnce(&Version) -> Result<Option<M>, ModelError>,
    ) {
        let loaded = match &self.version {
            Ok(Some(version)) if version.manifest().labels != self.pack.labels() => {
                let (version, pack) = (&version.manifest().version, &self.pack.name);
                Err(Availability::Broken(format!(
                    "version `{version}` was trained for other intents than those of pack `{pack}`; train it again"
                )))
            }
            Ok(Some(version)) => match load(version) {
                Ok(Some(model)) => Ok(model),
                Ok(None) => Err(Availability::NotConfigured(format!(
                    "version `{}` has no such model",
                    version.manifest().version
                ))),
                Err(error) => Err(Availability::Broken(chain(&error))),
            },
            Ok(None) => Err(Availability::NotConfigured("no version has been trained and promoted yet".to_owned())),
            Err(error) => Err(Availability::Broken(chain(error))),
        };
        match loaded {
            Ok(model) => self.add(place(Arc::new(model))),
            Err(availability) => self.miss(kind, availability),
        }
    }

    /// Adds a model with what the version knows of it.
    fn add(&mut self, backend: Backend) {
        let kind = backend.kind();
        let version = self.version.as_ref().ok().and_then(Option::as_ref);
        let entry = version
            .map(Version::manifest)
            .filter(|manifest| manifest.labels == self.pack.labels())
            .and_then(|manifest| manifest.models.get(&kind));
        let is_remote = matches!(backend, Backend::Remote(_));
        let assumed_accuracy = if is_remote { UNMEASURED_REMOTE_ACCURACY } else { UNTRAINED_ACCURACY };
        self.loaded.push(LoadedModel {
            backend,
            calibration: entry.map_or_else(|| untrained_calibration(kind), |entry| entry.calibration),
            accuracy: entry.map_or(assumed_accuracy, |entry| entry.metrics.accuracy as f32),
            coverage: entry.map_or(UNTRAINED_COVERAGE, |entry| entry.metrics.coverage as f32),
        });
        self.availability.insert(kind, Availability::Loaded);
    }

    fn miss(&mut self, kind: ModelKind, availability: Availability) {
        self.availability.insert(kind, availability);
    }
}

fn untrained_calibration(kind: ModelKind) -> Calibration {
    if kind == ModelKind::Rules { Calibration::RULES } else { Calibration::IDENTITY }
}

/// Writes an error with its causes.
fn chain(error: &ModelError) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

impl Assembly {
    /// Returns why the models cannot replace those that serve; `None` when they can.
    pub(super) fn flaw(&self) -> Option<String> {
        let broken = self.availability.iter().find_map(|(kind, availability)| match availability {
            Availability::Broken(reason) => Some(format!("`{kind}` cannot be used: {reason}")),
            Availability::Loaded | Availability::NotConfigured(_) => None,
        });
        let is_empty = self.catalog.iter().next().is_none();
        broken.or_else(|| is_empty.then(|| "there is no model at all".to_owned()))
    }

    /// Returns what answers need of the pack.
    pub(super) fn served_pack(&self) -> ServedPack {
        ServedPack::new(&self.pack)
    }
}
