//! Whether a file may be what decides: only those may change it who may run the program, and it lies where it seems to.

use std::{
    fs::{self, File},
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
};

use crate::ModelError;

/// Everybody may write.
const WORLD_WRITABLE: u32 = 0o002;
/// A pipe or a device might never end.
const NO_FILE: &str = "it is not a file";

/// Checks a file before it is read.
///
/// # Errors
/// [`ModelError::InvalidFile`] when it is no file, everybody may write it, or a symbolic link leads out of `root`;
/// [`ModelError::Io`] when it is not there.
pub(crate) fn check(root: &Path, file: &Path) -> Result<(), ModelError> {
    let root = root.canonicalize().map_err(ModelError::io(root))?;
    let place = file.canonicalize().map_err(ModelError::io(file))?;
    if !place.starts_with(&root) {
        let reason = format!(
            "it leads to `{}`, which is not within `{}`; put the file itself there",
            place.display(),
            root.display()
        );
        return Err(ModelError::invalid(file, reason));
    }
    let metadata = fs::metadata(&place).map_err(ModelError::io(&place))?;
    if !metadata.is_file() {
        return Err(ModelError::invalid(file, NO_FILE));
    }
    // Folders are not looked at: volumes of orchestrators are writable for everybody who is in the container.
    if metadata.mode() & WORLD_WRITABLE != 0 {
        let reason = "everybody on this machine may change it; `chmod o-w` it after checking where it comes from";
        return Err(ModelError::invalid(file, reason));
    }
    Ok(())
}

/// Reads a whole file, unless it is larger than anything that is loaded; what is no file (a pipe, a device) might never
/// end and is refused.
///
/// # Errors
/// [`ModelError::InvalidFile`] when it is too large or no file, [`ModelError::Io`] when it cannot be read.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, ModelError> {
    let metadata = fs::metadata(path).map_err(ModelError::io(path))?;
    if !metadata.is_file() {
        return Err(ModelError::invalid(path, NO_FILE));
    }
    let too_large = |bytes| ModelError::invalid(path, format!("it has {bytes} bytes, at most {max_bytes} are loaded"));
    if metadata.len() > max_bytes {
        return Err(too_large(metadata.len()));
    }
    let mut content = Vec::with_capacity(metadata.len() as usize);
    // It may have grown since.
    let file = File::open(path).map_err(ModelError::io(path))?;
    file.take(max_bytes + 1).read_to_end(&mut content).map_err(ModelError::io(path))?;
    if content.len() as u64 > max_bytes { Err(too_large(content.len() as u64)) } else { Ok(content) }
}

/// As [`read`], a text.
///
/// # Errors
/// As [`read`], and [`ModelError::InvalidFile`] when it is not UTF-8.
pub(crate) fn read_text(path: &Path, max_bytes: u64) -> Result<String, ModelError> {
    String::from_utf8(read(path, max_bytes)?).map_err(|_| ModelError::invalid(path, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the test owns the file");
    }

    #[test]
    fn what_everybody_may_write_is_refused() {
        let root = TempDir::new().expect("there is room");
        let folder = root.path().join("version");
        let file = folder.join("model");
        fs::create_dir(&folder).expect("there is room");
        fs::write(&file, "content").expect("there is room");
        check(root.path(), &file).expect("only the owner may write");

        set_mode(&file, 0o666);
        let error = check(root.path(), &file).expect_err("everybody may write").to_string();
        assert!(error.contains("model") && error.contains("chmod o-w"), "{error}");
        set_mode(&file, 0o644);
        check(root.path(), &file).expect("only the owner may write again");
    }

    #[test]
    fn links_may_lead_about_within_the_root_and_not_out_of_it() {
        let (root, elsewhere) = (TempDir::new().expect("there is room"), TempDir::new().expect("there is room"));
        fs::write(root.path().join("data"), "content").expect("there is room");
        fs::write(elsewhere.path().join("data"), "content").expect("there is room");
        symlink("data", root.path().join("inside")).expect("links are supported");
        symlink(elsewhere.path().join("data"), root.path().join("outside")).expect("links are supported");
        symlink(elsewhere.path(), root.path().join("folder")).expect("links are supported");
        check(root.path(), &root.path().join("inside")).expect("it stays within");
        for name in ["outside", "folder/data", "../data"] {
            assert!(check(root.path(), &root.path().join(name)).is_err(), "{name}");
        }
    }

    #[test]
    fn what_is_too_large_or_never_ends_is_not_read() {
        let root = TempDir::new().expect("there is room");
        let file = root.path().join("huge");
        // A hole: it takes no room on the disk.
        File::create(&file).and_then(|file| file.set_len(1 << 40)).expect("the disk takes holes");
        let error = read(&file, 1 << 32).expect_err("it is too large").to_string();
        assert!(error.contains("1099511627776 bytes"), "{error}");
        for endless in ["/dev/zero", "/"] {
            let error = read(Path::new(endless), 10).expect_err("it is no file").to_string();
            assert!(error.contains("not a file"), "{error}");
        }
        fs::write(&file, [0xff; 10]).expect("there is room");
        assert_eq!(read(&file, 10).expect("it is small enough"), [0xff; 10]);
        assert!(read_text(&file, 10).is_err(), "it is no text");
        assert!(read(&file, 9).is_err(), "it is too large by one");
    }
}
