//! A file of feature flags: JSON when it begins with `{`, TOML otherwise.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        intent_classifier::fuzzing::flags_file(text);
    }
});
