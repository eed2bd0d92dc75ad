//! Flags from environment variables.

use std::ffi::OsString;

use intent_engine::flags::{Flag, FlagChange, Overrides, Rollout};

/// What the name of every variable of a flag begins with.
const PREFIX: &str = "FEATURE_FLAG_";

/// A variable that says something about a flag and cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VariableError {
    /// It is about no flag.
    #[error(
        "`{variable}`: there is no such variable, expected `{PREFIX}<NAME>_ENABLED` or `{PREFIX}<NAME>_ROLLOUT` with one of {}",
        names()
    )]
    Unknown {
        /// The variable.
        variable: String,
    },
    /// Its value does not parse.
    #[error("`{variable}`: {reason}")]
    Invalid {
        /// The variable.
        variable: String,
        /// What was found and what was expected.
        reason: String,
    },
}

/// A variable that every flag could have, under an older name.
struct Alias {
    variable: &'static str,
    flag: Flag,
}

/// They mean the same as `FEATURE_FLAG_<NAME>_ENABLED`, which wins where both are set.
const ALIASES: [Alias; 2] = [
    Alias { variable: "ENABLE_ADAPTIVE_ROUTING", flag: Flag::AdaptiveRouting },
    Alias { variable: "USE_TORCHSERVE", flag: Flag::DistilbertModel },
];

/// Returns what the variables say of flags. An empty variable is as good as none.
///
/// # Errors
/// [`VariableError`] for the first one, by name, that cannot be understood.
pub(crate) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Overrides, VariableError> {
    let mut set: Vec<(String, String)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().trim().to_owned())))
        .filter(|(name, value)| !value.is_empty() && (name.starts_with(PREFIX) || alias(name).is_some()))
        .collect();
    // Aliases first, so that the names proper win.
    set.sort_by(|(one, _), (other, _)| (one.starts_with(PREFIX), one).cmp(&(other.starts_with(PREFIX), other)));

    let mut overrides = Overrides::new();
    for (variable, value) in set {
        let (flag, setting) =
            meaning(&variable).ok_or_else(|| VariableError::Unknown { variable: variable.clone() })?;
        let invalid = |reason| VariableError::Invalid { variable: variable.clone(), reason };
        let change: &mut FlagChange = overrides.entry(flag).or_default();
        match setting {
            Setting::Enabled => change.enabled = Some(parse_switch(&value).map_err(invalid)?),
            Setting::Rollout => change.rollout = Some(parse_rollout(&value).map_err(invalid)?),
        }
    }
    Ok(overrides)
}

/// The variables of one flag.
#[derive(Debug)]
pub(crate) struct FlagVariables {
    /// The flag.
    pub(crate) flag: Flag,
    /// Turns it on or off.
    pub(crate) enabled: String,
    /// Sets for which share of the users it is on.
    pub(crate) rollout: String,
    /// Another name of `enabled`.
    pub(crate) alias: Option<&'static str>,
}

/// Lists the variables of every flag, for the documents.
pub(crate) fn variables() -> impl Iterator<Item = FlagVariables> {
    Flag::ALL.into_iter().map(|flag| {
        let name = flag.as_str().to_uppercase();
        let alias = ALIASES.iter().find(|alias| alias.flag == flag).map(|alias| alias.variable);
        FlagVariables {
            flag,
            enabled: format!("{PREFIX}{name}_ENABLED"),
            rollout: format!("{PREFIX}{name}_ROLLOUT"),
            alias,
        }
    })
}

enum Setting {
    Enabled,
    Rollout,
}

fn meaning(variable: &str) -> Option<(Flag, Setting)> {
    if let Some(alias) = alias(variable) {
        return Some((alias.flag, Setting::Enabled));
    }
    let rest = variable.strip_prefix(PREFIX)?;
    let (name, setting) = match rest.strip_suffix("_ENABLED") {
        Some(name) => (name, Setting::Enabled),
        None => (rest.strip_suffix("_ROLLOUT")?, Setting::Rollout),
    };
    let flag = Flag::ALL.into_iter().find(|flag| flag.as_str().to_uppercase() == name)?;
    Some((flag, setting))
}

fn alias(variable: &str) -> Option<&'static Alias> {
    ALIASES.iter().find(|alias| alias.variable == variable)
}

/// Takes what every other switch of the configuration takes.
fn parse_switch(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => Err(format!("expected `true` or `false`, found `{value}`")),
    }
}

fn parse_rollout(value: &str) -> Result<Rollout, String> {
    let percent = value.parse().map_err(|_| format!("expected a percentage from 0 to 100, found `{value}`"))?;
    Rollout::from_percent(percent)
}

fn names() -> String {
    Flag::ALL.map(|flag| format!("`{}`", flag.as_str().to_uppercase())).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_pairs(pairs: &[(&str, &str)]) -> Result<Overrides, VariableError> {
        read(pairs.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn switches_and_rollouts_are_read_and_other_variables_are_not() {
        let read = read_pairs(&[
            ("FEATURE_FLAG_CACHING_ENABLED", "FALSE"),
            ("FEATURE_FLAG_QUALITY_MODE_ENABLED", " true "),
            ("FEATURE_FLAG_QUALITY_MODE_ROLLOUT", "12.5"),
            ("FEATURE_FLAG_AB_TESTING_ROLLOUT", ""),
            ("FEATURE_FLAGS_FILE", "flags.toml"),
            ("PATH", "/bin"),
        ])
        .expect("all of it can be understood");
        let half = Rollout::from_percent(12.5).ok();
        let expected = Overrides::from([
            (Flag::Caching, FlagChange { enabled: Some(false), ..FlagChange::default() }),
            (Flag::QualityMode, FlagChange { enabled: Some(true), rollout: half, updated_at: None }),
        ]);
        assert_eq!(read, expected);
    }

    #[test]
    fn the_name_proper_wins_over_its_alias() {
        let both = [("USE_TORCHSERVE", "false"), ("FEATURE_FLAG_DISTILBERT_MODEL_ENABLED", "true")];
        for pairs in [both, [both[1], both[0]]] {
            assert_eq!(read_pairs(&pairs).expect("it parses")[&Flag::DistilbertModel].enabled, Some(true));
        }
        assert_eq!(read_pairs(&both[..1]).expect("it parses")[&Flag::DistilbertModel].enabled, Some(false));
        let routing = read_pairs(&[("ENABLE_ADAPTIVE_ROUTING", "no")]).expect("it parses");
        assert_eq!(routing[&Flag::AdaptiveRouting].enabled, Some(false));
    }

    #[test]
    fn what_cannot_be_understood_is_named() {
        let cases = [
            ("FEATURE_FLAG_CACHING_ENABLED", "maybe", "expected `true` or `false`, found `maybe`"),
            ("ENABLE_ADAPTIVE_ROUTING", "on", "expected `true` or `false`, found `on`"),
            ("FEATURE_FLAG_CACHING_ROLLOUT", "101", "expected a percentage from 0 to 100, found 101"),
            ("FEATURE_FLAG_CACHING_ROLLOUT", "-1", "expected a percentage from 0 to 100, found -1"),
            ("FEATURE_FLAG_CACHING_ROLLOUT", "nan", "expected a percentage from 0 to 100, found NaN"),
            ("FEATURE_FLAG_CACHING_ROLLOUT", "50%", "expected a percentage from 0 to 100, found `50%`"),
            ("FEATURE_FLAG_CACHE_ENABLED", "true", "`CACHING`"),
            ("FEATURE_FLAG_CACHING", "true", "expected `FEATURE_FLAG_<NAME>_ENABLED`"),
            ("FEATURE_FLAG_caching_ENABLED", "true", "there is no such variable"),
        ];
        for (variable, value, expected) in cases {
            let message = read_pairs(&[(variable, value)]).expect_err(variable).to_string();
            assert!(message.starts_with(&format!("`{variable}`: ")) && message.contains(expected), "{message}");
        }
    }
}
