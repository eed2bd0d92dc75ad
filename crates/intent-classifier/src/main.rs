//! The program; all of it is in the library, so that the fuzz targets reach it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    intent_classifier::run()
}
