//! One version on disk: checking and loading it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;

use super::{Manifest, SCHEMA_VERSION, checksum};
use crate::{
    Hybrid, ModelError, ModelKind, SentenceEncoder, SequenceClassifier, linear::Linear, transformer::Precision, trust,
};

const MANIFEST: &str = "model.json";
/// The file of a version that holds what the zero-shot model computed from the pack.
pub const ZERO_SHOT_FILE: &str = "zero_shot.bin";
/// The largest manifest that is read, in bytes.
const MAX_MANIFEST_BYTES: u64 = 64 << 20;

/// A version on disk.
#[derive(Clone, Debug)]
pub struct Version {
    folder: PathBuf,
    manifest: Manifest,
}

impl Version {
    /// Reads the `model.json` of a version's folder; the other files are not looked at.
    ///
    /// # Errors
    /// [`ModelError::Io`], or [`ModelError::InvalidFile`] when `model.json` is damaged, of another schema, or names files
    /// outside the folder.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(MANIFEST);
        trust::check(root_of(folder), &path)?;
        let content = trust::read(&path, MAX_MANIFEST_BYTES)?;
        let invalid = |reason: String| ModelError::invalid(&path, reason);

        /// The part that every schema has.
        #[derive(Deserialize)]
        struct Schema {
            schema: u32,
        }
        let Schema { schema } = serde_json::from_slice(&content).map_err(|error| invalid(error.to_string()))?;
        if schema != SCHEMA_VERSION {
            return Err(invalid(format!("it has schema {schema}, this program reads {SCHEMA_VERSION}")));
        }
        let manifest: Manifest = serde_json::from_slice(&content).map_err(|error| invalid(error.to_string()))?;

        let paths = manifest.files.keys().chain(manifest.models.values().filter_map(|model| model.path.as_ref()));
        for listed in paths {
            if !stays_within(listed) {
                return Err(invalid(format!("it names `{listed}`, which is not within the version's folder")));
            }
        }
        let name = folder.file_name().unwrap_or_default();
        if name != manifest.version.as_str() {
            let (found, name) = (&manifest.version, name.display());
            return Err(invalid(format!("it describes version `{found}`, but its folder is `{name}`")));
        }
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// Checks that every listed file is there with its length and SHA-256, and that no other is.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] naming every file that is missing, damaged or not listed; [`ModelError::Io`].
    pub fn verify(&self) -> Result<(), ModelError> {
        let mut problems = Vec::new();
        for (name, expected) in &self.manifest.files {
            let path = self.folder.join(name);
            if !path.is_file() {
                problems.push(format!("`{name}` is missing"));
                continue;
            }
            if let Err(error) = trust::check(root_of(&self.folder), &path) {
                problems.push(error.to_string());
                continue;
            }
            let found = checksum::of_file(&path)?;
            if found.bytes != expected.bytes {
                problems.push(format!("`{name}` has {} bytes, expected {}", found.bytes, expected.bytes));
            } else if found.sha256 != expected.sha256 {
                problems.push(format!("`{name}` has SHA-256 {}, expected {}", found.sha256, expected.sha256));
            }
        }
        let mut present = BTreeSet::new();
        list_files(&self.folder, "", &mut present)?;
        for name in present.iter().filter(|name| *name != MANIFEST && !self.manifest.files.contains_key(*name)) {
            problems.push(format!("`{name}` is not listed in `{MANIFEST}`"));
        }
        if problems.is_empty() { Ok(()) } else { Err(ModelError::invalid(&self.folder, problems.join("; "))) }
    }

    /// Returns the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns what the version says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Gives the manifest away.
    pub(super) fn into_manifest(self) -> Manifest {
        self.manifest
    }

    /// Returns where a model of this version is; `None` when there is none, or it is made from the pack.
    pub fn model_path(&self, kind: ModelKind) -> Option<PathBuf> {
        self.manifest.models.get(&kind)?.path.as_ref().map(|path| self.folder.join(path))
    }

    /// Returns where the version's pack is; `None` when it has none.
    pub fn pack_path(&self) -> Option<PathBuf> {
        self.manifest.files.contains_key("pack.toml").then(|| self.folder.join("pack.toml"))
    }

    /// Returns where the vectors of the zero-shot model are; `None` when they were not kept.
    pub fn zero_shot_path(&self) -> Option<PathBuf> {
        self.manifest.files.contains_key(ZERO_SHOT_FILE).then(|| self.folder.join(ZERO_SHOT_FILE))
    }

    /// Loads the n-gram classifier; `None` when the version has none.
    ///
    /// # Errors
    /// As [`Linear::load`], and when its labels are not those of the version.
    pub fn linear(&self) -> Result<Option<Linear>, ModelError> {
        let Some(path) = self.model_path(ModelKind::Linear) else { return Ok(None) };
        let model = Linear::load(&path)?;
        self.check_labels(&path, &model)?;
        Ok(Some(model))
    }

    /// Loads the hybrid classifier for the encoder it was trained with; `None` when the version has none.
    ///
    /// # Errors
    /// As [`Hybrid::load`], and when its labels are not those of the version.
    pub fn hybrid(&self, encoder: &SentenceEncoder) -> Result<Option<Hybrid>, ModelError> {
        let Some(path) = self.model_path(ModelKind::Hybrid) else { return Ok(None) };
        let model = Hybrid::load(&path, encoder.clone())?;
        self.check_labels(&path, &model)?;
        Ok(Some(model))
    }

    /// Loads the fine-tuned classifier; `None` when the version has none.
    ///
    /// # Errors
    /// As [`SequenceClassifier::load`].
    pub fn sequence_classifier(&self, precision: Precision) -> Result<Option<SequenceClassifier>, ModelError> {
        let Some(path) = self.model_path(ModelKind::Distilbert) else { return Ok(None) };
        SequenceClassifier::load(&path, precision, &self.manifest.labels).map(Some)
    }

    fn check_labels(&self, path: &Path, model: &dyn crate::Model) -> Result<(), ModelError> {
        if *model.labels() == self.manifest.labels {
            return Ok(());
        }
        let (found, expected) = (model.labels().len(), self.manifest.labels.len());
        let reason =
            format!("its {found} labels are not the {expected} of `{MANIFEST}`: the files are of two versions");
        Err(ModelError::invalid(path, reason))
    }
}

/// Returns the model directory that a version's folder is in; its links may lead about within that.
fn root_of(folder: &Path) -> &Path {
    let versions = folder.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "versions"));
    versions.and_then(Path::parent).filter(|root| !root.as_os_str().is_empty()).unwrap_or(folder)
}

/// Tells whether a relative path leads to a place within the folder it is relative to.
fn stays_within(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_))) && !path.contains('\\')
}

/// Collects the paths of all files below `folder`, joined by `/`.
fn list_files(folder: &Path, prefix: &str, files: &mut BTreeSet<String>) -> Result<(), ModelError> {
    for entry in fs::read_dir(folder).map_err(ModelError::io(folder))? {
        let entry = entry.map_err(ModelError::io(folder))?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(ModelError::io(entry.path()))?.is_dir() {
            list_files(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name);
        }
    }
    Ok(())
}
