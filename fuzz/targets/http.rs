//! A request to the router of a server that serves: the first byte chooses the operation, the rest is the body.
#![no_main]

use intent_classifier::fuzzing::Requests;
use tempfile::TempDir;

thread_local! {
    static SERVER: (Requests, TempDir) = {
        let folder = TempDir::new_in("/dev/shm").expect("there is memory for a folder");
        (Requests::new(folder.path()), folder)
    };
}

libfuzzer_sys::fuzz_target!(
    // Its start takes longer than any request may.
    init: SERVER.with(|_| ()),
    |data: &[u8]| {
        if let Some((&operation, body)) = data.split_first() {
            SERVER.with(|(requests, _)| requests.send(operation, body));
        }
    }
);
