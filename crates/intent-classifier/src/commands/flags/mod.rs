//! `flags`: feature flags of a running server.

mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use intent_engine::flags::Rollout;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Client, Connection, escape},
    output,
};
use crate::config::Sources;

const FLAGS: &str = "/api/v1/feature-flags";

/// Show and change the feature flags of a running server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier flags list
  intent-classifier flags set quality_mode on --rollout 5
  intent-classifier flags rollout quality_mode 25
  intent-classifier flags check quality_mode --user alice
  intent-classifier flags list --url https://intents.example.com --token \"$TOKEN\" --format json")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List all flags.
    List(ListArguments),
    /// Show one flag.
    Get(NameArguments),
    /// Turn a flag on or off, on every replica.
    Set(SetArguments),
    /// Change for which share of the users a flag is on.
    Rollout(RolloutArguments),
    /// Take back what was said of a flag over HTTP; default, file and environment decide again.
    Reset(NameArguments),
    /// Tell whether a user has a feature, and why.
    Check(CheckArguments),
    /// List who changed a flag, when, from what and to what.
    History(HistoryArguments),
    /// Let the server read file, environment and database again.
    Refresh(ListArguments),
    /// Print changes as they come, until interrupted.
    Watch(watch::WatchArguments),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Debug, Args)]
struct NameArguments {
    /// The flag.
    name: String,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier flags set caching off
  intent-classifier flags set quality_mode on --rollout 5
  intent-classifier flags set quality_mode off --if-revision 17      only when nobody has changed it since")]
struct SetArguments {
    /// The flag.
    name: String,
    /// On or off.
    state: Switch,
    /// For which share of the users, 0 to 100 [default: as it is].
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    rollout: Option<f64>,
    /// Change it only when it is still at this revision, as `flags get` shows it.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier flags rollout quality_mode 25
  intent-classifier flags rollout quality_mode 0.5      raising it takes the feature from nobody who has it")]
struct RolloutArguments {
    /// The flag.
    name: String,
    /// The share of the users, 0 to 100, in steps of 0.001.
    #[arg(value_parser = percentage)]
    percent: f64,
    /// Change it only when it is still at this revision, as `flags get` shows it.
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Debug, Args)]
struct CheckArguments {
    /// The flag.
    name: String,
    /// The user [default: nobody; every request then counts as a user of its own].
    #[arg(long)]
    user: Option<String>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Debug, Args)]
struct HistoryArguments {
    /// The flag.
    name: String,
    /// The most changes to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    #[value(alias = "true")]
    On,
    #[value(alias = "false")]
    Off,
}

/// A flag as the server shows it.
#[derive(Clone, Debug, Deserialize)]
struct Flag {
    name: String,
    enabled: bool,
    rollout_percentage: f64,
    description: String,
    source: String,
    updated_at: Option<String>,
    revision: u64,
}

/// A change as the server shows it.
#[derive(Debug, Deserialize)]
struct Change {
    revision: u64,
    changed_at: String,
    changed_by: String,
    from: Option<Said>,
    to: Option<Said>,
}

/// What was said of a flag over HTTP.
#[derive(Debug, Deserialize)]
struct Said {
    enabled: Option<bool>,
    rollout_percentage: Option<f64>,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let client = arguments.connection.open(sources)?;
    super::block_on(async { Ok(execute(&client, &arguments.command).await?) })?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(client: &Client, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List(arguments) => list(client, arguments.format).await,
        Command::Get(NameArguments { name, format }) => {
            let body = client.ask(Method::GET, &path_of(name)).await?;
            show(&body, *format)
        }
        Command::Set(SetArguments { name, state, rollout, if_revision, format }) => {
            let mut body = json!({ "enabled": matches!(state, Switch::On) });
            if let Some(percent) = rollout {
                body["rollout_percentage"] = json!(percent);
            }
            change(client, name, body, *if_revision, *format).await
        }
        Command::Rollout(RolloutArguments { name, percent, if_revision, format }) => {
            change(client, name, json!({ "rollout_percentage": percent }), *if_revision, *format).await
        }
        Command::Reset(NameArguments { name, format }) => {
            let path = format!("{}/reset", path_of(name));
            let body = client.ask(Method::POST, &path).await?;
            show(&body, *format)
        }
        Command::Check(arguments) => check(client, arguments).await,
        Command::History(arguments) => history(client, arguments).await,
        Command::Refresh(arguments) => refresh(client, arguments.format).await,
        Command::Watch(arguments) => watch::run(client, arguments).await,
    }
}

async fn list(client: &Client, format: output::Format) -> anyhow::Result<()> {
    let body = client.ask(Method::GET, FLAGS).await?;
    if format == output::Format::Json {
        return Ok(output::json(&body)?);
    }
    let rows: Vec<Vec<String>> = flags_of(&body)?
        .into_iter()
        .map(|flag| {
            let state = if flag.enabled { "on" } else { "off" }.to_owned();
            let rollout = format!("{} %", flag.rollout_percentage);
            vec![flag.name, state, rollout, flag.source, flag.revision.to_string(), flag.description]
        })
        .collect();
    Ok(output::table(&["FLAG", "STATE", "ROLLOUT", "SOURCE", "REVISION", "MEANING"], &rows)?)
}

async fn change(
    client: &Client,
    name: &str,
    body: Value,
    if_revision: Option<u64>,
    format: output::Format,
) -> anyhow::Result<()> {
    let if_match = if_revision.map(|revision| format!("\"{revision}\""));
    let only_rollout = body.get("enabled").is_none();
    let call = Call { path: &path_of(name), body: Some(body), if_match, ..Call::default() };
    let body = client.send(Method::PUT, call).await?.body;
    show(&body, format)?;
    if only_rollout && body["enabled"] == false {
        output::note(&format!("it is off for everybody: `intent-classifier flags set {name} on` turns it on"));
    }
    Ok(())
}

async fn check(client: &Client, arguments: &CheckArguments) -> anyhow::Result<()> {
    let query = arguments.user.as_deref().map_or(String::new(), |user| format!("?user_id={}", escape(user)));
    let path = format!("{FLAGS}/check/{}{query}", escape(&arguments.name));
    let body = client.ask(Method::GET, &path).await?;
    if arguments.format == output::Format::Json {
        return Ok(output::json(&body)?);
    }
    let state = if body["enabled"] == true { "on" } else { "off" };
    let reason = body["reason"].as_str().unwrap_or_default();
    Ok(output::text(&format!("{}: {state} ({reason})", arguments.name))?)
}

async fn history(client: &Client, arguments: &HistoryArguments) -> anyhow::Result<()> {
    let path = format!("{}/history?limit={}", path_of(&arguments.name), arguments.limit);
    let body = client.ask(Method::GET, &path).await?;
    if arguments.format == output::Format::Json {
        return Ok(output::json(&body)?);
    }
    let changes: Vec<Change> = read(&body["changes"])?;
    let rows: Vec<Vec<String>> = changes
        .into_iter()
        .map(|change| {
            let (from, to) = (said(change.from.as_ref()), said(change.to.as_ref()));
            vec![change.revision.to_string(), change.changed_at, change.changed_by, from, to]
        })
        .collect();
    Ok(output::table(&["REVISION", "CHANGED", "BY", "FROM", "TO"], &rows)?)
}

async fn refresh(client: &Client, format: output::Format) -> anyhow::Result<()> {
    let path = format!("{FLAGS}/refresh");
    let body = client.ask(Method::POST, &path).await?;
    if format == output::Format::Json {
        return Ok(output::json(&body)?);
    }
    match body["changed"].as_array().map_or(0, Vec::len) {
        0 => output::text("nothing has changed")?,
        _ => {
            for difference in body["changed"].as_array().into_iter().flatten() {
                let name = difference["flag"].as_str().unwrap_or_default();
                output::text(&format!("{name}: {} -> {}", setting(&difference["from"]), setting(&difference["to"])))?;
            }
        }
    }
    Ok(())
}

fn show(body: &Value, format: output::Format) -> anyhow::Result<()> {
    match format {
        output::Format::Json => output::json(body)?,
        output::Format::Text => output::text(&read::<Flag>(body)?.in_words())?,
    }
    Ok(())
}

impl Flag {
    /// Says all that matters in a line.
    fn in_words(&self) -> String {
        let Self { name, source, revision, .. } = self;
        format!("{name}: {} ({source}, revision {revision})", setting_in_words(self.enabled, self.rollout_percentage))
    }
}

fn setting_in_words(enabled: bool, rollout_percentage: f64) -> String {
    match enabled {
        true if rollout_percentage >= 100.0 => "on".to_owned(),
        true => format!("on for {rollout_percentage} % of the users"),
        false => "off".to_owned(),
    }
}

fn setting(body: &Value) -> String {
    setting_in_words(body["enabled"] == true, body["rollout_percentage"].as_f64().unwrap_or_default())
}

fn said(said: Option<&Said>) -> String {
    let Some(Said { enabled, rollout_percentage }) = said else { return "-".to_owned() };
    let state = enabled.map(|enabled| if enabled { "on" } else { "off" }.to_owned());
    let rollout = rollout_percentage.map(|percent| format!("{percent} %"));
    [state, rollout].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns the flags of a list, by name.
fn flags_of(body: &Value) -> anyhow::Result<Vec<Flag>> {
    let by_name: std::collections::BTreeMap<String, Flag> = read(&body["flags"])?;
    Ok(by_name.into_values().collect())
}

fn read<T: serde::de::DeserializeOwned>(body: &Value) -> anyhow::Result<T> {
    T::deserialize(body).map_err(|error| anyhow::anyhow!("the answer cannot be understood: {error}"))
}

fn path_of(name: &str) -> String {
    format!("{FLAGS}/{}", escape(name))
}

/// Reads a share of the users, 0 to 100, with or without `%`.
pub(super) fn percentage(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').trim_end().parse().map_err(|_| format!("`{text}` is not a number"))?;
    Rollout::from_percent(percent).map(|_| percent)
}
