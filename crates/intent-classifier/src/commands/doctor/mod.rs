//! `doctor`: the checks before and after a deployment, and the daily ones, as far as a machine can make them.

mod local;
mod parts;
mod server;

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Failure, client::Connection, output};
use crate::config::Sources;

/// Check settings, files, models, database and, with `--url`, a running server; say what to do about what is wrong.
///
/// Exit status: 0 all is well, 1 something should be looked at, 2 something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier doctor                                    before a deployment, on the machine or in the container
  intent-classifier doctor --url http://127.0.0.1:8001        after it, and every day
  intent-classifier doctor --server-only --url https://intents.example.com --token \"$TOKEN\"
  intent-classifier doctor --format json | jq '.findings[] | select(.status != \"ok\")'")]
pub(super) struct Arguments {
    #[command(flatten)]
    connection: Connection,
    /// Look at the server of `--url` alone, from a machine that is not the server's.
    #[arg(long)]
    server_only: bool,
    /// How to write the findings.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// What was checked.
    check: &'static str,
    /// How it is.
    status: Status,
    /// What was found.
    found: String,
    /// What to do about it.
    advice: Option<String>,
}

/// How something is; the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// It is not used, so that there is nothing to check.
    Skipped,
    /// As it should be.
    Ok,
    /// Worth a look.
    Warning,
    /// Wrong.
    Error,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, found: found.into(), advice: None }
    }

    fn skipped(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, status: Status::Skipped, found: found.into(), advice: None }
    }

    fn warning(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn error(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, status: Status::Error, found: found.into(), advice: Some(advice.into()) }
    }
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "-",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        }
    }
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let mut findings = Vec::new();
    if arguments.server_only && !arguments.connection.is_named() {
        return Err(anyhow::anyhow!("`--server-only` needs the address of the server: give `--url`").into());
    }
    let file = sources.file.clone();
    super::block_on(async {
        if !arguments.server_only {
            match sources.load() {
                Ok(loaded) => {
                    findings.push(Finding::ok("configuration", "valid"));
                    findings.extend(local::check(&loaded.settings, file.as_deref()));
                    findings.extend(parts::check(&loaded.settings).await);
                }
                Err(error) => findings.push(Finding::error(
                    "configuration",
                    error.to_string(),
                    "correct it; `intent-classifier config show` lists every setting and where it came from",
                )),
            }
        }
        if arguments.connection.is_named() {
            // Named, so that no settings are needed.
            findings.extend(server::check(&arguments.connection.open_named()?).await);
        } else {
            findings.push(Finding::skipped("server", "not asked; `--url` names one"));
        }
        Ok(())
    })?;
    let worst = findings.iter().map(|finding| finding.status).max().unwrap_or(Status::Ok);
    match arguments.format {
        output::Format::Json => output::json(&json!({"status": worst.max(Status::Ok), "findings": findings}))?,
        output::Format::Text => write(&findings)?,
    }
    Ok(ExitCode::from(match worst {
        Status::Skipped | Status::Ok => 0,
        Status::Warning => 1,
        Status::Error => 2,
    }))
}

fn write(findings: &[Finding]) -> std::io::Result<()> {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for Finding { check, status, found, advice } in findings {
        lines.push(format!("{:<7}  {check:<width$}  {found}", status.as_str()));
        if let Some(advice) = advice {
            lines.push(format!("{:<7}  {:<width$}  -> {advice}", "", ""));
        }
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    lines.push(format!("{} errors, {} warnings", count(Status::Error), count(Status::Warning)));
    output::text(&lines.join("\n"))
}
