//! What the process tells about itself: log lines and metrics.

pub(crate) mod decision;
pub(crate) mod logging;
pub(crate) mod metrics;
pub(crate) mod process;
