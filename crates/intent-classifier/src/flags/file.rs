//! Flags from a file.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use intent_engine::flags::{Flag, FlagChange, Overrides, Rollout};
use serde::{Deserialize, Deserializer, de};

/// The largest file that is read, in bytes; nine flags need less than one thousand.
const MAX_BYTES: u64 = 1024 * 1024;

/// A file that cannot be used; what it says is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// It cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is too large to be a file of flags.
    #[error("`{}` has more than {MAX_BYTES} bytes, which no file of flags needs", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Its name does not say what it is.
    #[error("cannot tell the format of `{}`, expected a name that ends with `.toml` or `.json`", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// What it says cannot be understood.
    #[error("`{}`: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Line, what was found and what was expected.
        reason: String,
    },
}

/// Tells two states of a file apart without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    modified: SystemTime,
    bytes: u64,
    inode: u64,
}

impl Fingerprint {
    /// Looks at a file; `None` when it is not there.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok()?, bytes: metadata.len(), inode: metadata.ino() })
    }
}

/// Reads what a file says of flags.
///
/// # Errors
/// [`FileError`] when it cannot be read, or when anything in it cannot be understood.
pub(crate) fn read(path: &Path) -> Result<Overrides, FileError> {
    let owned = || path.to_owned();
    let unreadable = |source| FileError::Unreadable { path: owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.len() > MAX_BYTES {
        return Err(FileError::TooLarge { path: owned() });
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    parse(path, &text, metadata.modified().ok())
}

/// Reads the text of a file, whose name tells its format.
///
/// # Errors
/// As [`read`].
pub(crate) fn parse(path: &Path, text: &str, updated_at: Option<SystemTime>) -> Result<Overrides, FileError> {
    let owned = || path.to_owned();
    let invalid = |reason: String| FileError::Invalid { path: owned(), reason: reason.trim_end().to_owned() };
    let entries: Entries = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::from_str(text).map_err(|error| invalid(error.to_string()))?,
        Some("json") => serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?,
        _ => return Err(FileError::UnknownFormat { path: owned() }),
    };
    let change = |entry: Entry| FlagChange {
        enabled: entry.enabled,
        rollout: entry.rollout_percentage.map(|percentage| percentage.0),
        updated_at,
    };
    Ok(entries.0.into_iter().map(|(flag, entry)| (flag, change(entry))).collect())
}

/// The content of a file: flags by their names, each once.
struct Entries(BTreeMap<Flag, Entry>);

/// What a file says of one flag.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(default, deserialize_with = "given")]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    rollout_percentage: Option<Percentage>,
}

struct Percentage(Rollout);

/// Refuses null, which could mean anything.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Percentage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        Rollout::from_percent(percent).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;

        impl<'de> de::Visitor<'de> for ByName {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("flags by their names")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(Name(flag)) = map.next_key()? {
                    if entries.insert(flag, map.next_value()?).is_some() {
                        return Err(de::Error::custom(format!("`{flag}` is there twice")));
                    }
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(ByName)
    }
}

struct Name(Flag);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn read_as(name: &str, content: &[u8]) -> Result<Overrides, FileError> {
        let folder = TempDir::new().expect("there is room for a folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("a file can be written");
        let mut overrides = read(&path);
        // The time is the file's.
        overrides.iter_mut().flat_map(|overrides| overrides.values_mut()).for_each(|change| change.updated_at = None);
        overrides
    }

    #[test]
    fn both_formats_say_the_same() {
        let toml =
            "# comment\n[quality_mode]\nenabled = true\nrollout_percentage = 12.5\n\n[caching]\nenabled = false\n";
        let json = r#"{"quality_mode": {"enabled": true, "rollout_percentage": 12.5}, "caching": {"enabled": false}}"#;
        let expected = Overrides::from([
            (Flag::Caching, FlagChange { enabled: Some(false), ..FlagChange::default() }),
            (
                Flag::QualityMode,
                FlagChange { enabled: Some(true), rollout: Rollout::from_percent(12.5).ok(), updated_at: None },
            ),
        ]);
        assert_eq!(read_as("flags.toml", toml.as_bytes()).expect("it parses"), expected);
        assert_eq!(read_as("flags.json", json.as_bytes()).expect("it parses"), expected);
        assert_eq!(read_as("flags.toml", b"").expect("nothing is said"), Overrides::new());
        assert_eq!(read_as("flags.json", b"{}").expect("nothing is said"), Overrides::new());
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let cases: [(&str, &[u8], &str); 15] = [
            ("a.toml", b"[caching]\nenabled = \"yes\"\n", "line 2"),
            ("a.toml", b"[caching]\nenabled = \"yes\"\n", "invalid type: string \"yes\", expected a boolean"),
            ("a.toml", b"\n[cashing]\nenabled = true\n", "unknown flag `cashing`, expected one of `adaptive_routing`"),
            ("a.toml", b"\n[cashing]\nenabled = true\n", "line 2"),
            ("a.toml", b"[caching]\nrollout = 5\n", "unknown field `rollout`"),
            ("a.toml", b"[caching]\nrollout_percentage = 101\n", "expected a percentage from 0 to 100, found 101"),
            ("a.toml", b"[caching]\n[caching]\n", "duplicate key"),
            ("a.toml", b"[caching\n", "line 1"),
            ("a.json", b"{\"caching\": {\"enabled\": null}}", "invalid type: null, expected a boolean at line 1"),
            ("a.json", b"{\"caching\": {\"rollout_percentage\": \"50\"}}", "invalid type: string \"50\""),
            ("a.json", b"{\"caching\": {},\n \"caching\": {}}", "`caching` is there twice at line 2"),
            ("a.json", b"[]", "expected flags by their names"),
            ("a.json", b"", "EOF while parsing"),
            ("a.yaml", b"caching:\n", "expected a name that ends with `.toml` or `.json`"),
            ("a", b"", "expected a name that ends with `.toml` or `.json`"),
        ];
        for (name, content, expected) in cases {
            let error = read_as(name, content).expect_err(expected).to_string();
            assert!(error.contains(expected) && error.contains(name), "{error}");
        }
        assert!(matches!(read_as("a.toml", b"\xff"), Err(FileError::Unreadable { .. })));
        assert!(matches!(read_as("a.json", &vec![b' '; 1024 * 1024 + 1]), Err(FileError::TooLarge { .. })));
    }

    proptest! {
        #[test]
        fn whatever_a_file_holds_is_read_or_refused(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            for name in ["flags.toml", "flags.json"] {
                let _ = read_as(name, &content);
            }
        }
    }
}
