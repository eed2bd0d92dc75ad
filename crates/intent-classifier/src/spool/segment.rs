//! One file of the spool.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::record::{self, Scan};

/// How a file of the spool is called; what is between sorts by time.
const PREFIX: &str = "feedback-";
const SUFFIX: &str = ".spool";

/// One file of the spool, locked by this process for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Segment {
    path: PathBuf,
    file: File,
}

/// What is in a file.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Where everything is.
    pub(crate) scan: Scan,
}

impl Segment {
    /// Makes a new, empty file whose name is on the disk, too.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(format!("{PREFIX}{}{SUFFIX}", Uuid::now_v7()));
        let file = OpenOptions::new().create_new(true).read(true).append(true).mode(0o600).open(&path)?;
        file.lock()?;
        sync_folder(folder)?;
        Ok(Self { path, file })
    }

    /// Takes over the files that no living process has, the oldest first.
    pub(super) fn take_over_all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                paths.push(path);
            }
        }
        paths.sort_unstable();
        let mut segments = Vec::new();
        for path in paths {
            let file = match OpenOptions::new().read(true).append(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // Its owner may have deleted it between opening and locking.
            if file.try_lock().is_ok() && path.exists() {
                segments.push(Self { path, file });
            }
        }
        Ok(segments)
    }

    /// Appends bytes and waits until they are on the disk. On failure the file is as it was, as far as the disk lets it.
    pub(super) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let written = (&self.file).write_all(bytes).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // What comes of it cannot be known when the disk fails; nothing is ever written behind it.
            let _ = self.file.set_len(length).and_then(|()| self.file.sync_data());
        }
        written
    }

    /// Returns how long it is, in bytes.
    pub(super) fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Reads all of it.
    pub(crate) fn read(&self) -> io::Result<Contents> {
        let bytes = fs::read(&self.path)?;
        let scan = record::scan(&bytes);
        Ok(Contents { bytes, scan })
    }

    /// Keeps what cannot be stored in a file beside it, whose end is `kind`; what is there already stays.
    pub(crate) fn set_aside(&self, kind: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.path.with_extension(kind);
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(path)
    }

    /// Deletes it.
    pub(super) fn delete(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        sync_folder(self.path.parent().unwrap_or(Path::new(".")))
    }

    /// Returns where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes what was created or deleted in a folder last.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::spool::SpoolError;

    #[test]
    fn a_device_without_space_is_a_full_disk() {
        let path = PathBuf::from("/dev/full");
        let file = OpenOptions::new().read(true).append(true).open(&path).expect("Linux has it");
        let error = Segment { path: path.clone(), file }.append(b"a record").expect_err("there is no space");
        let error = SpoolError::of(&path, error);
        assert!(matches!(error, SpoolError::DiskFull { .. }), "{error:?}");
    }

    #[test]
    fn a_file_belongs_to_the_process_that_has_it_and_then_to_the_next() {
        let folder = TempDir::new().expect("there is room for a folder");
        let segment = Segment::create(folder.path()).expect("a file can be made");
        segment.append(b"a record").expect("there is space");
        assert!(Segment::take_over_all(folder.path()).expect("readable").is_empty(), "it is taken");
        drop(segment);
        let taken = Segment::take_over_all(folder.path()).expect("readable");
        assert_eq!(taken.len(), 1);
        taken[0].delete().expect("it is there");
        drop(taken);
        assert!(Segment::take_over_all(folder.path()).expect("readable").is_empty());
    }
}
