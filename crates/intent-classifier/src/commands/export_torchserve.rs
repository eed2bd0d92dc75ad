//! `export torchserve`: a fine-tuned classifier as an archive for TorchServe.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::Args;
use intent_model::{ModelKind, directory::ModelDirectory};
use serde_json::json;

use super::{Failure, output};
use crate::{config::Sources, remote::Archive};

/// Write a fine-tuned classifier as an archive for TorchServe, handler included; needs no Python.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier export torchserve --out model-store/intent_classifier.mar
  intent-classifier export torchserve --model ./my-distilbert --out model-store/intent_classifier.mar

Serve it with `deploy/torchserve/config.properties`, and start this program with USE_TORCHSERVE=true.")]
pub(super) struct Arguments {
    /// The Hugging Face directory of the classifier [default: `distilbert` of the version that serves].
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The archive to write; it must end with `.mar`.
    #[arg(long, value_name = "FILE", default_value = "model-store/intent_classifier.mar")]
    out: PathBuf,
    /// The model's name on TorchServe.
    #[arg(long, default_value = "intent_classifier")]
    name: String,
    /// The model's version on TorchServe.
    #[arg(long, value_name = "VERSION", default_value = "1.0")]
    model_version: String,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let model = match &arguments.model {
        Some(model) => model.clone(),
        None => of_current_version(&sources.load()?.settings.models.directory)?,
    };
    let archive = Archive { model: &model, name: &arguments.name, version: &arguments.model_version };
    let written = archive.write(&arguments.out)?;
    match arguments.format {
        output::Format::Text => output::text(&format!(
            "wrote {}, {:.1} MB, {} intents, model `{}` version {}",
            arguments.out.display(),
            written.bytes as f64 / 1e6,
            written.labels.len(),
            arguments.name,
            arguments.model_version
        ))?,
        output::Format::Json => output::json(&json!({
            "archive": arguments.out,
            "bytes": written.bytes,
            "labels": written.labels,
            "model": arguments.name,
            "version": arguments.model_version,
        }))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn of_current_version(directory: &Path) -> anyhow::Result<PathBuf> {
    let version = ModelDirectory::new(directory).open_current()?.with_context(|| {
        format!("no version serves in `{}`; name the Hugging Face directory with `--model`", directory.display())
    })?;
    // What fine-tuning writes for transformers stands beside what serves here.
    version.model_path(ModelKind::Distilbert).map(|path| path.join("huggingface")).ok_or_else(|| {
        let version = &version.manifest().version;
        anyhow!("version `{version}` has no `distilbert`; name the Hugging Face directory with `--model`")
    })
}
