//! Transformer models on rten: from texts to tokens, batches and output rows.
//!
//! A model directory holds `tokenizer.json`, `model.onnx` (fp32) and `model.int8.onnx`, and a [`Specification`] that
//! says what they are; [`crate::import`] writes such directories. Directories made by others, with `model.onnx` and
//! `tokenizer.json` and perhaps the `config.json` of Hugging Face, are read as well.

mod batch;
mod graph_check;
mod session;
mod specification;
#[cfg(test)]
mod tests;
mod thread;
mod tokenizer;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub(crate) use self::{
    session::Session,
    specification::{FileEntry, MAX_JSON_BYTES, MODEL_FP32, MODEL_INT8, TOKENIZER, Task, read_limits},
    tokenizer::TextTokenizer,
};
pub use self::{
    specification::{Pooling, Specification},
    thread::{compute_inline, map_chunks},
};
use crate::{ModelError, stage};

/// With which arithmetic a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Matrix products of 8-bit integers: weights with one scale per output, activations with one per token.
    #[default]
    Int8,
    /// 32-bit floats throughout.
    Fp32,
}

impl Precision {
    /// Returns the name used in settings and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp32 => "fp32",
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "int8" => Ok(Self::Int8),
            "fp32" => Ok(Self::Fp32),
            _ => Err(format!("unknown precision `{name}`, expected `int8` or `fp32`")),
        }
    }
}

/// A loaded transformer: the tokenizer, the graph, and how both are to be used.
#[derive(Debug)]
pub(crate) struct Transformer {
    tokenizer: TextTokenizer,
    session: Session,
    specification: Specification,
    precision: Precision,
    fingerprint: String,
    /// Whether texts may share a run: not so when the graph quantises a whole batch with one scale.
    batches: bool,
}

/// What a model is tried out with.
const PROBE: [&str; 2] = [
    "Please write me a Python function that reverses a string; my order #123 was charged twice, and what is the weather?",
    "hello",
];

/// What the graph says of one text.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The pooled embedding before normalisation, or the logits.
    pub(crate) values: Vec<f32>,
    /// Whether the end of the text was not read.
    pub(crate) truncated: bool,
}

impl Transformer {
    /// Loads a model directory and runs it once.
    ///
    /// # Errors
    /// [`ModelError::Io`] when a file cannot be read, [`ModelError::InvalidFile`] when one is broken or does not fit
    /// the others.
    pub(crate) fn load(directory: &Path, precision: Precision, task: Task) -> Result<Self, ModelError> {
        let found = specification::open(directory, precision, task)?;
        let tokenizer = TextTokenizer::load(&directory.join(TOKENIZER), &found.specification)?;
        let session = Session::load(&found.model, task)?;
        let mut transformer = Self {
            tokenizer,
            session,
            specification: found.specification,
            precision: found.precision,
            fingerprint: found.fingerprint,
            batches: true,
        };
        transformer.probe(task)?;
        Ok(transformer)
    }

    /// Returns how the model is to be used.
    pub(crate) fn specification(&self) -> &Specification {
        &self.specification
    }

    /// Returns the arithmetic of the file that was loaded.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns the digest of everything that decides the output.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Runs the texts in batches of similar length; the rows come back in the order of the texts.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the tokenizer or the runtime fails.
    pub(crate) fn run(&self, texts: &[&str]) -> Result<Vec<Row>, ModelError> {
        let stage = stage::tokenising();
        let tokens = texts.iter().map(|text| self.tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
        drop(stage);
        let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.ids.len()).collect();
        let mut rows: Vec<Option<Row>> = vec![None; texts.len()];
        for group in batch::groups(&lengths, self.batches) {
            let members: Vec<_> = group.iter().map(|&index| &tokens[index]).collect();
            let outputs = self.session.run(&members, self.specification.pad_token_id)?;
            for (&index, values) in group.iter().zip(outputs.pooled(&members, self.specification.pooling)) {
                rows[index] = Some(Row { values, truncated: tokens[index].truncated });
            }
        }
        Ok(rows.into_iter().map(|row| row.expect("the groups hold every text once")).collect())
    }

    /// Runs two texts alone and together: a file that does not work is found now rather than at the first request,
    /// and a graph whose texts disturb each other is run text by text from now on.
    fn probe(&mut self, task: Task) -> Result<(), ModelError> {
        self.batches = false;
        let alone = self.run(&PROBE).map_err(|error| self.session.unusable(&error))?;
        if alone.iter().any(|row| row.values.iter().any(|value| !value.is_finite())) {
            return Err(self.invalid("its output is not finite"));
        }
        self.check_width(task, alone[0].values.len())?;
        self.check_repeats(&alone[0].values)?;
        let together = self.run_together(&PROBE)?;
        self.batches = alone.iter().zip(&together).all(|(a, b)| cosine(&a.values, &b.values) >= 0.9999);
        Ok(())
    }

    fn check_width(&mut self, task: Task, width: usize) -> Result<(), ModelError> {
        let (what, expected) = match task {
            Task::Embedding => ("dimensions", *self.specification.hidden_size.get_or_insert(width)),
            Task::Classification => ("labels", self.specification.labels.len()),
        };
        if width == expected {
            return Ok(());
        }
        Err(self.invalid(format!("its output has {width} {what}, but the files beside it say {expected}")))
    }

    /// Compares with what the same graph answered when it was imported, perhaps on another machine: processors without
    /// 8-bit dot products (VNNI) lose what does not fit into 16 bits.
    fn check_repeats(&self, values: &[f32]) -> Result<(), ModelError> {
        const SMALLEST_COSINE: f32 = 0.99;
        let Some(imported) = self.specification.probes.get(&self.precision) else { return Ok(()) };
        let cosine = cosine(values, imported);
        if cosine >= SMALLEST_COSINE {
            return Ok(());
        }
        Err(self.invalid(format!(
            "it does not compute here what it computed when it was imported (cosine {cosine:.3}, expected at least \
             {SMALLEST_COSINE}); on a processor without 8-bit dot products use fp32"
        )))
    }

    /// Returns what [`Specification::probes`] holds for this graph.
    pub(crate) fn probe_values(&self) -> Result<Vec<f32>, ModelError> {
        Ok(self.run(&PROBE[..1])?.remove(0).values)
    }

    /// Runs all texts in one batch, however different their lengths: for checks.
    pub(crate) fn run_together(&self, texts: &[&str]) -> Result<Vec<Row>, ModelError> {
        let tokens = texts.iter().map(|text| self.tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
        let members: Vec<_> = tokens.iter().collect();
        let outputs = self.session.run(&members, self.specification.pad_token_id)?;
        let rows = outputs.pooled(&members, self.specification.pooling).into_iter();
        Ok(rows.zip(&tokens).map(|(values, tokens)| Row { values, truncated: tokens.truncated }).collect())
    }

    /// Returns the token numbers that the model reads for a text: for checks.
    pub(crate) fn token_ids(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(self.tokenizer.encode(text)?.ids)
    }

    /// Makes an error about the graph's file.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> ModelError {
        self.session.invalid(reason)
    }
}

/// Returns the cosine of the angle between two vectors, 1 for two zero vectors.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms == 0.0 { 1.0 } else { (dot(a, b) / norms) as f32 }
}
