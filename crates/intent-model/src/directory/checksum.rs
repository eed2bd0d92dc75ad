//! SHA-256 in hexadecimal digits.

use std::{fmt::Write, fs::File, io::Read, path::Path};

use sha2::{Digest, Sha256};

use super::FileEntry;
use crate::ModelError;

/// Describes some content.
pub(super) fn of_bytes(bytes: &[u8]) -> FileEntry {
    FileEntry { sha256: hexadecimal(&Sha256::digest(bytes)), bytes: bytes.len() as u64 }
}

/// Describes a file without holding it in memory.
pub(super) fn of_file(path: &Path) -> Result<FileEntry, ModelError> {
    let mut file = File::open(path).map_err(ModelError::io(path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).map_err(ModelError::io(path))? {
            0 => return Ok(FileEntry { sha256: hexadecimal(&hasher.finalize()), bytes }),
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(64), |mut digits, byte| {
        write!(digits, "{byte:02x}").expect("writing to a string cannot fail");
        digits
    })
}
