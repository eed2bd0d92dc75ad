//! Model directories: trained versions side by side, and which of them serves.
//!
//! ```text
//! MODEL_DIR/
//!   encoder/               the sentence encoder, shared by all versions
//!   versions/<version>/    model.json and the files it lists
//!   CURRENT                one line: the version that serves
//!   HISTORY                the versions that served, oldest first, ending with the current one
//! ```
//!
//! A version is written to a temporary folder and renamed, so that it is there as a whole or not at all; it is never
//! changed afterwards. Every file is checked against its length and SHA-256 before it is used.

mod checksum;
mod manifest;
mod version;
mod write;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use manifest::{
    DataSummary, FileEntry, Manifest, MeasuredOn, ModelEntry, ModelMetrics, PackReference, SCHEMA_VERSION,
    TrainingSettings,
};
pub use version::{Version, ZERO_SHOT_FILE};
pub use write::{Content, NewVersion, version_name};

use crate::{ModelError, trust};

const VERSIONS: &str = "versions";
const CURRENT: &str = "CURRENT";
const HISTORY: &str = "HISTORY";

/// The folder that holds the versions of a service's models.
#[derive(Clone, Debug)]
pub struct ModelDirectory {
    root: PathBuf,
}

/// A version as `models list` shows it.
#[derive(Debug)]
pub struct ListedVersion {
    /// Its name.
    pub name: String,
    /// Whether it serves.
    pub current: bool,
    /// What it says of itself, or why that cannot be read.
    pub manifest: Result<Manifest, ModelError>,
}

impl ModelDirectory {
    /// Names a model directory; nothing is read or created yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where the encoder is.
    pub fn encoder_path(&self) -> PathBuf {
        self.root.join("encoder")
    }

    /// Returns the version that serves; `None` when none was promoted yet.
    ///
    /// # Errors
    /// [`ModelError::Io`], or [`ModelError::InvalidFile`] when `CURRENT` does not hold a version's name.
    pub fn current(&self) -> Result<Option<String>, ModelError> {
        let path = self.root.join(CURRENT);
        if path.exists() {
            trust::check(&self.root, &path)?;
        }
        match fs::read_to_string(&path) {
            Ok(content) => {
                let name = content.trim();
                if !is_version_name(name) {
                    return Err(ModelError::invalid(
                        path,
                        format!("it holds {name:?}, expected the name of a version"),
                    ));
                }
                Ok(Some(name.to_owned()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ModelError::io(path)(error)),
        }
    }

    /// Lists the versions, oldest first. One that cannot be read is listed with the reason, last.
    ///
    /// # Errors
    /// [`ModelError::Io`] when the folder itself cannot be read; a folder that is not there has no versions.
    pub fn list(&self) -> Result<Vec<ListedVersion>, ModelError> {
        let current = self.current().ok().flatten();
        let mut versions: Vec<ListedVersion> = self
            .names()?
            .into_iter()
            .map(|name| ListedVersion {
                current: current.as_deref() == Some(&name),
                manifest: self.manifest(&name),
                name,
            })
            .collect();
        versions.sort_by_cached_key(|version| {
            let created_at = version.manifest.as_ref().ok().map(|manifest| manifest.created_at.clone());
            (created_at.is_none(), created_at, version.name.clone())
        });
        Ok(versions)
    }

    /// Reads what a version says of itself.
    ///
    /// # Errors
    /// [`ModelError::UnknownVersion`], [`ModelError::Io`], or [`ModelError::InvalidFile`] when `model.json` is damaged,
    /// of another schema, or names files outside the version's folder.
    pub fn manifest(&self, version: &str) -> Result<Manifest, ModelError> {
        Ok(Version::open(&self.folder(version)?)?.into_manifest())
    }

    /// Opens a version after checking every file of it.
    ///
    /// # Errors
    /// As [`ModelDirectory::manifest`] and [`Version::verify`].
    pub fn open(&self, version: &str) -> Result<Version, ModelError> {
        let version = Version::open(&self.folder(version)?)?;
        version.verify()?;
        Ok(version)
    }

    /// Opens the version that serves, after checking every file of it; `None` when none was promoted yet.
    ///
    /// # Errors
    /// As [`ModelDirectory::current`] and [`ModelDirectory::open`].
    pub fn open_current(&self) -> Result<Option<Version>, ModelError> {
        self.current()?.map(|version| self.open(&version)).transpose()
    }

    /// Makes a version the one that serves, after checking it.
    ///
    /// # Errors
    /// As [`ModelDirectory::open`]; nothing has changed then.
    pub fn promote(&self, version: &str) -> Result<(), ModelError> {
        self.open(version)?;
        let mut history = self.history()?;
        if history.last().is_none_or(|last| last != version) {
            history.push(version.to_owned());
        }
        self.set_current(version, &history)
    }

    /// Goes back to the version that served before, after checking it; returns its name. Versions that were deleted
    /// since are passed over.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] when no version served before, and as [`ModelDirectory::open`]; nothing has changed
    /// then.
    pub fn rollback(&self) -> Result<String, ModelError> {
        let current = self.current()?;
        let mut history = self.history()?;
        let present = self.names()?;
        while history.last().is_some_and(|last| Some(last) == current.as_ref() || !present.contains(last)) {
            history.pop();
        }
        let Some(previous) = history.last().cloned() else {
            let reason = "no version served before the current one: promote one by its name";
            return Err(ModelError::invalid(self.root.join(HISTORY), reason));
        };
        self.open(&previous)?;
        self.set_current(&previous, &history)?;
        Ok(previous)
    }

    /// Writes a version; returns its name. It does not serve until it is promoted.
    ///
    /// # Errors
    /// [`ModelError::Io`], or [`ModelError::InvalidFile`] when the version is there already; nothing half-written is
    /// left then.
    pub fn write(&self, version: NewVersion) -> Result<String, ModelError> {
        let versions = self.root.join(VERSIONS);
        fs::create_dir_all(&versions).map_err(ModelError::io(&versions))?;
        write::write_version(&versions, version)
    }

    /// Writes history first: should the program stop in between, the next promotion or rollback finds its way.
    fn set_current(&self, version: &str, history: &[String]) -> Result<(), ModelError> {
        write::replace_file(&self.root.join(HISTORY), (history.join("\n") + "\n").as_bytes())?;
        write::replace_file(&self.root.join(CURRENT), format!("{version}\n").as_bytes())
    }

    fn history(&self) -> Result<Vec<String>, ModelError> {
        let path = self.root.join(HISTORY);
        match fs::read_to_string(&path) {
            Ok(content) => {
                Ok(content.lines().map(str::trim).filter(|name| is_version_name(name)).map(str::to_owned).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(ModelError::io(path)(error)),
        }
    }

    /// Returns the names of all version folders, in alphabetic order.
    fn names(&self) -> Result<Vec<String>, ModelError> {
        let folder = self.root.join(VERSIONS);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ModelError::io(folder)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ModelError::io(&folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_version_name(&name) && entry.path().is_dir() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn folder(&self, version: &str) -> Result<PathBuf, ModelError> {
        let folder = self.root.join(VERSIONS).join(version);
        if is_version_name(version) && folder.is_dir() {
            return Ok(folder);
        }
        Err(ModelError::UnknownVersion { version: version.to_owned(), known: self.names()? })
    }
}

/// Tells whether a name can be that of a version: letters, digits, `.`, `_` and `-`, not beginning with a dot.
fn is_version_name(name: &str) -> bool {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    !name.is_empty() && name.len() <= 200 && !name.starts_with('.') && name.chars().all(allowed)
}

#[cfg(test)]
mod tests;
