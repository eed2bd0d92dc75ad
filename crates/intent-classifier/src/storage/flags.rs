//! What was said of flags through the API.

use std::time::SystemTime;

use intent_engine::{
    Flag,
    flags::{FlagChange, Overrides, Rollout},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Change, ChangeError, Changed, Storage, StorageError, Topic};

/// All that was said of flags through the API.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StoredFlags {
    /// Grows with every change of any flag; 0 when none was ever changed.
    pub(crate) revision: u64,
    /// What was said, flag by flag.
    pub(crate) overrides: Overrides,
    /// The revision at the last change of each flag in `overrides`.
    pub(crate) revisions: std::collections::BTreeMap<Flag, u64>,
}

impl StoredFlags {
    /// Returns the revision at which a flag was changed last over HTTP; 0 when it is not set there.
    pub(crate) fn revision_of(&self, flag: Flag) -> u64 {
        self.revisions.get(&flag).copied().unwrap_or(0)
    }
}

/// A change of a flag, as the audit trail has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FlagAuditEntry {
    /// The revision it made.
    pub(crate) revision: u64,
    /// When.
    pub(crate) at: SystemTime,
    /// Who made it.
    pub(crate) actor: String,
    /// What had been said through the API before; `None` when nothing.
    pub(crate) from: Option<FlagChange>,
    /// What was said from then on.
    pub(crate) to: Option<FlagChange>,
}

/// A flag's document.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rollout_percentage: Option<f64>,
}

impl Storage {
    /// Returns all that was said of flags through the API. Flags that this version does not know are left out.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn flags(&self) -> Result<StoredFlags, StorageError> {
        let documents = self.documents(Topic::Flags).await?;
        let mut stored = StoredFlags { revision: documents.revision, ..StoredFlags::default() };
        for document in documents.documents {
            let Ok(flag) = document.name.parse::<Flag>() else { continue };
            let change = FlagChange { updated_at: Some(document.updated_at), ..read(document.body)? };
            stored.overrides.insert(flag, change);
            stored.revisions.insert(flag, document.revision);
        }
        Ok(stored)
    }

    /// Changes one flag; what `change` leaves open stays as it was said before. `expected_revision` is the one at the
    /// flag's last change, 0 when nothing was said of it through the API.
    ///
    /// # Errors
    /// [`ChangeError`]; see [`Storage::change_document`].
    pub(crate) async fn change_flag(
        &self,
        flag: Flag,
        change: FlagChange,
        expected_revision: Option<u64>,
        actor: &str,
    ) -> Result<Changed, ChangeError> {
        let document = Change { topic: Topic::Flags, name: flag.as_str(), expected_revision, actor };
        self.change_document(document, |before| {
            // Content that cannot be read is replaced: the flag would be stuck otherwise.
            let before: Body = before.and_then(|body| serde_json::from_value(body.clone()).ok()).unwrap_or_default();
            let after = Body {
                enabled: change.enabled.or(before.enabled),
                rollout_percentage: change.rollout.map(Rollout::percent).or(before.rollout_percentage),
            };
            Ok(Some(serde_json::to_value(after).expect("two plain fields")))
        })
        .await
    }

    /// Takes back all that was said of a flag through the API.
    ///
    /// # Errors
    /// [`ChangeError`]; see [`Storage::change_document`].
    pub(crate) async fn reset_flag(
        &self,
        flag: Flag,
        expected_revision: Option<u64>,
        actor: &str,
    ) -> Result<Changed, ChangeError> {
        let document = Change { topic: Topic::Flags, name: flag.as_str(), expected_revision, actor };
        self.change_document(document, |_| Ok(None)).await
    }

    /// Returns the latest changes of a flag, the latest first, at most `limit`.
    ///
    /// # Errors
    /// [`StorageError`] when the database cannot be read.
    pub(crate) async fn flag_history(&self, flag: Flag, limit: u32) -> Result<Vec<FlagAuditEntry>, StorageError> {
        let changes = self.document_history(Topic::Flags, flag.as_str(), limit).await?;
        changes
            .into_iter()
            .map(|line| {
                let Changed { revision, at, from, to } = line.change;
                let (from, to) = (from.map(read).transpose()?, to.map(read).transpose()?);
                Ok(FlagAuditEntry { revision, at, actor: line.actor, from, to })
            })
            .collect()
    }
}

/// Writes the document of a flag of which all is said.
pub(super) fn body_of(enabled: bool, rollout: Rollout) -> Value {
    let body = Body { enabled: Some(enabled), rollout_percentage: Some(rollout.percent()) };
    serde_json::to_value(body).expect("two plain fields")
}

fn read(body: Value) -> Result<FlagChange, StorageError> {
    let unreadable = |reason| StorageError::Unreadable { table: "documents", reason };
    let body: Body = serde_json::from_value(body).map_err(|error| unreadable(error.to_string()))?;
    let rollout = body.rollout_percentage.map(Rollout::from_percent).transpose().map_err(unreadable)?;
    Ok(FlagChange { enabled: body.enabled, rollout, updated_at: None })
}
