//! Errors in words.

/// Says what went wrong with all its causes, on one line.
pub(crate) fn in_full(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}
