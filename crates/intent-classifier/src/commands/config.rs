//! `config`: what the settings are, and whether they can be used.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Failure, output};
use crate::config::{Sources, reference};

/// Check and show settings.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Tell whether the server could start with these settings.
    Check,
    /// Show every setting in force and where it came from.
    Show(ShowArguments),
    /// Print the Markdown reference of all settings.
    Docs,
    /// Print a configuration file with every setting at its default.
    Template,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier config show
  PORT=9000 intent-classifier config show --format json | jq .server.port")]
pub(super) struct ShowArguments {
    /// How to write the settings.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(command: Command, sources: Sources) -> Result<ExitCode, Failure> {
    match command {
        Command::Check => {
            sources.load()?;
            output::text("the configuration is valid")?;
        }
        Command::Show(arguments) => show(&arguments, sources)?,
        Command::Docs => output::text(&reference::markdown())?,
        Command::Template => output::text(&reference::template())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &ShowArguments, sources: Sources) -> Result<(), Failure> {
    let entries = sources.load()?.entries();
    match arguments.format {
        output::Format::Text => {
            let rows: Vec<Vec<String>> = entries
                .into_iter()
                .map(|entry| {
                    let value = match entry.value {
                        Value::Null => "unset".to_owned(),
                        Value::String(text) => text,
                        value => value.to_string(),
                    };
                    vec![entry.key, entry.variable.unwrap_or_default().to_owned(), value, entry.origin.to_string()]
                })
                .collect();
            output::table(&["SETTING", "VARIABLE", "VALUE", "FROM"], &rows)?;
        }
        output::Format::Json => {
            let mut document = Map::new();
            for entry in entries {
                let (section, key) = entry.key.split_once('.').expect("every setting is in a section");
                let setting = json!({
                    "value": entry.value,
                    "variable": entry.variable,
                    "from": entry.origin.to_string(),
                });
                let section = document.entry(section).or_insert_with(|| json!({}));
                section[key] = setting;
            }
            output::json(&document)?;
        }
    }
    Ok(())
}
