//! An intent pack: `pack.toml`, and after a NUL byte the rows of `train.jsonl`.
#![no_main]

use intent_model::{Pack, Rules};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (definition, rows) = text.split_once('\0').unwrap_or((text, ""));
    let mut files = vec![("pack.toml", definition)];
    if !rows.is_empty() {
        files.push(("train.jsonl", rows));
    }
    if let Ok(pack) = Pack::load_embedded(&files) {
        let again = Pack::load_embedded(&[("pack.toml", &pack.to_toml())]).expect("what was written can be read");
        assert_eq!(again.labels(), pack.labels());
        let _ = Rules::compile(&pack);
    }
});
