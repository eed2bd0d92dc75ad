//! A text on its way through cleaning, tokenizer and encoder.
#![no_main]

use intent_model::tiny;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = intent_classifier::fuzzing::clean(text);
    let embeddings = tiny::encoder().embed(&[&text]).expect("every text has tokens");
    assert!(embeddings[0].values.iter().all(|value| value.is_finite()));
});
