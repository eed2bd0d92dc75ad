//! `keys`: API keys for programs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Call, Connection, escape},
    database, output,
};
use crate::{
    auth::{NewKey, Scope},
    config::Sources,
    storage::NewApiKey,
};

/// Make, list and revoke API keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier keys create 'support desk' --scope classify --scope feedback
  intent-classifier keys create 'first administrator' --scope admin --database
  intent-classifier keys list --format json | jq -r '.api_keys[] | select(.revoked_at == null) | .id'
  intent-classifier keys revoke 0199d2f4-5b7c-7cc3-98c4-dc0c0c07398f

A server must be told who asks: `--token` or `--api-key` with the scope `admin`. The first key of a server that takes no
tokens is made with `--database`, by whoever may read its settings.")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it; it is shown this once.
    Create {
        /// What it is for; for people.
        name: String,
        /// What it allows: `classify`, `feedback`, `flags:read`, `flags:write` or `admin`; may be repeated.
        #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = scope)]
        scopes: Vec<Scope>,
        /// Write into the database that the settings name instead of asking a server.
        #[arg(long)]
        database: bool,
        /// How to write it.
        #[arg(long, value_enum, default_value_t)]
        format: output::Format,
    },
    /// List the keys, those that are revoked included.
    List {
        /// How to write them.
        #[arg(long, value_enum, default_value_t)]
        format: output::Format,
    },
    /// End the validity of a key, on every replica within a second.
    Revoke {
        /// Its id, as `keys list` shows it.
        id: String,
    },
}

const PATH: &str = "/api/v1/api-keys";

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    super::block_on(execute(arguments, sources))?;
    Ok(ExitCode::SUCCESS)
}

async fn execute(arguments: &Arguments, sources: Sources) -> Result<(), Failure> {
    match &arguments.action {
        Action::Create { name, scopes, database, format } => {
            let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
            let created = if *database {
                create_in_database(name, &scopes, sources).await?
            } else {
                let body = Some(json!({"name": name, "scopes": scopes}));
                let client = arguments.connection.open(sources)?;
                client.send(Method::POST, Call { path: PATH, body, ..Call::default() }).await?.body
            };
            match format {
                output::Format::Json => output::json(&created)?,
                output::Format::Text => {
                    output::text(created["key"].as_str().unwrap_or_default())?;
                    output::note(&format!(
                        "made the key {} with {}; keep it, it is not shown again",
                        created["id"].as_str().unwrap_or_default(),
                        scopes.join(", ")
                    ));
                }
            }
        }
        Action::List { format } => {
            let client = arguments.connection.open(sources)?;
            let listed = client.ask(Method::GET, PATH).await?;
            match format {
                output::Format::Json => output::json(&listed)?,
                output::Format::Text => table(&listed)?,
            }
        }
        Action::Revoke { id } => {
            let client = arguments.connection.open(sources)?;
            client.ask(Method::DELETE, &format!("{PATH}/{}", escape(id))).await?;
            output::text(&format!("revoked {id}"))?;
        }
    }
    Ok(())
}

async fn create_in_database(name: &str, scopes: &[String], sources: Sources) -> Result<Value, Failure> {
    let settings = sources.load()?.settings;
    let storage = database::connect(&settings.database).await?;
    let NewKey { id, key, hash } = NewKey::generate();
    let stored = NewApiKey { id, name, hash: &hash, scopes, created_by: "command line" };
    storage.create_api_key(stored).await.map_err(anyhow::Error::from)?;
    Ok(json!({"id": id, "key": key, "name": name, "scopes": scopes}))
}

fn table(listed: &Value) -> Result<(), Failure> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows: Vec<Vec<String>> = listed["api_keys"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|key| {
            let scopes = key["scopes"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(",");
            let state = if key["revoked_at"].is_null() { "valid" } else { "revoked" };
            vec![text(&key["id"]), text(&key["name"]), scopes, state.to_owned(), text(&key["created_by"])]
        })
        .collect();
    output::table(&["ID", "NAME", "SCOPES", "STATE", "CREATED BY"], &rows)?;
    Ok(())
}

fn scope(name: &str) -> Result<Scope, String> {
    let known = || Scope::ALL.map(|scope| format!("`{scope}`")).join(", ");
    Scope::from_name(name).ok_or_else(|| format!("expected one of {}", known()))
}
