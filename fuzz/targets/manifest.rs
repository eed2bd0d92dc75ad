//! The `model.json` of a version.
#![no_main]

use std::{fs, sync::LazyLock};

use intent_model::directory::ModelDirectory;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = TempDir::new_in("/dev/shm").expect("there is memory for a folder");
    fs::create_dir_all(folder.path().join("versions/a")).expect("there is memory for a folder");
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fs::write(FOLDER.path().join("versions/a/model.json"), data).expect("there is memory for a file");
    let directory = ModelDirectory::new(FOLDER.path());
    let _ = (directory.manifest("a").is_ok(), directory.open("a").is_ok(), directory.list().is_ok());
});
