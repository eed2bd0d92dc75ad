//! Where settings come from, and which source each value came from.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};

use confique::{
    Config, File, FileFormat, Layer,
    meta::{Field, FieldKind, Meta},
};
use serde_json::Value;

use super::{ConfigError, Settings, SettingsLayer};

/// Which file to read when none is named; it may be missing.
const DEFAULT_FILE: &str = "intent-classifier.toml";

/// Where to read settings from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The file named on the command line or by `CONFIG_FILE`; must exist.
    pub(crate) file: Option<PathBuf>,
    /// The values of the command line.
    pub(crate) flags: SettingsLayer,
    /// The variables that `.env` set.
    dot_env: BTreeSet<String>,
}

/// Which source a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment,
    /// The file `.env`.
    DotEnv,
    /// The configuration file.
    File(PathBuf),
    /// Nothing: the default, or no value.
    Default,
}

/// Settings ready for use, with their origins.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The settings.
    pub(crate) settings: Settings,
    /// Each source, the strongest first.
    layers: Vec<(Origin, Value)>,
    dot_env: BTreeSet<String>,
}

/// One setting as it stands.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it is in the file: `server.port`.
    pub(crate) key: String,
    /// The environment variable that sets it.
    pub(crate) variable: Option<&'static str>,
    /// Its value; null when it is unset.
    pub(crate) value: Value,
    /// Where the value came from.
    pub(crate) origin: Origin,
}

impl Sources {
    /// Reads `.env` from the working directory into the environment, where variables already set win.
    ///
    /// Call it before there is a second thread.
    ///
    /// # Errors
    /// [`ConfigError::DotEnv`] when the file is there and does not parse.
    pub(crate) fn with_dot_env() -> Result<Self, ConfigError> {
        let path = Path::new(".env");
        let mut dot_env = BTreeSet::new();
        match dotenvy::from_path_iter(path) {
            Ok(variables) => {
                for variable in variables {
                    let (name, _) = variable.map_err(|error| unreadable_dot_env(path, &error))?;
                    if std::env::var_os(&name).is_none() {
                        dot_env.insert(name);
                    }
                }
                dotenvy::from_path(path).map_err(|error| unreadable_dot_env(path, &error))?;
            }
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable_dot_env(path, &error)),
        }
        Ok(Self { file: None, flags: SettingsLayer::empty(), dot_env })
    }

    /// Reads all sources and checks the result.
    ///
    /// # Errors
    /// [`ConfigError`] for the first value that does not parse, key that is unknown, or rule that is broken.
    pub(crate) fn load(self) -> Result<Loaded, ConfigError> {
        let path = self.file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
        let mut file = File::with_format(&path, FileFormat::Toml);
        if self.file.is_some() {
            file = file.required();
        }
        let file: SettingsLayer = file.load().map_err(ConfigError::Unreadable)?;
        let environment = SettingsLayer::from_env().map_err(ConfigError::Unreadable)?;
        let defaults = SettingsLayer::default_values();

        let layers = [
            (Origin::Flag, &self.flags),
            (Origin::Environment, &environment),
            (Origin::File(path), &file),
            (Origin::Default, &defaults),
        ]
        .map(|(origin, layer)| (origin, serde_json::to_value(layer).expect("a settings layer is plain data")))
        .into();

        let merged = self.flags.with_fallback(environment).with_fallback(file).with_fallback(defaults);
        let settings = Settings::from_layer(merged).map_err(ConfigError::Unreadable)?;
        settings.check()?;
        Ok(Loaded { settings, layers, dot_env: self.dot_env })
    }
}

impl Loaded {
    /// Lists every setting with its value and where that came from, in the order of the documentation.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.collect(&Settings::META, "", &mut entries);
        entries
    }

    fn collect(&self, meta: &Meta, prefix: &str, entries: &mut Vec<Entry>) {
        for Field { name, kind, .. } in meta.fields {
            match kind {
                FieldKind::Nested { meta } => self.collect(meta, &format!("{prefix}{name}."), entries),
                FieldKind::Leaf { env, .. } => entries.push(self.entry(format!("{prefix}{name}"), *env)),
            }
        }
    }

    fn entry(&self, key: String, variable: Option<&'static str>) -> Entry {
        let pointer = format!("/{}", key.replace('.', "/"));
        let (origin, value) = self
            .layers
            .iter()
            .find_map(|(origin, layer)| match layer.pointer(&pointer) {
                None | Some(Value::Null) => None,
                Some(value) => Some((origin.clone(), value.clone())),
            })
            .unwrap_or((Origin::Default, Value::Null));
        let from_dot_env =
            origin == Origin::Environment && variable.is_some_and(|variable| self.dot_env.contains(variable));
        Entry { key, variable, value, origin: if from_dot_env { Origin::DotEnv } else { origin } }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("command line"),
            Self::Environment => f.write_str("environment"),
            Self::DotEnv => f.write_str(".env"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

fn unreadable_dot_env(path: &Path, error: &dotenvy::Error) -> ConfigError {
    ConfigError::DotEnv { path: path.to_owned(), reason: error.to_string() }
}
