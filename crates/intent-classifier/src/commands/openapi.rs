//! `openapi`: the description of the HTTP interface.

use std::process::ExitCode;

use clap::Args;

use super::{Failure, output};
use crate::http;

/// Print the OpenAPI document that the server answers at `/openapi.json`.
#[derive(Debug, Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<ExitCode, Failure> {
    output::json(&http::openapi())?;
    Ok(ExitCode::SUCCESS)
}
