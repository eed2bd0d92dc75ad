//! What the process tells about itself: log lines and metrics.

pub(crate) mod decision;
mod declaration;
pub(crate) mod exposition;
mod json_line;
pub(crate) mod labels;
pub(crate) mod logging;
pub(crate) mod low_confidence;
pub(crate) mod metrics;
pub(crate) mod process;
pub(crate) mod recording;
pub(crate) mod reference;
pub(crate) mod routing;
mod series;
pub(crate) mod state;
pub(crate) mod traces;
