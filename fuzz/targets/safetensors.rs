//! The weights of a model that is imported.
#![no_main]

mod damage;

use std::{fs, sync::LazyLock};

use intent_model::{
    import::HuggingFaceModel,
    tiny::{Family, Spec, write_hugging_face_dir},
};
use tempfile::TempDir;

/// A folder with a model, and its weights.
static MODEL: LazyLock<(TempDir, Vec<u8>)> = LazyLock::new(|| {
    let folder = TempDir::new_in("/dev/shm").expect("there is memory for a folder");
    write_hugging_face_dir(folder.path(), &Spec::encoder(Family::Bert));
    let weights = fs::read(folder.path().join("model.safetensors")).expect("it was just written");
    (folder, weights)
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let (folder, weights) = &*MODEL;
    fs::write(folder.path().join("model.safetensors"), damage::file(weights, data))
        .expect("there is memory for a file");
    let _ = HuggingFaceModel::load(folder.path());
});
