//! The documents about settings, made from the settings themselves.

use std::fmt::Write;

use confique::{
    Config,
    meta::{Expr, Field, FieldKind, LeafKind, Meta},
    toml::FormatOptions,
};

use super::Settings;
use crate::flags::{self, FlagVariables};

/// Returns the Markdown page of all settings: one table per section.
pub(crate) fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         <!-- Made by `intent-classifier config docs`; a test compares. Change the settings' doc comments instead. -->\n\n\
         Later wins: default, file (`--config PATH` or `CONFIG_FILE`, else `intent-classifier.toml` when it is there), \
         `.env` in the working directory, environment, command line. An unknown key in the file or a value that does not \
         parse stops the start with exit status 78 and a message that names it. `intent-classifier config show` prints \
         each value in force and where it came from.\n",
    );
    for Field { name, doc, kind } in Settings::META.fields {
        if let FieldKind::Nested { meta } = kind {
            write_section(&mut page, name, doc, meta);
            if *name == "flags" {
                write_flags(&mut page);
            }
        }
    }
    page
}

/// Returns a configuration file with every key commented out at its default.
pub(crate) fn template() -> String {
    let body = confique::toml::template::<Settings>(FormatOptions::default());
    format!(
        "# Every setting with its default. Made by `intent-classifier config template`; a test compares.\n\
         # Copy it to `intent-classifier.toml`, or name your copy with `--config` or `CONFIG_FILE`.\n\n{body}"
    )
}

fn write_section(page: &mut String, name: &str, doc: &[&str], meta: &Meta) {
    let title = doc.join(" ");
    let header = "| Variable | Key | Default | Meaning |\n| --- | --- | --- | --- |";
    writeln!(page, "\n## `[{name}]`\n\n{}\n\n{header}", title.trim()).expect("a string takes any text");
    for Field { name: key, doc, kind } in meta.fields {
        let FieldKind::Leaf { env, kind } = kind else { continue };
        let variable = env.map_or(String::new(), |env| format!("`{env}`"));
        let meaning = doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        writeln!(page, "| {variable} | `{name}.{key}` | {} | {meaning} |", default_of(kind))
            .expect("a string takes any text");
    }
}

/// Lists the variables of the feature flags, which are in no settings file.
fn write_flags(page: &mut String) {
    let header = "| Variable | Default | Meaning |\n| --- | --- | --- |";
    writeln!(page, "\n{header}").expect("a string takes any text");
    for FlagVariables { flag, enabled, rollout, alias } in flags::variables() {
        let default = flag.is_enabled_by_default();
        let alias = alias.map_or(String::new(), |alias| format!(" `{alias}` means the same, unless both are set."));
        writeln!(
            page,
            "| `{enabled}` | `{default}` | {}.{alias} |\n| `{rollout}` | `100` | Share of the users, 0 to 100. |",
            capitalised(flag.description())
        )
        .expect("a string takes any text");
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

fn default_of(kind: &LeafKind) -> String {
    match kind {
        LeafKind::Optional => "unset".to_owned(),
        LeafKind::Required { default: None } => "required".to_owned(),
        LeafKind::Required { default: Some(Expr::Str(text)) } => format!("`{text}`"),
        LeafKind::Required { default: Some(value) } => {
            format!("`{}`", serde_json::to_string(value).expect("a default is plain data"))
        }
    }
}
