//! `flags watch`: changes as they come.

use std::time::Duration;

use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::{FLAGS, Flag, flags_of, setting_in_words};
use crate::commands::{
    client::{Answer, Call, Client},
    output,
};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier flags watch
  intent-classifier flags watch --changes 1 --format json      wait for the next change")]
pub(super) struct WatchArguments {
    /// How often to ask, in milliseconds.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..))]
    interval_ms: u64,
    /// End after so many changes [default: never].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    changes: Option<u64>,
    /// How to write changes; JSON is one object a line.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

/// What is known of the server's flags.
struct Known {
    body: Value,
    etag: Option<String>,
}

pub(super) async fn run(client: &Client, arguments: &WatchArguments) -> anyhow::Result<()> {
    let first = client.send(Method::GET, Call { path: FLAGS, ..Call::default() }).await?;
    output::note(&format!("watching {} from revision {}", client.url(), first.body["revision"]));
    let mut known = Known { body: first.body, etag: first.etag };
    let mut left = arguments.changes;
    let mut is_reachable = true;
    loop {
        tokio::time::sleep(Duration::from_millis(arguments.interval_ms)).await;
        let call = Call { path: FLAGS, if_none_match: known.etag.clone(), ..Call::default() };
        let answer = match client.send(Method::GET, call).await {
            Ok(answer) => answer,
            Err(error) => {
                if std::mem::replace(&mut is_reachable, false) {
                    output::error(&format!("{error:#}; trying again"));
                }
                continue;
            }
        };
        if !std::mem::replace(&mut is_reachable, true) {
            output::note("the server answers again");
        }
        let Answer { body, etag, is_not_modified: false } = answer else { continue };
        for (from, to) in changes(&known.body, &body)? {
            write(&from, &to, arguments.format)?;
            if let Some(left) = &mut left {
                *left -= 1;
                if *left == 0 {
                    return Ok(());
                }
            }
        }
        known = Known { body, etag };
    }
}

/// Pairs the flags that are not what they were.
fn changes(before: &Value, after: &Value) -> anyhow::Result<Vec<(Flag, Flag)>> {
    let pairs = flags_of(before)?.into_iter().zip(flags_of(after)?);
    let differs = |(from, to): &(Flag, Flag)| {
        (from.enabled, from.rollout_percentage, &from.source) != (to.enabled, to.rollout_percentage, &to.source)
    };
    Ok(pairs.filter(differs).collect())
}

fn write(from: &Flag, to: &Flag, format: output::Format) -> anyhow::Result<()> {
    let line = match format {
        output::Format::Text => {
            let at = to.updated_at.as_deref().unwrap_or("-");
            let was = setting_in_words(from.enabled, from.rollout_percentage);
            format!("{at} {} (was {was})", to.in_words())
        }
        output::Format::Json => {
            let setting = |flag: &Flag| {
                json!({
                    "enabled": flag.enabled,
                    "rollout_percentage": flag.rollout_percentage,
                    "source": flag.source,
                })
            };
            json!({
                "flag": to.name,
                "from": setting(from),
                "to": setting(to),
                "updated_at": to.updated_at,
                "revision": to.revision,
            })
            .to_string()
        }
    };
    Ok(output::text(&line)?)
}
