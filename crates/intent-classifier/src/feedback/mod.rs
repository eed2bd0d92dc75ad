//! Feedback from its arrival to the database, and what follows from it.

mod completion;
mod corrections;
mod intake;
mod known_decisions;
pub(crate) mod learning;
mod replay;
mod retention;

pub(crate) use self::{
    completion::run as complete_feedback,
    corrections::follow as follow_corrections,
    intake::{Accepted, Intake, IntakeError, spool_folder},
    known_decisions::KnownDecisions,
    replay::run as replay_spool,
    retention::run as keep_retention,
};
