//! Prints the logits of the texts on standard input, one text a line, as one JSON array a line:
//!
//! ```text
//! cargo run --release --example reference_logits -- DIRECTORY < TEXTS
//! ```
//!
//! `DIRECTORY` is one that fine-tuning wrote; `scripts/test-transformers` compares the output with Python's.
#![expect(clippy::print_stdout, reason = "an example reports on standard output")]

use std::{error::Error, io, path::Path};

use intent_training::fine_tune::reference_logits;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args().nth(1).ok_or("expected the directory of a fine-tuned model")?;
    let texts: Vec<String> = io::stdin().lines().collect::<Result<_, _>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for row in reference_logits(Path::new(&directory), &texts, usize::MAX)? {
        println!("{}", serde_json::to_string(&row)?);
    }
    Ok(())
}
