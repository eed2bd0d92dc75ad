//! The stages of a computation, for those who show where the time went. This crate knows neither clocks nor traces: whoever
//! runs the models says what is to happen around a stage.

use std::{any::Any, sync::OnceLock};

/// Makes what lives as long as a stage does.
pub type Watch = fn() -> Box<dyn Any>;

static TOKENISING: OnceLock<Watch> = OnceLock::new();

/// Lets `watch` be called, on the thread that computes, whenever texts begin to be cut into tokens; what it returns is
/// dropped when they are. The first watch of a process stays.
pub fn watch_tokenising(watch: Watch) {
    // A second one would see what the first sees.
    let _ = TOKENISING.set(watch);
}

/// Begins the stage; it lasts as long as what is returned.
pub(crate) fn tokenising() -> Option<Box<dyn Any>> {
    TOKENISING.get().map(|watch| watch())
}
