//! What can be done with the database at the moment.

use std::time::{Duration, SystemTime};

use super::{Fault, StorageError};

/// What can be done with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everything.
    ReadWrite,
    /// Reading alone, for this reason.
    ReadOnly(Fault),
    /// Nothing, for this reason.
    None(Fault),
}

/// How the database is, as the last look or the last failure left it.
#[derive(Clone, Debug)]
pub(crate) struct StorageStatus {
    /// What can be done.
    pub(crate) access: Access,
    /// Since when.
    pub(crate) since: SystemTime,
    /// What the database or the network said when it last failed; for people who run the service.
    pub(crate) last_error: Option<String>,
    /// How long the last look took that went well.
    pub(crate) latency: Option<Duration>,
}

impl Access {
    /// Refuses to read a database that is known to be away.
    pub(super) fn check_reading(self) -> Result<(), StorageError> {
        match self {
            Self::ReadWrite | Self::ReadOnly(_) => Ok(()),
            Self::None(fault) => Err(StorageError::known(fault)),
        }
    }

    /// Refuses to write to a database that is known not to take it.
    pub(super) fn check_writing(self) -> Result<(), StorageError> {
        match self {
            Self::ReadWrite => Ok(()),
            Self::ReadOnly(fault) | Self::None(fault) => Err(StorageError::known(fault)),
        }
    }

    /// Tells whether changes are taken.
    pub(crate) fn is_writable(self) -> bool {
        self == Self::ReadWrite
    }

    /// Tells whether changes are refused, other than by a process that has only just started.
    pub(crate) fn is_refusing_changes(self) -> bool {
        !matches!(self, Self::ReadWrite | Self::None(Fault::Starting))
    }

    fn after(fault: Fault) -> Self {
        match fault {
            Fault::ReadOnly | Fault::Full => Self::ReadOnly(fault),
            Fault::Starting | Fault::Unreachable | Fault::Slow => Self::None(fault),
        }
    }
}

impl StorageStatus {
    /// The status before the first look.
    pub(super) fn starting() -> Self {
        let access = Access::None(Fault::Starting);
        Self { access, since: SystemTime::now(), last_error: None, latency: None }
    }

    /// Takes in that an operation failed; returns whether that changes anything. One that was slow says nothing of the
    /// next: the monitor looks before anybody is refused.
    pub(super) fn suspect(&mut self, fault: Fault) -> bool {
        fault != Fault::Slow && self.access == Access::ReadWrite && self.set(Access::after(fault))
    }

    /// Takes in a look that went well; returns whether the access changes.
    pub(super) fn good(&mut self, latency: Duration) -> bool {
        self.latency = Some(latency);
        self.set(Access::ReadWrite)
    }

    /// Takes in a look that did not; returns whether the access changes.
    pub(super) fn bad(&mut self, fault: Fault, error: String) -> bool {
        self.last_error = Some(error);
        self.set(Access::after(fault))
    }

    fn set(&mut self, access: Access) -> bool {
        let differs = self.access != access;
        if differs {
            self.access = access;
            self.since = SystemTime::now();
        }
        differs
    }
}
