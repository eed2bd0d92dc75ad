//! How long work reports where it is, without knowing who looks.

/// Receives the progress of training and evaluation; the binary shows it as bars or log lines.
pub trait Progress: Sync {
    /// Begins a stage of `steps` steps; the stage before it is done.
    fn stage(&self, name: &str, steps: u64);

    /// Tells that `steps` more steps of the stage are done.
    fn advance(&self, steps: u64);

    /// Tells that `steps` steps of the stage were done by an earlier run, so that they say nothing of its speed.
    fn skip(&self, steps: u64) {
        self.advance(steps);
    }

    /// Tells something worth knowing, such as the hyper-parameters chosen.
    fn note(&self, message: &str);

    /// Tells how the stage is going, such as its current loss; the next status replaces it.
    fn status(&self, _message: &str) {}
}

/// Shows nothing.
#[derive(Clone, Copy, Debug)]
pub struct Quiet;

impl Progress for Quiet {
    fn stage(&self, _name: &str, _steps: u64) {}

    fn advance(&self, _steps: u64) {}

    fn note(&self, _message: &str) {}
}
