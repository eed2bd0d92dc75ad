//! `migrate`: brings the tables of the database up to date.

use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::{Failure, output};
use crate::{config::Sources, storage::Storage};

/// Bring the tables of the database up to date.
///
/// The server does so by itself when it starts. Run it before a deployment to do it at a time of your choice, or as a user
/// who may change tables when the server's may not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier migrate
  DATABASE_URL=postgres://owner@db/intents intent-classifier migrate --format json")]
pub(super) struct Arguments {
    /// How to write what was done.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let settings = sources.load()?.settings.database;
    let (database, migrated) = super::block_on(async {
        let storage = Storage::new(&settings)?;
        let migrated = storage.migrate().await.context("the tables were not brought up to date")?;
        Ok::<_, Failure>((storage.database(), migrated))
    })?;
    match arguments.format {
        output::Format::Text if migrated.applied == 0 => {
            output::text(&format!("{database}: up to date at version {}", migrated.version))?;
        }
        output::Format::Text => {
            output::text(&format!("{database}: {} applied, now at version {}", migrated.applied, migrated.version))?;
        }
        output::Format::Json => {
            output::json(&json!({"database": database, "applied": migrated.applied, "version": migrated.version}))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
