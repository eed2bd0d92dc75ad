//! `rollout`: guarded rollouts of flags, kept by a running server.

mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use intent_engine::rollout::{Guard, Plan};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Client, Connection, escape},
    output,
};
use crate::config::Sources;

const ROLLOUTS: &str = "/api/v1/rollouts";

/// Give a feature to more and more users for as long as nothing gets worse; the server takes the steps by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier rollout start adaptive_routing --steps 10,25,50,75,100 --every 24h \\
      --guard 'error_rate<1%' --guard 'p95<200ms'
  intent-classifier rollout status adaptive_routing
  intent-classifier rollout pause adaptive_routing
  intent-classifier rollout list --url https://intents.example.com --token \"$TOKEN\" --format json")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a rollout; its first step is in force at once.
    Start(StartArguments),
    /// Show where a rollout stands, what it waits for and what its guards say.
    Status(FlagArguments),
    /// List the latest rollout of every flag that had one.
    List(ListArguments),
    /// Stop a rollout for a while; the flag stays as it is, and nobody watches the guards.
    Pause(FlagArguments),
    /// Let a rollout go on that was paused or taken back; the step in force begins anew.
    Resume(FlagArguments),
    /// End a rollout; the flag becomes what it was before.
    Abort(FlagArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Guards:
  error_rate<1%      share of the texts that got no decision       fallback_rate<5%, degraded_rate<5%
  p95<200ms          latency of the decisions                      p50, p99, mean_latency
  accuracy>90%       share of the feedback that confirms
  error_rate<=control+0.5%, accuracy>=control-2%, mean_latency<=control+10ms      compared with users without the feature
  `error_rate<=control` and `accuracy>=control` are always tested, unless you give your own margins.
  A guard that is violated beyond chance takes the rollout back to the step before, at once.

Examples:
  intent-classifier rollout start adaptive_routing --steps 10,25,50,75,100 --every 24h \\
      --guard 'error_rate<1%' --guard 'p95<200ms'
  intent-classifier rollout start quality_mode --steps 5,20,100 --every 2h --guard 'mean_latency<=control+30ms'")]
struct StartArguments {
    /// The flag.
    flag: String,
    /// For which share of the users it is on, step by step.
    #[arg(long, value_delimiter = ',', required = true, value_name = "PERCENT,…", value_parser = percentage)]
    steps: Vec<f64>,
    /// How long each step lasts at least: `30s`, `15m`, `24h`, `7d`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: String,
    /// What has to hold for those who have the feature; may be given several times.
    #[arg(long = "guard", value_name = "GUARD", value_parser = guard)]
    guards: Vec<String>,
    /// How many decisions with and without the feature a step waits for.
    #[arg(long, value_name = "COUNT", default_value_t = Plan::DEFAULT_MINIMUM_DECISIONS)]
    minimum_decisions: u64,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Debug, Args)]
struct FlagArguments {
    /// The flag.
    flag: String,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Debug, Args)]
struct ListArguments {
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let client = arguments.connection.open(sources)?;
    super::block_on(async { Ok(execute(&client, &arguments.command).await?) })?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(client: &Client, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Start(arguments) => start(client, arguments).await,
        Command::List(ListArguments { format }) => {
            let body = client.ask(Method::GET, ROLLOUTS).await?;
            match format {
                output::Format::Json => output::json(&body)?,
                output::Format::Text => show::all(&body)?,
            }
            Ok(())
        }
        Command::Status(arguments) => ask(client, Method::GET, "", arguments).await,
        Command::Pause(arguments) => ask(client, Method::POST, "/pause", arguments).await,
        Command::Resume(arguments) => ask(client, Method::POST, "/resume", arguments).await,
        Command::Abort(arguments) => ask(client, Method::POST, "/abort", arguments).await,
    }
}

async fn start(client: &Client, arguments: &StartArguments) -> anyhow::Result<()> {
    let body = json!({
        "flag": arguments.flag,
        "steps": arguments.steps,
        "every": arguments.every,
        "guards": arguments.guards,
        "minimum_decisions": arguments.minimum_decisions,
    });
    let body = client.send(Method::POST, Call { path: ROLLOUTS, body: Some(body), ..Call::default() }).await?.body;
    write(&body, arguments.format)?;
    let before = if body["before"]["enabled"] == true { body["before"]["rollout_percentage"].as_f64() } else { None };
    let first = body["rollout_percentage"].as_f64().unwrap_or_default();
    if let Some(before) = before.filter(|before| *before > first) {
        output::note(&format!(
            "{} was on for {before} % of the users: those beyond {first} % do without it until its step comes; \
             `intent-classifier rollout abort {}` gives it back to them",
            arguments.flag, arguments.flag
        ));
    }
    Ok(())
}

async fn ask(client: &Client, method: Method, what: &str, arguments: &FlagArguments) -> anyhow::Result<()> {
    let path = format!("{ROLLOUTS}/{}{what}", escape(&arguments.flag));
    let body = client.ask(method, &path).await?;
    write(&body, arguments.format)
}

fn write(body: &Value, format: output::Format) -> anyhow::Result<()> {
    match format {
        output::Format::Json => output::json(body)?,
        output::Format::Text => show::one(body)?,
    }
    Ok(())
}

/// Reads a step; in a list there may be space around it.
fn percentage(text: &str) -> Result<f64, String> {
    super::flags::percentage(text.trim())
}

fn duration(text: &str) -> Result<String, String> {
    humantime::parse_duration(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error}, expected a number with its unit, as in `24h`"))
}

fn guard(text: &str) -> Result<String, String> {
    text.parse::<Guard>().map(|guard| guard.to_string())
}
