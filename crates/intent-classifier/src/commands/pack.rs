//! `pack`: intent packs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use intent_model::pack::Pack;
use serde_json::json;

use super::{Failure, output};

/// Check and start intent packs.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Check(CheckArguments),
    New(NewArguments),
}

/// Say what is in a pack, everything that is wrong with it, and what may be better.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier pack check packs/support
  intent-classifier pack check my-pack.toml --format json | jq .problems")]
pub(super) struct CheckArguments {
    /// The pack: a folder with a `pack.toml`, or one TOML file.
    path: PathBuf,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

/// Start a pack: a folder with a commented `pack.toml` that loads as it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier pack new support-desk
  intent-classifier pack new support-desk --out packs/support-desk")]
pub(super) struct NewArguments {
    /// The name of the pack.
    name: String,
    /// The folder to make; it must not be there yet [default: the name, in the working directory].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(arguments) => check(arguments),
        Command::New(arguments) => new(arguments),
    }
}

fn check(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let loaded = Pack::load(&arguments.path);
    match (arguments.format, loaded) {
        (output::Format::Text, Ok(pack)) => output::text(&pack.report().to_string())?,
        (output::Format::Json, Ok(pack)) => output::json(&json!({ "problems": [], "report": pack.report() }))?,
        (output::Format::Text, Err(errors)) => {
            let count = errors.problems().len();
            let path = arguments.path.display();
            return Err(
                anyhow!("`{path}` has {count} {}:\n{errors}", if count == 1 { "mistake" } else { "mistakes" }).into()
            );
        }
        (output::Format::Json, Err(errors)) => {
            output::json(&json!({ "problems": errors }))?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn new(arguments: &NewArguments) -> Result<ExitCode, Failure> {
    let name = &arguments.name;
    let folder = match &arguments.out {
        Some(folder) => folder.clone(),
        None if is_file_name(name) => PathBuf::from(name),
        None => return Err(anyhow!("`{name}` cannot name a folder; say which to make with `--out`").into()),
    };
    let template = Pack::template(name);
    Pack::load_embedded(&[("pack.toml", &template)])
        .map_err(|errors| anyhow!("`{name}` cannot name a pack:\n{errors}"))?;
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
    }
    fs::create_dir(&folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let file = folder.join("pack.toml");
    fs::write(&file, template).with_context(|| format!("cannot write `{}`", file.display()))?;
    output::text(&file.display().to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// Tells whether a name is one ordinary part of a path.
fn is_file_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file_name| file_name == name)
}
