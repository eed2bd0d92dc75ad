//! The thread that owns the files.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::{Level, SpoolError, record, segment::Segment};

/// A file that has reached this size is closed, in bytes.
const MAX_SEGMENT_BYTES: u64 = 16 << 20;
/// The most records that one sync covers.
const MAX_GROUP: usize = 256;

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Append { content: Vec<u8>, reply: oneshot::Sender<Result<(), SpoolError>> },
    Close { reply: oneshot::Sender<Vec<Arc<Segment>>> },
    Remove { segment: Arc<Segment>, reply: oneshot::Sender<()> },
}

/// The state of the thread.
#[derive(Debug)]
pub(super) struct Writer {
    folder: PathBuf,
    max_bytes: u64,
    level: Arc<Level>,
    active: Option<Segment>,
    closed: Vec<Arc<Segment>>,
}

impl Writer {
    pub(super) fn new(folder: PathBuf, max_bytes: u64, level: Arc<Level>) -> Self {
        Self { folder, max_bytes, level, active: None, closed: Vec::new() }
    }

    /// Does what is asked until nobody is left to ask.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        self.take_over();
        let mut next = None;
        while let Some(request) = next.take().or_else(|| queue.blocking_recv()) {
            match request {
                Request::Append { content, reply } => {
                    let (mut contents, mut replies) = (vec![content], vec![reply]);
                    // Whoever came meanwhile shares the sync.
                    while contents.len() < MAX_GROUP {
                        match queue.try_recv() {
                            Ok(Request::Append { content, reply }) => {
                                contents.push(content);
                                replies.push(reply);
                            }
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append_all(&contents, replies);
                }
                // Who asked may have left.
                Request::Close { reply } => {
                    self.close();
                    let _ = reply.send(self.closed.clone());
                }
                Request::Remove { segment, reply } => {
                    self.remove(&segment);
                    let _ = reply.send(());
                }
            }
        }
    }

    fn take_over(&mut self) {
        let segments = match Segment::take_over_all(&self.folder) {
            Ok(segments) => segments,
            // There was never a spool here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                error!(folder = %self.folder.display(), %error, "cannot look for spooled feedback");
                return;
            }
        };
        for segment in segments {
            let entries = match segment.read() {
                Ok(contents) => contents.scan.records.len(),
                Err(error) => {
                    error!(file = %segment.path().display(), %error, "cannot read spooled feedback");
                    continue;
                }
            };
            if entries > 0 {
                warn!(file = %segment.path().display(), entries, "feedback was left in the spool; it is stored as soon as possible");
            }
            self.level.raise(entries as u64, segment.bytes().unwrap_or(0));
            self.closed.push(Arc::new(segment));
        }
    }

    /// Appends a group with one sync; when that fails, each for itself, as a smaller one may still fit.
    fn append_all(&mut self, contents: &[Vec<u8>], replies: Vec<oneshot::Sender<Result<(), SpoolError>>>) {
        let refs: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let outcome = self.append(&refs);
        let alone = outcome.is_ok() || refs.len() == 1;
        let mut outcome = Some(outcome);
        for (content, reply) in refs.iter().zip(replies) {
            let result = match &outcome {
                Some(Ok(())) => Ok(()),
                _ if alone => outcome.take().expect("there is one outcome for one record"),
                _ => self.append(&[content]),
            };
            let _ = reply.send(result);
        }
    }

    fn append(&mut self, contents: &[&[u8]]) -> Result<(), SpoolError> {
        let mut bytes = Vec::new();
        contents.iter().for_each(|content| record::encode(content, &mut bytes));
        let held = self.level.bytes.load(Ordering::Acquire);
        if held + bytes.len() as u64 > self.max_bytes {
            return Err(SpoolError::Limit { bytes: held, max_bytes: self.max_bytes });
        }
        let segment = match self.active.take() {
            Some(segment) => segment,
            None => self.create()?,
        };
        let is_new = segment.bytes().is_ok_and(|bytes| bytes == 0);
        let outcome = segment.append(&bytes).map_err(|error| SpoolError::of(segment.path(), error));
        match &outcome {
            Ok(()) => {
                self.level.raise(contents.len() as u64, bytes.len() as u64);
                self.active = Some(segment);
                if self.active.as_ref().is_some_and(|active| active.bytes().unwrap_or(u64::MAX) >= MAX_SEGMENT_BYTES) {
                    self.close();
                }
            }
            // Nothing in it was accepted. While the disk is full every request makes a file: none is left over.
            Err(_) if is_new && segment.delete().is_ok() => {}
            // What the disk made of it cannot be known: nothing is written behind it.
            Err(_) => self.closed.push(Arc::new(segment)),
        }
        outcome
    }

    fn create(&self) -> Result<Segment, SpoolError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.and_then(|()| Segment::create(&self.folder)).map_err(|error| SpoolError::of(&self.folder, error))
    }

    fn close(&mut self) {
        self.closed.extend(self.active.take().map(Arc::new));
    }

    fn remove(&mut self, segment: &Arc<Segment>) {
        let (bytes, entries) =
            (segment.bytes().unwrap_or(0), segment.read().map_or(0, |contents| contents.scan.records.len() as u64));
        if let Err(error) = segment.delete() {
            // It is stored again after the next start, which changes nothing.
            error!(file = %segment.path().display(), %error, "cannot delete spooled feedback that is stored");
        }
        self.closed.retain(|closed| !Arc::ptr_eq(closed, segment));
        self.level.lower(entries, bytes);
    }
}
