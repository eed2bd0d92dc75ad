//! The bearer token of a model server, from a file that others renew.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use tracing::warn;

/// What a call is about; TorchServe has a token for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Inference,
    Management,
}

/// The tokens of a file, and the file.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    tokens: ArcSwap<Tokens>,
}

/// Headers with tokens; they are marked so that nothing prints them.
#[derive(Debug, Default, PartialEq)]
struct Tokens {
    inference: Option<HeaderValue>,
    management: Option<HeaderValue>,
}

/// The largest file that is read.
const MAX_BYTES: u64 = 64 * 1024;

impl TokenFile {
    /// Reads a file. One that is not there yet, or cannot be read, is read again when a call is refused.
    pub(super) fn open(path: &Path) -> Self {
        let file = Self { path: path.to_owned(), tokens: ArcSwap::default() };
        file.read_again();
        file
    }

    /// Returns the header of a call.
    pub(super) fn header(&self, purpose: Purpose) -> Option<HeaderValue> {
        let tokens = self.tokens.load();
        match purpose {
            Purpose::Inference => tokens.inference.clone(),
            Purpose::Management => tokens.management.clone(),
        }
    }

    /// Reads the file again; tells whether there is a new token in it.
    pub(super) fn read_again(&self) -> bool {
        match read(&self.path) {
            Ok(tokens) if tokens == **self.tokens.load() => false,
            Ok(tokens) => {
                self.tokens.store(Arc::new(tokens));
                true
            }
            Err(error) => {
                warn!(path = %self.path.display(), %error, "the token of the model server cannot be read");
                false
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Tokens> {
    let mut content = String::new();
    File::open(path)?.take(MAX_BYTES).read_to_string(&mut content)?;
    parse(&content).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))
}

/// Reads TorchServe's `key_file.json`, or a token that stands alone.
fn parse(content: &str) -> Result<Tokens, String> {
    #[derive(Deserialize)]
    struct KeyFile {
        inference: Key,
        management: Option<Key>,
    }
    #[derive(Deserialize)]
    struct Key {
        key: String,
    }
    let content = content.trim();
    if content.starts_with('{') {
        let file: KeyFile = serde_json::from_str(content)
            .map_err(|_| "it is JSON, but not as TorchServe's `key_file.json`: expected `inference.key`".to_owned())?;
        let management = file.management.map(|key| bearer(&key.key)).transpose()?;
        Ok(Tokens { inference: Some(bearer(&file.inference.key)?), management })
    } else {
        let token = bearer(content)?;
        Ok(Tokens { inference: Some(token.clone()), management: Some(token) })
    }
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() {
        return Err("it holds no token".to_owned());
    }
    let mut header = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "a token must be printable ASCII on one line".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn text(header: Option<HeaderValue>) -> String {
        header.map(|header| header.to_str().expect("ASCII").to_owned()).unwrap_or_default()
    }

    #[test]
    fn a_file_holds_one_token_or_torchserves_keys() {
        let plain = parse("secret-1\n").expect("a token");
        assert_eq!(text(plain.inference), "Bearer secret-1");
        let keys =
            r#"{"management": {"key": "m", "expiration time": "x"}, "inference": {"key": "i"}, "API": {"key": "a"}}"#;
        let keys = parse(keys).expect("keys");
        assert_eq!((text(keys.inference), text(keys.management)), ("Bearer i".to_owned(), "Bearer m".to_owned()));
    }

    #[test]
    fn what_is_no_token_is_refused_without_repeating_it() {
        for content in ["", "  \n", "two\nlines", "{\"inference\": 1}", "{broken", "n\u{f6}\u{7}"] {
            let message = parse(content).expect_err(content);
            assert!(content.trim().is_empty() || !message.contains(content), "{message}");
        }
        assert!(!format!("{:?}", parse("hunter2")).contains("hunter2"), "a token is never printed");
    }

    #[test]
    fn a_file_that_appears_or_changes_is_read_again() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("token");
        let file = TokenFile::open(&path);
        assert_eq!(file.header(Purpose::Inference), None);
        assert!(!file.read_again(), "it is not there yet");
        fs::write(&path, "one").expect("a file can be written");
        assert!(file.read_again());
        assert!(!file.read_again(), "it is the same");
        fs::write(&path, "two").expect("a file can be written");
        assert!(file.read_again());
        assert_eq!(text(file.header(Purpose::Management)), "Bearer two");
        fs::write(&path, "").expect("a file can be written");
        assert!(!file.read_again(), "a file that is being written keeps the old token");
        assert_eq!(text(file.header(Purpose::Inference)), "Bearer two");
    }
}
