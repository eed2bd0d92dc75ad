//! A file of the feedback spool, as a crash may leave it.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| intent_classifier::fuzzing::spool(data));
