//! One ONNX graph in rten.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use rten::{Model, ModelOptions, NodeId, RunOptions, ValueView};
use rten_tensor::{AsView, Layout, TensorView};

use crate::{
    ModelError,
    transformer::{Pooling, Task, graph_check, thread, tokenizer::Tokens},
};

/// A graph with its inputs and its output found.
pub(crate) struct Session {
    path: PathBuf,
    model: Model,
    input_ids: NodeId,
    attention_mask: Option<NodeId>,
    token_type_ids: Option<NodeId>,
    output: NodeId,
}

/// The output of one run.
#[derive(Debug)]
pub(crate) struct Output {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Session {
    /// Loads a graph.
    ///
    /// # Errors
    /// [`ModelError::Io`] when the file cannot be read, [`ModelError::InvalidFile`] when it is not a graph that rten
    /// runs or lacks the inputs or the output of a transformer.
    pub(crate) fn load(path: &Path, task: Task) -> Result<Self, ModelError> {
        let graph = graph_check::read(path)?;
        let invalid = |reason: String| ModelError::invalid(path, reason);
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = without_panic(|| options.load(graph))
            .map_err(|panic| invalid(format!("not an ONNX graph that can be run: {panic}")))?
            .map_err(|error| invalid(format!("not an ONNX graph that can be run: {error}")))?;
        let inputs = names(&model, model.input_ids());
        let outputs = names(&model, model.output_ids());
        let unknown = inputs.iter().find(|name| !INPUTS.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            return Err(invalid(format!("it has the input `{unknown}`, expected only {}", quoted(INPUTS))));
        }
        let wanted = match task {
            Task::Embedding => EMBEDDING_OUTPUTS,
            Task::Classification => CLASSIFICATION_OUTPUTS,
        };
        let output = wanted.iter().find(|name| outputs.iter().any(|output| output == *name)).ok_or_else(|| {
            let found = quoted(&outputs.iter().map(String::as_str).collect::<Vec<_>>());
            invalid(format!("it has the outputs {found}, expected one of {}", quoted(wanted)))
        })?;
        let node = |name: &str| model.find_node(name).filter(|id| model.input_ids().contains(id));
        Ok(Self {
            input_ids: node(INPUTS[0]).ok_or_else(|| invalid(format!("it lacks the input `{}`", INPUTS[0])))?,
            attention_mask: node(INPUTS[1]),
            token_type_ids: node(INPUTS[2]),
            output: model.find_node(output).expect("the name comes from the outputs"),
            path: path.to_owned(),
            model,
        })
    }

    /// Runs texts together, the shorter ones padded to the longest.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the runtime fails.
    pub(crate) fn run(&self, texts: &[&Tokens], pad_token_id: u32) -> Result<Output, ModelError> {
        let longest = texts.iter().map(|tokens| tokens.ids.len()).max().unwrap_or(0);
        let shape = [texts.len(), longest];
        let mut ids = Vec::with_capacity(texts.len() * longest);
        let mut mask = Vec::with_capacity(texts.len() * longest);
        for tokens in texts {
            ids.extend(tokens.ids.iter().map(|&id| id as i32));
            ids.resize(ids.len() + longest - tokens.ids.len(), pad_token_id as i32);
            mask.extend(std::iter::repeat_n(1i32, tokens.ids.len()));
            mask.resize(ids.len(), 0);
        }
        let types = vec![0i32; if self.token_type_ids.is_some() { ids.len() } else { 0 }];
        let failed =
            |error: &dyn std::fmt::Display| ModelError::Inference(format!("`{}`: {error}", self.path.display()));
        let view = |values| ValueView::from_shape(shape, values).map_err(|error| failed(&error));
        let mut inputs = vec![(self.input_ids, view(&ids)?.into())];
        if let Some(node) = self.attention_mask {
            inputs.push((node, view(&mask)?.into()));
        }
        if let Some(node) = self.token_type_ids {
            inputs.push((node, view(&types)?.into()));
        }
        let options = RunOptions::default().with_thread_pool(Some(thread::pool()));
        let [output] = without_panic(|| self.model.run_n(inputs, [self.output], Some(options)))
            .map_err(|panic| failed(&panic))?
            .map_err(|error| failed(&error))?;
        let output: TensorView<'_, f32> =
            output.as_tensor_view().ok_or_else(|| failed(&"its output is not of floats"))?;
        if output.shape().first() != Some(&texts.len()) || !matches!(output.ndim(), 2 | 3) {
            let found = output.shape();
            return Err(failed(&format!("its output has the shape {found:?} for {shape:?} tokens")));
        }
        if output.ndim() == 3 && output.size(1) != longest {
            return Err(failed(&format!("its output has {} rows a text, expected {longest}", output.size(1))));
        }
        Ok(Output { shape: output.shape().to_vec(), values: output.to_vec() })
    }

    /// Makes an error about the graph's file.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> ModelError {
        ModelError::invalid(&self.path, reason)
    }

    /// Turns the failure of a first run into an error about the file.
    pub(crate) fn unusable(&self, error: &ModelError) -> ModelError {
        self.invalid(format!("it loads but does not run: {error}"))
    }
}

impl Output {
    /// Returns one row per text: the row of a two-dimensional output, the pooled tokens of a three-dimensional one.
    pub(crate) fn pooled(&self, texts: &[&Tokens], pooling: Pooling) -> Vec<Vec<f32>> {
        let width = *self.shape.last().expect("an output has 2 or 3 dimensions");
        let rows = self.values.chunks_exact(self.values.len() / texts.len());
        let pool = |(row, tokens): (&[f32], &&Tokens)| match self.shape.len() {
            2 => row.to_vec(),
            _ => pooling.pool(&row[..tokens.ids.len() * width], width),
        };
        rows.zip(texts).map(pool).collect()
    }
}

/// The inputs a graph may have, the first one always.
const INPUTS: &[&str] = &["input_ids", "attention_mask", "token_type_ids"];
/// The outputs that can become an embedding, best first.
const EMBEDDING_OUTPUTS: &[&str] = &["sentence_embedding", "last_hidden_state", "token_embeddings"];
/// The outputs of a classifier.
const CLASSIFICATION_OUTPUTS: &[&str] = &["logits"];

fn names(model: &Model, nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().filter_map(|&node| Some(model.node_info(node)?.name()?.to_owned())).collect()
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Runs what may panic on a broken file.
fn without_panic<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
