//! A graph that somebody else wrote: checked, loaded and, when all of it can be, run.
#![no_main]

mod damage;

use std::{fs, sync::LazyLock};

use intent_model::{
    SentenceEncoder,
    encoder::Precision,
    tiny::{Family, Spec, write_encoder, write_hugging_face_dir},
};
use tempfile::TempDir;

/// A folder as others export it, and its graph.
static MODEL: LazyLock<(TempDir, Vec<u8>)> = LazyLock::new(|| {
    let folder = TempDir::new_in("/dev/shm").expect("there is memory for a folder");
    write_encoder(&folder.path().join("imported"));
    write_hugging_face_dir(folder.path(), &Spec::encoder(Family::Bert));
    let graph = fs::read(folder.path().join("imported/model.onnx")).expect("it was just written");
    (folder, graph)
});

libfuzzer_sys::fuzz_target!(
    init: {
        // A runtime that panics is caught where it is called, and is no finding; without this hook it ends the process.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |data: &[u8]| {
        let (folder, graph) = &*MODEL;
        fs::write(folder.path().join("model.onnx"), damage::file(graph, data)).expect("there is memory for a file");
        if let Ok(encoder) = SentenceEncoder::load(folder.path(), Precision::Fp32) {
            let _ = encoder.embed(&["refund my order"]);
        }
    }
);
