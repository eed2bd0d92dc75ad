//! Progress of what takes long: bars on a terminal, notes otherwise.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, MutexGuard},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use intent_training::progress::Progress;

use super::output;

/// Shows each stage as a bar on standard error.
#[derive(Debug)]
pub(super) struct Bars {
    bar: Mutex<ProgressBar>,
    is_terminal: bool,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self { bar: Mutex::new(ProgressBar::hidden()), is_terminal: io::stderr().is_terminal() }
    }

    /// Ends the last stage.
    pub(super) fn finish(&self) {
        self.bar().finish_and_clear();
    }

    fn bar(&self) -> MutexGuard<'_, ProgressBar> {
        self.bar.lock().expect("no code panics while it holds this lock")
    }
}

impl Progress for Bars {
    fn stage(&self, name: &str, steps: u64) {
        self.finish();
        if !self.is_terminal {
            return;
        }
        let template = "{msg:24} {bar:30} {pos}/{len}  {elapsed}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is well-formed");
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        *self.bar() = bar.with_style(style).with_message(name.to_owned());
    }

    fn advance(&self, steps: u64) {
        self.bar().inc(steps);
    }

    fn note(&self, message: &str) {
        self.bar().suspend(|| output::note(message));
    }
}
