//! What can go wrong in fine-tuning.

use std::{io, path::PathBuf};

/// A model could not be fine-tuned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FineTuneError {
    /// A file could not be read or written.
    #[error("cannot access `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("`{}` is not usable: {reason}", path.display())]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        reason: String,
    },
    /// The examples cannot be trained on.
    #[error("{0}")]
    Data(String),
    /// An option has a value that makes no sense.
    #[error("option `{name}` is {value}, expected {expected}")]
    Option {
        /// The option.
        name: String,
        /// What was given.
        value: String,
        /// What would do.
        expected: &'static str,
    },
    /// There is no option of this name.
    #[error("there is no option `{name}`, known are {known}")]
    UnknownOption {
        /// The name.
        name: String,
        /// All names, for people.
        known: String,
    },
    /// The model to start from cannot be used.
    #[error("cannot start from this model")]
    Base(#[source] intent_model::ModelError),
    /// The trained model could not be made into one that serves.
    #[error("the trained model cannot be converted for serving")]
    Model(#[from] intent_model::ModelError),
    /// The threads to compute on could not be started.
    #[error("cannot start threads to train on")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// The loss is no longer a number.
    #[error("training diverged in step {step}: the loss is {loss}; try a smaller learning rate than {learning_rate}")]
    Diverged {
        /// The step, from 1.
        step: usize,
        /// What became of the loss.
        loss: f64,
        /// The highest learning rate of the run.
        learning_rate: f32,
    },
}

impl FineTuneError {
    /// Makes an [`FineTuneError::InvalidFile`].
    pub(crate) fn invalid(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::InvalidFile { path: path.into(), reason: reason.into() }
    }

    /// Makes an [`FineTuneError::Io`]; fits `map_err`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
