//! `models`: the versions in the model directory.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use intent_model::directory::{Manifest, ModelDirectory};
use serde_json::json;

use super::{Failure, import, output};
use crate::config::Sources;

/// Import encoders; list, check and switch trained versions.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Import(import::Arguments),
    List(ListArguments),
    Show(ShowArguments),
    Verify(VerifyArguments),
    Promote(PromoteArguments),
    Rollback(RollbackArguments),
}

/// Which model directory is meant.
#[derive(Debug, Args)]
struct Directory {
    /// The model directory [default: the setting `MODEL_DIR`].
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
}

/// List the versions, oldest first.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    directory: Directory,
    /// How to write the list.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

/// Show what a version says of itself: its `model.json`.
#[derive(Debug, Args)]
pub(super) struct ShowArguments {
    /// The version [default: the one that serves].
    version: Option<String>,
    #[command(flatten)]
    directory: Directory,
}

/// Compare every file of a version with its checksum.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The version [default: all].
    version: Option<String>,
    #[command(flatten)]
    directory: Directory,
}

/// Make a version the one that serves, after checking it; a running server takes it at its next reload.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier models promote prompt-tasks-20260102T030405Z-0123abcd
  curl -X POST localhost:8001/api/v1/models/reload      or `kill -HUP`, for a running server to take it")]
pub(super) struct PromoteArguments {
    /// The version.
    version: String,
    #[command(flatten)]
    directory: Directory,
}

/// Go back to the version that served before.
#[derive(Debug, Args)]
pub(super) struct RollbackArguments {
    #[command(flatten)]
    directory: Directory,
}

pub(super) fn run(command: &Command, sources: Sources) -> Result<ExitCode, Failure> {
    match command {
        Command::Import(arguments) => import::run(arguments, sources),
        Command::List(arguments) => list(&arguments.directory.open(sources)?, arguments.format),
        Command::Show(arguments) => show(&arguments.directory.open(sources)?, arguments.version.as_deref()),
        Command::Verify(arguments) => verify(&arguments.directory.open(sources)?, arguments.version.as_deref()),
        Command::Promote(arguments) => {
            arguments.directory.open(sources)?.promote(&arguments.version).map_err(anyhow::Error::from)?;
            output::text(&arguments.version)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rollback(arguments) => {
            let version = arguments.directory.open(sources)?.rollback().map_err(anyhow::Error::from)?;
            output::text(&version)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Directory {
    fn open(&self, sources: Sources) -> Result<ModelDirectory, Failure> {
        Ok(ModelDirectory::new(match &self.model_dir {
            Some(directory) => directory.clone(),
            None => sources.load()?.settings.models.directory,
        }))
    }
}

fn list(directory: &ModelDirectory, format: output::Format) -> Result<ExitCode, Failure> {
    let versions = directory.list().map_err(anyhow::Error::from)?;
    match format {
        output::Format::Text => {
            let rows: Vec<Vec<String>> = versions
                .iter()
                .map(|version| {
                    let serves = if version.current { "*" } else { "" }.to_owned();
                    let mut row = vec![serves, version.name.clone()];
                    match &version.manifest {
                        Ok(manifest) => {
                            row.extend([manifest.created_at.clone(), pack_of(manifest), models_of(manifest)])
                        }
                        Err(error) => row.extend([String::new(), String::new(), error.to_string()]),
                    }
                    row
                })
                .collect();
            output::table(&["", "VERSION", "TRAINED", "PACK", "MODELS AND ACCURACY"], &rows)?;
        }
        output::Format::Json => {
            let rows: Vec<_> = versions
                .iter()
                .map(|version| {
                    let manifest = version.manifest.as_ref();
                    json!({
                        "version": version.name,
                        "current": version.current,
                        "manifest": manifest.ok(),
                        "error": manifest.err().map(ToString::to_string),
                    })
                })
                .collect();
            output::json(&rows)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn pack_of(manifest: &Manifest) -> String {
    format!("{} {}", manifest.pack.name, manifest.pack.version)
}

fn models_of(manifest: &Manifest) -> String {
    let models = manifest.models.iter().map(|(kind, entry)| format!("{kind} {:.1} %", entry.metrics.accuracy * 100.0));
    models.collect::<Vec<_>>().join(", ")
}

fn show(directory: &ModelDirectory, version: Option<&str>) -> Result<ExitCode, Failure> {
    let current;
    let version = match version {
        Some(version) => version,
        None => {
            current = current_of(directory)?;
            &current
        }
    };
    output::json(&directory.manifest(version).map_err(anyhow::Error::from)?)?;
    Ok(ExitCode::SUCCESS)
}

fn current_of(directory: &ModelDirectory) -> Result<String, anyhow::Error> {
    let root = directory.root().display();
    directory.current()?.ok_or_else(|| anyhow::anyhow!("no version serves from `{root}`: train or promote one"))
}

fn verify(directory: &ModelDirectory, version: Option<&str>) -> Result<ExitCode, Failure> {
    let names = match version {
        Some(version) => vec![version.to_owned()],
        None => directory.list().map_err(anyhow::Error::from)?.into_iter().map(|version| version.name).collect(),
    };
    let mut status = ExitCode::SUCCESS;
    for name in names {
        match directory.open(&name) {
            Ok(_) => output::text(&format!("{name}: every file is as it was written"))?,
            Err(error) => {
                output::error(&format!("{:#}", anyhow::Error::from(error).context(format!("version `{name}`"))));
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}
