//! The database, for commands that use it without a server.

use std::time::SystemTime;

use anyhow::Context;

use super::Failure;
use crate::{config::DatabaseSettings, storage::Storage};

/// Connects to the configured database.
pub(super) async fn connect(settings: &DatabaseSettings) -> Result<Storage, Failure> {
    let storage = Storage::new(settings)?;
    storage.connect().await.context("the database cannot be used")?;
    Ok(storage)
}

/// Reads a time: RFC 3339, a day, or how long ago.
pub(super) fn parse_time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(&format!("{text} 00:00:00")) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok().and_then(|ago| SystemTime::now().checked_sub(ago));
    ago.ok_or_else(|| {
        "expected a time (`2026-01-31T12:00:00Z`), a day (`2026-01-31`) or how long ago (`7d`)".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_given_in_three_ways() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(parse_time("1970-01-02"), Ok(at(86_400)));
        assert_eq!(parse_time("1970-01-01T00:01:00Z"), Ok(at(60)));
        let hour = SystemTime::now().duration_since(parse_time("1h").expect("a duration")).expect("it was before");
        assert!((3_599..3_700).contains(&hour.as_secs()), "{hour:?}");
        assert!(parse_time("yesterday").is_err());
    }
}
