//! What can go wrong between a file and a score.

use std::{io, path::PathBuf};

/// A model could not be loaded or could not score.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("cannot access `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file was read but is not what it should be: truncated, mislabelled, of another shape.
    #[error("`{}` is not usable: {reason}", path.display())]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// A model directory has no such version.
    #[error("there is no version `{version}`, expected {}", one_of(known))]
    UnknownVersion {
        /// The version asked for.
        version: String,
        /// The versions that are there.
        known: Vec<String>,
    },
    /// The inference runtime failed on a batch.
    #[error("inference failed: {0}")]
    Inference(String),
}

impl ModelError {
    /// Makes an [`ModelError::InvalidFile`].
    pub fn invalid(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::InvalidFile { path: path.into(), reason: reason.into() }
    }

    /// Makes an [`ModelError::Io`]; fits `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

fn one_of(names: &[String]) -> String {
    match names {
        [] => "none: nothing has been trained here yet".to_owned(),
        names => format!("one of {}", names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}
