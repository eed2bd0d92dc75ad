//! Progress of what takes long: bars on a terminal, a line now and then in a log.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use intent_training::progress::Progress;

use super::output;

/// How long a log is silent at most while something takes long.
const SILENCE: Duration = Duration::from_secs(30);

/// Shows each stage on standard error.
#[derive(Debug)]
pub(super) struct Bars {
    stage: Mutex<Stage>,
    is_terminal: bool,
}

/// What is going on.
#[derive(Debug)]
struct Stage {
    name: String,
    steps: u64,
    /// Steps done by an earlier run.
    skipped: u64,
    done: u64,
    status: String,
    started: Instant,
    /// When the log last had a line.
    logged: Instant,
    bar: ProgressBar,
}

impl Bars {
    pub(super) fn new() -> Self {
        let stage = Stage::new("", 0, ProgressBar::hidden());
        Self { stage: Mutex::new(stage), is_terminal: io::stderr().is_terminal() }
    }

    /// Ends the last stage.
    pub(super) fn finish(&self) {
        self.stage_now().bar.finish_and_clear();
    }

    fn stage_now(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("no code panics while it holds this lock")
    }
}

impl Progress for Bars {
    fn stage(&self, name: &str, steps: u64) {
        self.finish();
        let bar = if self.is_terminal { bar(name, steps) } else { ProgressBar::hidden() };
        *self.stage_now() = Stage::new(name, steps, bar);
    }

    fn advance(&self, steps: u64) {
        let mut stage = self.stage_now();
        stage.done += steps;
        stage.bar.inc(steps);
        if !self.is_terminal && stage.logged.elapsed() >= SILENCE {
            stage.logged = Instant::now();
            output::note(&stage.line(stage.started.elapsed()));
        }
    }

    fn skip(&self, steps: u64) {
        let mut stage = self.stage_now();
        stage.skipped += steps;
        stage.bar.inc(steps);
        stage.bar.reset_eta();
    }

    fn note(&self, message: &str) {
        self.stage_now().bar.suspend(|| output::note(message));
    }

    fn status(&self, message: &str) {
        let mut stage = self.stage_now();
        message.clone_into(&mut stage.status);
        stage.bar.set_prefix(message.to_owned());
    }
}

impl Stage {
    fn new(name: &str, steps: u64, bar: ProgressBar) -> Self {
        let now = Instant::now();
        let name = name.to_owned();
        Self { name, steps, skipped: 0, done: 0, status: String::new(), started: now, logged: now, bar }
    }

    /// Describes the stage `elapsed` after its start: `fine-tune: 120/2820, epoch 1/10, loss 3.2, 14 minutes left`.
    fn line(&self, elapsed: Duration) -> String {
        let status = if self.status.is_empty() { String::new() } else { format!(", {}", self.status) };
        let at = self.skipped + self.done;
        let left = elapsed.mul_f64(self.steps.saturating_sub(at) as f64 / self.done.max(1) as f64);
        format!("{}: {at}/{}{status}, {} left", self.name, self.steps, HumanDuration(left))
    }
}

fn bar(name: &str, steps: u64) -> ProgressBar {
    let template = "{msg:16} {bar:30} {pos}/{len}  {elapsed}, {eta} left  {prefix}";
    let style = ProgressStyle::with_template(template).expect("the template is well-formed");
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    bar.with_style(style).with_message(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_place_status_and_time_left() {
        let stage = Stage { done: 20, ..Stage::new("linear", 80, ProgressBar::hidden()) };
        assert_eq!(stage.line(Duration::from_secs(40)), "linear: 20/80, 2 minutes left");
        let status = "epoch 1/3, loss 0.5000".to_owned();
        let stage = Stage { skipped: 40, status, ..stage };
        assert_eq!(stage.line(Duration::from_secs(40)), "linear: 60/80, epoch 1/3, loss 0.5000, 40 seconds left");
    }
}
