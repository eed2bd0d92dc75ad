//! Which models answer, and with what resources.

use std::{
    path::{Path, PathBuf},
    thread,
};

use confique::Config;
use intent_model::encoder::Precision;

use super::ConfigError;

/// Which models answer, and with what resources.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct ModelSettings {
    /// Folder or TOML file of the intent pack. Unset: the pack of the model version that serves, else the one in the
    /// binary.
    #[config(env = "INTENT_PACK")]
    #[config(validate = not_empty)]
    pub(crate) pack: Option<PathBuf>,

    /// Model directory: `versions/`, `CURRENT` and, unless set elsewhere, `encoder/`.
    #[config(env = "MODEL_DIR", default = "./models")]
    #[config(validate = not_empty)]
    pub(crate) directory: PathBuf,

    /// Folder of the sentence encoder, as written by `models import`. Unset: `encoder` in the model directory.
    #[config(env = "ENCODER_DIR")]
    #[config(validate = not_empty)]
    pub(crate) encoder_directory: Option<PathBuf>,

    /// Arithmetic of the sentence encoder: `int8`, or `fp32` at twice the time. Models answer best with the one they
    /// were trained with.
    #[config(env = "ENCODER_PRECISION", default = "int8")]
    pub(crate) encoder_precision: Precision,

    /// Whether models that load on first use are loaded at start.
    #[config(env = "PREWARM_MODELS", default = false)]
    pub(crate) prewarm: bool,

    /// Inference threads. Unset: one per processor.
    #[config(env = "MAX_WORKERS")]
    #[config(validate((1..=1024).contains(max_workers), "there must be 1 to 1024 inference threads"))]
    pub(crate) max_workers: Option<usize>,

    /// Most texts a model takes at once.
    #[config(env = "MODEL_BATCH_SIZE", default = 32)]
    #[config(validate((1..=1024).contains(batch_size), "a batch must have 1 to 1024 texts"))]
    pub(crate) batch_size: usize,

    /// Most texts in flight, waiting ones included, single and batch requests alike; more are refused with 503 and
    /// `Retry-After`. Unset: 512 per inference thread.
    #[config(env = "MAX_TEXTS_IN_FLIGHT")]
    #[config(validate((100..=10_000_000).contains(max_texts_in_flight), "expected 100, the largest batch, to 10000000"))]
    pub(crate) max_texts_in_flight: Option<usize>,
}

impl ModelSettings {
    /// The most texts in flight for each inference thread, unless it is set: what is more would wait longer than anyone
    /// does.
    const TEXTS_IN_FLIGHT_PER_WORKER: usize = 512;

    /// Looks for models in another directory; the encoder is the one in it, when it has one.
    pub(crate) fn use_directory(&mut self, directory: &Path) {
        let encoder = directory.join("encoder");
        self.encoder_directory = Some(if encoder.exists() { encoder } else { self.encoder_directory() });
        self.directory = directory.to_owned();
    }

    /// Returns the folder of the sentence encoder; it need not exist.
    pub(crate) fn encoder_directory(&self) -> PathBuf {
        self.encoder_directory.clone().unwrap_or_else(|| self.directory.join("encoder"))
    }

    /// Returns the number of inference threads.
    pub(crate) fn workers(&self) -> usize {
        self.max_workers.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
    }

    /// Returns the most texts in flight.
    pub(crate) fn max_texts_in_flight(&self) -> usize {
        self.max_texts_in_flight.unwrap_or(self.workers() * Self::TEXTS_IN_FLIGHT_PER_WORKER)
    }

    /// Checks that what was named on purpose exists. A default may be missing: the server starts with what it has.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let named = [("INTENT_PACK", &self.pack), ("ENCODER_DIR", &self.encoder_directory)];
        for (variable, path) in named {
            if let Some(path) = path {
                must_exist(variable, path)?;
            }
        }
        Ok(())
    }
}

fn not_empty(path: &impl AsRef<Path>) -> Result<(), &'static str> {
    if path.as_ref().as_os_str().is_empty() { Err("the path must not be empty") } else { Ok(()) }
}

pub(super) fn must_exist(variable: &'static str, path: &Path) -> Result<(), ConfigError> {
    if path.exists() {
        return Ok(());
    }
    let reason = format!("`{}` does not exist", path.display());
    Err(ConfigError::Invalid { variable, reason })
}
