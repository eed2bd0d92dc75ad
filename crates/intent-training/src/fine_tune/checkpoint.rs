//! The state of a run, saved so that a broken run goes on where it was.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File},
    io::Write,
    path::Path,
};

use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use super::{EpochReport, FineTuneError, optimizer::Moments};

/// All that a run carries from one step to the next.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State {
    pub(crate) parameters: Vec<f32>,
    pub(crate) moments: Moments,
    /// The parameters of the best epoch so far.
    pub(crate) best: Option<Vec<f32>>,
    pub(crate) progress: RunProgress,
}

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunProgress {
    /// Steps done.
    pub(crate) step: usize,
    /// Sum of the losses of the epoch's steps so far.
    pub(crate) loss_sum: f64,
    pub(crate) epochs: Vec<EpochReport>,
}

impl State {
    /// Starts at the first step.
    pub(crate) fn new(parameters: Vec<f32>) -> Self {
        let zeros = vec![0.0; parameters.len()];
        Self {
            parameters,
            moments: Moments { first: zeros.clone(), second: zeros },
            best: None,
            progress: RunProgress::default(),
        }
    }

    /// Replaces the file at `path` as a whole: whoever reads it meets the old or the new state, never a part.
    ///
    /// `run` says which run this is: see [`State::load`].
    pub(crate) fn save(&self, path: &Path, run: &str) -> Result<(), FineTuneError> {
        let progress = serde_json::to_string(&self.progress).expect("plain numbers always serialise");
        let metadata = HashMap::from([("run".to_owned(), run.to_owned()), ("progress".to_owned(), progress)]);
        let mut vectors = vec![
            ("parameters", Floats(&self.parameters, vec![self.parameters.len()])),
            ("first_moment", Floats(&self.moments.first, vec![self.moments.first.len()])),
            ("second_moment", Floats(&self.moments.second, vec![self.moments.second.len()])),
        ];
        if let Some(best) = &self.best {
            vectors.push(("best", Floats(best, vec![best.len()])));
        }
        let bytes = safetensors::serialize(vectors, Some(metadata))
            .map_err(|error| FineTuneError::invalid(path, error.to_string()))?;
        write_atomically(path, &bytes)
    }

    /// Reads the state of the run `run`; `None` when there is no file.
    ///
    /// # Errors
    /// [`FineTuneError::InvalidFile`] when the file is of another run (other data, options or base model) or broken.
    pub(crate) fn load(path: &Path, run: &str) -> Result<Option<Self>, FineTuneError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FineTuneError::io(path)(error)),
        };
        Self::parse(&bytes, run).map(Some).map_err(|reason| FineTuneError::invalid(path, reason))
    }

    fn parse(bytes: &[u8], run: &str) -> Result<Self, String> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let metadata = header.metadata().as_ref().ok_or("it holds no run")?;
        if metadata.get("run").map(String::as_str) != Some(run) {
            return Err("it belongs to a run with other data, options or base model; \
                        repeat that run's command, or start anew without `--resume`"
                .to_owned());
        }
        let progress = metadata.get("progress").ok_or("it does not say where the run was")?;
        let progress = serde_json::from_str(progress).map_err(|error| error.to_string())?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let vector = |name: &str| {
            let view = file.tensor(name).map_err(|error| error.to_string())?;
            Ok::<_, String>(view.data().as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
        };
        Ok(Self {
            parameters: vector("parameters")?,
            moments: Moments { first: vector("first_moment")?, second: vector("second_moment")? },
            best: file.names().contains(&"best").then(|| vector("best")).transpose()?,
            progress,
        })
    }
}

/// Values with their shape, for a safetensors file.
pub(crate) struct Floats<'a>(pub(crate) &'a [f32], pub(crate) Vec<usize>);

impl View for Floats<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if cfg!(target_endian = "little") {
            Cow::Borrowed(bytemuck::cast_slice(self.0))
        } else {
            Cow::Owned(self.0.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0)
    }
}

/// Writes a file beside its place, flushes it to the disk and moves it there.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FineTuneError> {
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().map_err(FineTuneError::io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            best: Some(vec![0.5, -0.5]),
            progress: RunProgress {
                step: 7,
                loss_sum: 0.1 + 0.2,
                epochs: vec![EpochReport {
                    epoch: 1,
                    train_loss: 1.0 / 3.0,
                    validation_loss: Some(0.7),
                    validation_accuracy: Some(0.9),
                }],
            },
            ..State::new(vec![1.0, f32::MIN_POSITIVE])
        }
    }

    #[test]
    fn a_saved_state_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("checkpoint.safetensors");
        assert_eq!(State::load(&path, "a").expect("no file is fine"), None);
        state().save(&path, "a").expect("writable");
        assert_eq!(State::load(&path, "a").expect("readable"), Some(state()));
    }

    #[test]
    fn a_state_of_another_run_or_a_broken_one_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("checkpoint.safetensors");
        state().save(&path, "a").expect("writable");
        let error = State::load(&path, "b").expect_err("another run").to_string();
        assert!(error.contains("other data, options or base model"), "{error}");
        let bytes = fs::read(&path).expect("readable");
        fs::write(&path, &bytes[..bytes.len() - 3]).expect("writable");
        State::load(&path, "a").expect_err("truncated");
    }
}
