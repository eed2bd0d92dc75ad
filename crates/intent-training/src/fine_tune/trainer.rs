//! The training loop.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::progress::Progress;

use super::{
    FineTuneError, Options,
    checkpoint::State,
    examples::{Example, Examples, class_weights, shuffled},
    network::{DropoutRates, Network, loss::log_softmax, mix},
    optimizer::Optimizer,
    shards::{Objective, Shards, thread_pool},
};

/// Steps between two checkpoints within an epoch; there is one at the end of each epoch besides.
const CHECKPOINT_STEPS: usize = 500;

/// How an epoch went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Mean loss over the steps of the epoch, label smoothing and consistency included.
    pub train_loss: f64,
    /// Mean cross-entropy on the validation examples; `None` when there are none.
    pub validation_loss: Option<f64>,
    /// Share of the validation examples that are answered right, 0 to 1; `None` when there are none.
    pub validation_accuracy: Option<f64>,
}

impl EpochReport {
    /// Tells whether this epoch's parameters are to be preferred: by accuracy, then by loss. Without validation
    /// examples the later epoch is.
    fn beats(&self, other: &Self) -> bool {
        match (self.validation_accuracy, other.validation_accuracy) {
            (Some(mine), Some(theirs)) if mine != theirs => mine > theirs,
            _ => match (self.validation_loss, other.validation_loss) {
                (Some(mine), Some(theirs)) => mine < theirs,
                _ => self.epoch > other.epoch,
            },
        }
    }
}

/// A run in progress.
#[derive(Debug)]
pub(crate) struct Trainer<'a> {
    network: &'a Network,
    examples: &'a Examples,
    options: &'a Options,
    objective: Objective,
    optimizer: Optimizer,
    shards: Shards,
    /// Where the update runs.
    pool: rayon::ThreadPool,
    steps_per_epoch: usize,
    run: String,
    state: State,
}

/// What a run ends with.
#[derive(Debug)]
pub(crate) struct Trained {
    /// The parameters of the best epoch.
    pub(crate) parameters: Vec<f32>,
    /// Their logits on the validation examples, one row per example.
    pub(crate) validation_logits: Vec<f32>,
    /// The best epoch, from 1.
    pub(crate) best_epoch: usize,
    pub(crate) epochs: Vec<EpochReport>,
}

impl<'a> Trainer<'a> {
    /// Prepares a run from the given parameters.
    pub(crate) fn new(
        network: &'a Network,
        parameters: Vec<f32>,
        examples: &'a Examples,
        options: &'a Options,
        threads: usize,
    ) -> Result<Self, FineTuneError> {
        let steps_per_epoch = examples.train.len().div_ceil(options.batch_size);
        Ok(Self {
            network,
            examples,
            options,
            objective: Objective {
                class_weights: class_weights(&examples.train, network.architecture.labels, options.class_balance),
                label_smoothing: options.label_smoothing,
                consistency: options.consistency,
                rates: DropoutRates { encoder: options.dropout, head: options.head_dropout },
            },
            optimizer: Optimizer::new(&network.layout, options, steps_per_epoch * options.epochs),
            shards: Shards::new(options.shards, threads)?,
            pool: thread_pool(threads.max(1))?,
            steps_per_epoch,
            run: identify_run(options, examples, &parameters),
            state: State::new(parameters),
        })
    }

    /// Goes on from a checkpoint, when there is one. Tells whether there was.
    pub(crate) fn resume(&mut self, checkpoint: &Path) -> Result<bool, FineTuneError> {
        let found = State::load(checkpoint, &self.run)?;
        let resumed = found.is_some();
        if let Some(state) = found {
            self.state = state;
        }
        Ok(resumed)
    }

    /// Trains to the end, saving checkpoints to `checkpoint` when given.
    pub(crate) fn train(
        mut self,
        checkpoint: Option<&Path>,
        progress: &dyn Progress,
    ) -> Result<Trained, FineTuneError> {
        let total = self.steps_per_epoch * self.options.epochs;
        progress.stage("fine-tune", total as u64);
        let done = self.state.progress.step;
        if done > 0 {
            progress.skip(done as u64);
            progress.note(&format!("going on after step {done} of {total}"));
        }
        while !self.is_done() {
            self.step(progress)?;
            let step = self.state.progress.step;
            let ends_epoch = step.is_multiple_of(self.steps_per_epoch);
            if ends_epoch {
                self.end_epoch(progress);
            }
            if let Some(path) = checkpoint
                && (ends_epoch || step.is_multiple_of(CHECKPOINT_STEPS))
            {
                self.state.save(path, &self.run)?;
            }
        }
        let parameters = self.state.best.take().unwrap_or(self.state.parameters);
        let best_epoch = best(&self.state.progress.epochs).map_or(0, |report| report.epoch);
        let texts: Vec<&[u32]> = self.examples.validation.iter().map(|example| example.tokens.as_slice()).collect();
        let validation_logits = self.shards.logits(self.network, &parameters, &texts);
        Ok(Trained { parameters, validation_logits, best_epoch, epochs: self.state.progress.epochs })
    }

    fn is_done(&self) -> bool {
        let done = &self.state.progress;
        let best_epoch = best(&done.epochs).map_or(0, |report| report.epoch);
        done.step >= self.steps_per_epoch * self.options.epochs
            || done.epochs.len() >= best_epoch + self.options.patience
    }

    fn step(&mut self, progress: &dyn Progress) -> Result<(), FineTuneError> {
        let step = self.state.progress.step;
        let (epoch, first) = (step / self.steps_per_epoch, step % self.steps_per_epoch * self.options.batch_size);
        let order = shuffled(self.examples.train.len(), self.options.seed, epoch);
        let batch: Vec<&Example> =
            order[first..].iter().take(self.options.batch_size).map(|&index| &self.examples.train[index]).collect();
        let seed = mix(!self.options.seed, step as u64);
        let Self { shards, state, optimizer, pool, .. } = self;
        let (loss, mut gradients) = shards.gradient(self.network, &state.parameters, &self.objective, &batch, seed);
        if !loss.is_finite() {
            let learning_rate = self.options.learning_rate;
            return Err(FineTuneError::Diverged { step: step + 1, loss, learning_rate });
        }
        let State { parameters, moments, .. } = state;
        pool.install(|| optimizer.step(step, parameters, moments, &mut gradients));
        state.progress.step += 1;
        state.progress.loss_sum += loss;
        progress.advance(1);
        let accuracy = state.progress.epochs.last().and_then(|report| report.validation_accuracy);
        let accuracy = accuracy.map_or(String::new(), |accuracy| format!(", validation {:.2} %", 100.0 * accuracy));
        progress.status(&format!("epoch {}/{}, loss {loss:.4}{accuracy}", epoch + 1, self.options.epochs));
        Ok(())
    }

    fn end_epoch(&mut self, progress: &dyn Progress) {
        let validation = &self.examples.validation;
        let (validation_loss, validation_accuracy) = if validation.is_empty() {
            (None, None)
        } else {
            let texts: Vec<&[u32]> = validation.iter().map(|example| example.tokens.as_slice()).collect();
            let logits = self.shards.logits(self.network, &self.state.parameters, &texts);
            let (loss, accuracy) = measure(&logits, validation, self.network.architecture.labels);
            (Some(loss), Some(accuracy))
        };
        let done = &mut self.state.progress;
        let report = EpochReport {
            epoch: done.epochs.len() + 1,
            train_loss: std::mem::take(&mut done.loss_sum) / self.steps_per_epoch as f64,
            validation_loss,
            validation_accuracy,
        };
        if best(&done.epochs).is_none_or(|best| report.beats(best)) {
            self.state.best.get_or_insert_default().clone_from(&self.state.parameters);
        }
        done.epochs.push(report);
        progress.note(&describe(&report));
    }
}

fn best(epochs: &[EpochReport]) -> Option<&EpochReport> {
    epochs.iter().reduce(|best, report| if report.beats(best) { report } else { best })
}

fn describe(report: &EpochReport) -> String {
    let EpochReport { epoch, train_loss, .. } = report;
    match (report.validation_loss, report.validation_accuracy) {
        (Some(loss), Some(accuracy)) => format!(
            "epoch {epoch}: train loss {train_loss:.4}, validation loss {loss:.4}, validation accuracy {:.2} %",
            100.0 * accuracy
        ),
        _ => format!("epoch {epoch}: train loss {train_loss:.4}"),
    }
}

/// Returns mean cross-entropy and accuracy.
fn measure(logits: &[f32], examples: &[Example], labels: usize) -> (f64, f64) {
    let (mut loss, mut right) = (0.0, 0_usize);
    let mut log_probabilities = vec![0.0; labels];
    for (row, example) in logits.chunks_exact(labels).zip(examples) {
        log_softmax(row, &mut log_probabilities);
        loss -= f64::from(log_probabilities[example.label]);
        let top = (0..labels).max_by(|&a, &b| row[a].total_cmp(&row[b]));
        right += usize::from(top == Some(example.label));
    }
    (loss / examples.len() as f64, right as f64 / examples.len() as f64)
}

/// Returns a fingerprint of all that decides how a run goes.
fn identify_run(options: &Options, examples: &Examples, parameters: &[f32]) -> String {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(options).expect("plain numbers always serialise"));
    for example in examples.train.iter().chain(&examples.validation) {
        hash.update((example.label as u64).to_le_bytes());
        hash.update((example.tokens.len() as u64).to_le_bytes());
        hash.update(bytemuck::cast_slice(&example.tokens));
    }
    hash.update((examples.train.len() as u64).to_le_bytes());
    hash.update(bytemuck::cast_slice(&examples.vocabulary));
    hash.update(bytemuck::cast_slice(parameters));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
