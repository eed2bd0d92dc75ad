//! The command line: one file per command.
//!
//! Results go to standard output, everything else to standard error. Exit status: 0 done, 1 failed, 2 wrong usage, 78 bad
//! configuration (`EX_CONFIG` of `sysexits.h`).

mod bench;
mod classify;
mod client;
mod comparison;
mod config;
mod database;
mod doctor;
mod evaluate;
mod export;
mod export_feedback;
mod export_torchserve;
mod feedback;
mod fine_tune;
mod flags;
mod healthcheck;
mod import;
mod keys;
mod metrics;
mod migrate;
mod models;
mod openapi;
mod output;
mod pack;
mod progress;
mod rollout;
mod serve;
mod train;

use std::{future::Future, io, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use intent_model::pack::Pack;

use crate::{
    config::{ConfigError, ModelSettings, Sources},
    serving,
};

/// Classifies what a text wants.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110, after_help = EXAMPLES)]
struct Cli {
    /// Read settings from this TOML file [default: `intent-classifier.toml`, when it is there].
    #[arg(long, global = true, value_name = "PATH", env = "CONFIG_FILE", hide_env_values = true)]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  intent-classifier                                  serve on http://127.0.0.1:8001
  intent-classifier classify 'Write a haiku'         answer one text
  intent-classifier config show                      settings in force and where each came from
  intent-classifier COMMAND --help                   more of a command, with examples";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Classify(classify::Arguments),
    #[command(subcommand)]
    Pack(pack::Command),
    Train(train::Arguments),
    Evaluate(evaluate::Arguments),
    #[command(subcommand)]
    Feedback(feedback::Command),
    #[command(subcommand)]
    Export(export::Command),
    Migrate(migrate::Arguments),
    #[command(subcommand)]
    Models(models::Command),
    Flags(flags::Arguments),
    Rollout(rollout::Arguments),
    Keys(keys::Arguments),
    #[command(subcommand)]
    Config(config::Command),
    Healthcheck(healthcheck::Arguments),
    Doctor(doctor::Arguments),
    Openapi(openapi::Arguments),
    Metrics(metrics::Arguments),
    Bench(bench::Arguments),
}

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Exit status 78.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Exit status 1.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(status) => status,
        Err(failure) => report(&failure),
    }
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    let mut sources = Sources::with_dot_env()?;
    sources.file = cli.config;
    match cli.command.unwrap_or(Command::Serve(serve::Arguments::default())) {
        Command::Serve(arguments) => serve::run(arguments, sources),
        Command::Classify(arguments) => classify::run(&arguments, sources),
        Command::Pack(command) => pack::run(&command),
        Command::Train(arguments) => train::run(&arguments, sources),
        Command::Evaluate(arguments) => evaluate::run(&arguments, sources),
        Command::Feedback(command) => feedback::run(&command, sources),
        Command::Export(command) => export::run(&command, sources),
        Command::Migrate(arguments) => migrate::run(&arguments, sources),
        Command::Models(command) => models::run(&command, sources),
        Command::Flags(arguments) => flags::run(&arguments, sources),
        Command::Rollout(arguments) => rollout::run(&arguments, sources),
        Command::Keys(arguments) => keys::run(&arguments, sources),
        Command::Config(command) => config::run(command, sources),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments, sources),
        Command::Doctor(arguments) => doctor::run(&arguments, sources),
        Command::Bench(arguments) => bench::run(&arguments, sources),
        Command::Openapi(arguments) => openapi::run(&arguments),
        Command::Metrics(arguments) => metrics::run(&arguments),
    }
}

/// Runs a command that waits for something: a server, a database.
fn block_on<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

/// Loads the intent pack that the settings name; one that has mistakes is bad configuration.
fn configured_pack(settings: &ModelSettings) -> Result<Option<Pack>, ConfigError> {
    serving::load_configured_pack(settings)
        .map_err(|error| ConfigError::Invalid { variable: "INTENT_PACK", reason: error.to_string() })
}

/// Says what went wrong, causes included, on standard error.
fn report(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Config(error) => {
            output::error(&format!("bad configuration: {error}"));
            ExitCode::from(78)
        }
        // Whoever reads the results has seen enough: `… | head`.
        Failure::Failed(error) if output::is_broken_pipe(error) => ExitCode::SUCCESS,
        Failure::Failed(error) => {
            output::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
