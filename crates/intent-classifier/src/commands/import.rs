//! `models import`: a Hugging Face directory to what this program runs.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use intent_model::import::{ImportOptions, ImportReport, import};

use super::{Failure, output};
use crate::config::Sources;

/// Import a BERT or DistilBERT from a Hugging Face directory: `config.json`, `model.safetensors`, `tokenizer.json`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier models import ./all-MiniLM-L6-v2
  intent-classifier models import ./my-classifier --out imported/my-classifier --format json

The files are checked against an independent computation before anything is replaced.")]
pub(super) struct Arguments {
    /// The directory to read.
    source: PathBuf,
    /// The folder to write [default: the setting `ENCODER_DIR`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write no int8 model, only fp32.
    #[arg(long)]
    no_int8: bool,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => sources.load()?.settings.models.encoder_directory(),
    };
    let options = ImportOptions { int8: !arguments.no_int8 };
    let report = import(&arguments.source, &out, &options).map_err(anyhow::Error::from)?;
    match arguments.format {
        output::Format::Text => output::text(&describe(&report))?,
        output::Format::Json => output::json(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(report: &ImportReport) -> String {
    let ImportReport { architecture, layers, hidden_size, parameters, max_tokens, .. } = report;
    let mut lines = vec![
        format!("imported to {}", report.directory.display()),
        format!(
            "{architecture}, {layers} layers, {hidden_size} dimensions, {:.1} million parameters, up to {max_tokens} tokens",
            *parameters as f64 / 1e6
        ),
    ];
    if !report.labels.is_empty() {
        lines.push(format!("labels: {}", report.labels.join(", ")));
    }
    for (name, bytes) in &report.files {
        lines.push(format!("{name}: {:.1} MB", *bytes as f64 / 1e6));
    }
    lines.push(format!("fp32: largest difference to the reference {:.1e}", report.fp32.largest_difference));
    if let Some(int8) = &report.int8 {
        lines.push(format!(
            "int8: mean cosine to fp32 {:.4}, smallest {:.4}; between batches {:.6}",
            int8.mean_cosine, int8.smallest_cosine, int8.smallest_batch_cosine
        ));
    }
    lines.join("\n")
}
