//! Examples to a model directory, with calibration and evaluation.
//!
//! [`data`] reads labelled texts, [`dataset`] checks them. [`fine_tune`] trains a transformer on them.
//!
//! This crate knows no async runtime, no HTTP and no database, and prints nothing: what takes long reports through
//! [`progress::Progress`].

pub mod calibrate;
mod centroids;
pub mod cross_validation;
pub mod data;
pub mod dataset;
pub mod evaluation;
mod evidence;
pub mod fine_tune;
pub mod progress;
pub mod report;
pub mod sparse;
pub mod svm;
pub mod train;
pub mod version;
