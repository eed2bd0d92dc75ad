//! Where a page in a browser comes from.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An origin, written `https://console.example`, or `*` for any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Origin(String);

/// A text is not an origin.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not an origin such as `https://console.example` or `http://localhost:3000`, without a path, nor `*`")]
pub(crate) struct NotAnOrigin(String);

impl Origin {
    /// Returns it as browsers write it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether it stands for every origin.
    pub(crate) fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl FromStr for Origin {
    type Err = NotAnOrigin;

    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let text = text.trim();
        let is_origin = reqwest::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text);
        if text == "*" || is_origin { Ok(Self(text.to_owned())) } else { Err(NotAnOrigin(text.to_owned())) }
    }
}

impl TryFrom<String> for Origin {
    type Error = NotAnOrigin;

    fn try_from(text: String) -> Result<Self, NotAnOrigin> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
