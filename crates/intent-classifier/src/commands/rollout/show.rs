//! Rollouts in words.

use std::io;

use serde_json::Value;

use crate::commands::output;

/// Writes where a rollout stands.
pub(super) fn one(rollout: &Value) -> io::Result<()> {
    let mut lines = vec![format!("{}: {}", text(rollout, "flag"), in_words(rollout))];
    if let Some(reason) = rollout["reason"].as_str() {
        lines.push(format!("reason: {reason}"));
    }
    for waiting in list(rollout, "waiting_for") {
        lines.push(format!("waiting: {}", waiting.as_str().unwrap_or_default()));
    }
    for guard in list(rollout, "guards") {
        lines.push(format!("guard: {}", text(guard, "in_words")));
    }
    for event in list(rollout, "events") {
        let because = event["reason"].as_str().map_or(String::new(), |reason| format!(": {reason}"));
        lines.push(format!(
            "{} {} at {} % by {}{because}",
            text(event, "at"),
            text(event, "action").replace('_', " "),
            event["rollout_percentage"],
            text(event, "by"),
        ));
    }
    output::text(&lines.join("\n"))
}

/// Writes a line for each rollout.
pub(super) fn all(rollouts: &Value) -> io::Result<()> {
    let rows: Vec<Vec<String>> = list(rollouts, "rollouts")
        .map(|rollout| {
            let next = rollout["next_step_at"].as_str().unwrap_or("-").to_owned();
            let steps: Vec<String> = list(rollout, "steps").map(Value::to_string).collect();
            vec![
                text(rollout, "flag").to_owned(),
                text(rollout, "status").replace('_', " "),
                format!("{} %", rollout["rollout_percentage"]),
                format!("{} of {}", rollout["step"], steps.join(",")),
                text(rollout, "since").to_owned(),
                next,
            ]
        })
        .collect();
    if rows.is_empty() {
        return output::text("no flag had a rollout yet");
    }
    output::table(&["FLAG", "STATUS", "SHARE", "STEP", "SINCE", "NEXT STEP NOT BEFORE"], &rows)
}

fn in_words(rollout: &Value) -> String {
    let steps = list(rollout, "steps").count();
    let status = text(rollout, "status").replace('_', " ");
    let mut words = format!("{status} at {} % (step {} of {steps})", rollout["rollout_percentage"], rollout["step"]);
    words += &format!(" since {}", text(rollout, "since"));
    if let Some(next) = rollout["next_step_at"].as_str() {
        words += &format!(", next step not before {next}");
    }
    words
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}
