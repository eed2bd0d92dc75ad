//! Feedback that waits for a database: written to disk and synced before it is accepted.
//!
//! Files only grow, and only by whole records; one that is full is closed, and deleted when the database has all of it.
//! A file belongs to the process that has it locked, so that several processes may use one folder, and what a process
//! leaves behind is taken over by the next.

pub(crate) mod record;
mod segment;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc, oneshot};

pub(crate) use self::segment::{Contents, Segment};
use self::writer::{Request, Writer};

/// The most records that wait for the disk; who comes later waits before it gets in line.
const QUEUE: usize = 1024;

/// The spool of this process. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Spool {
    requests: mpsc::Sender<Request>,
    level: Arc<Level>,
}

/// How full the spool is.
#[derive(Debug, Default)]
pub(crate) struct Level {
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// Why a record was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpoolError {
    /// The spool has reached its limit.
    #[error("the spool holds {bytes} bytes and may hold {max_bytes}")]
    Limit {
        /// What it holds.
        bytes: u64,
        /// What it may hold.
        max_bytes: u64,
    },
    /// The disk, or what this process may use of it, is full.
    #[error("there is no space left for `{}`", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The disk did not take it.
    #[error("cannot write to `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Spool {
    /// Opens the spool in a folder, which is made when it is needed, and takes over what earlier processes left there.
    /// It holds at most about `max_bytes`.
    pub(crate) fn open(folder: &Path, max_bytes: u64) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        let level = Arc::new(Level::default());
        let writer = Writer::new(folder.to_owned(), max_bytes, Arc::clone(&level));
        std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || writer.run(queue))
            .expect("a thread can be started");
        Self { requests, level }
    }

    /// Appends a record; when this returns, it survives the end of the process and of the machine.
    ///
    /// # Errors
    /// [`SpoolError`]; the record is not there then.
    pub(crate) async fn append(&self, content: Vec<u8>) -> Result<(), SpoolError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Append { content, reply }).await;
        sent.expect("the spool's thread ends after its last owner");
        answer.await.expect("the spool's thread answers every request")
    }

    /// Closes the file that is written to, and returns all closed ones, the oldest first. They stay this process's.
    pub(crate) async fn close(&self) -> Vec<Arc<Segment>> {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Close { reply }).await;
        sent.expect("the spool's thread ends after its last owner");
        answer.await.expect("the spool's thread answers every request")
    }

    /// Deletes a closed file, all of which is in the database.
    pub(crate) async fn remove(&self, segment: &Arc<Segment>) {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(Request::Remove { segment: Arc::clone(segment), reply }).await;
        sent.expect("the spool's thread ends after its last owner");
        answer.await.expect("the spool's thread answers every request");
    }

    /// Returns how many records wait.
    pub(crate) fn entries(&self) -> u64 {
        self.level.entries.load(Ordering::Acquire)
    }
}

impl Level {
    fn raise(&self, entries: u64, bytes: u64) {
        self.entries.fetch_add(entries, Ordering::AcqRel);
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    /// A file that the disk changed behind our back may hold less than was written: never under nothing.
    fn lower(&self, entries: u64, bytes: u64) {
        for (level, by) in [(&self.entries, entries), (&self.bytes, bytes)] {
            level
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |level| Some(level.saturating_sub(by)))
                .expect("the closure always returns a value");
        }
    }
}

impl SpoolError {
    fn of(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::DiskFull { path, source },
            _ => Self::Io { path, source },
        }
    }
}
