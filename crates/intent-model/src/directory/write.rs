//! Writing that is there as a whole or not at all.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use super::{Manifest, checksum, is_version_name};
use crate::ModelError;

/// A version that is not written yet.
#[derive(Debug)]
pub struct NewVersion {
    /// What it says of itself; its `files` are filled in when it is written.
    pub manifest: Manifest,
    /// Its files, by their paths within the folder.
    pub files: Vec<(String, Content)>,
}

/// The content of a file to write.
#[derive(Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A copy of this file.
    CopyOf(PathBuf),
}

/// Makes the name of a version: `<pack>-<time>-<first eight digits of the data's SHA-256>`, which sorts by time within a
/// pack. `created_at` is RFC 3339 in UTC; characters that a version's name cannot hold are left out.
pub fn version_name(pack: &str, created_at: &str, data_sha256: &str) -> String {
    let time: String = created_at.chars().filter(|character| character.is_ascii_alphanumeric()).collect();
    let allowed = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    let pack: String = pack.chars().filter(allowed).take(80).collect();
    let pack = if pack.is_empty() { "model" } else { &pack };
    format!("{pack}-{time}-{}", data_sha256.get(..8).unwrap_or(data_sha256))
}

/// Writes a version into a temporary folder beside the others, then renames it; returns its name.
pub(super) fn write_version(versions: &Path, version: NewVersion) -> Result<String, ModelError> {
    let NewVersion { mut manifest, files } = version;
    let target = versions.join(&manifest.version);
    if !is_version_name(&manifest.version) {
        return Err(ModelError::invalid(target, "its name may hold only letters, digits, `.`, `_` and `-`"));
    }
    if target.exists() {
        return Err(ModelError::invalid(target, "a version of this name is there already, and versions never change"));
    }
    // The dot keeps it out of every list; it is removed when anything below fails.
    let temporary = tempfile::Builder::new().prefix(".new-").tempdir_in(versions).map_err(ModelError::io(versions))?;
    for (name, content) in files {
        let path = temporary.path().join(&name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
        }
        let entry = match content {
            Content::Bytes(bytes) => {
                write_file(&path, &bytes)?;
                checksum::of_bytes(&bytes)
            }
            Content::CopyOf(source) => {
                fs::copy(&source, &path).map_err(ModelError::io(source))?;
                sync(&path)?;
                checksum::of_file(&path)?
            }
        };
        manifest.files.insert(name, entry);
    }
    let mut json = serde_json::to_vec_pretty(&manifest).expect("a manifest has only string keys");
    json.push(b'\n');
    write_file(&temporary.path().join("model.json"), &json)?;
    open_to_readers(temporary.path())?;
    sync(temporary.path())?;

    fs::rename(temporary.path(), &target).map_err(ModelError::io(&target))?;
    // Renamed away: there is nothing left to remove.
    let _ = temporary.keep();
    sync(versions)?;
    Ok(manifest.version)
}

/// Replaces a file by a rename, so that a reader sees the old content or the new.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> Result<(), ModelError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(folder).map_err(ModelError::io(folder))?;
    file.write_all(content).map_err(ModelError::io(path))?;
    file.as_file().sync_all().map_err(ModelError::io(path))?;
    open_to_readers(file.path())?;
    file.persist(path).map_err(|error| ModelError::io(path)(error.error))?;
    sync(folder)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let mut file = File::create(path).map_err(ModelError::io(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(ModelError::io(path))
}

/// Waits until a file or a folder's list of files is on disk.
fn sync(path: &Path) -> Result<(), ModelError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(ModelError::io(path))
}

/// Temporary files and folders are private to their owner; a server may run as another user than the one who trained.
#[cfg(unix)]
fn open_to_readers(path: &Path) -> Result<(), ModelError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(ModelError::io(path))
}

#[cfg(not(unix))]
fn open_to_readers(_path: &Path) -> Result<(), ModelError> {
    Ok(())
}
