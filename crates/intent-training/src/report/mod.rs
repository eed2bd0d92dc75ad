//! An evaluation for people: as text for a terminal, as one HTML file with plots.

mod html;
mod plot;
#[cfg(test)]
mod tests;
mod text;

pub use html::to_html;
pub use text::to_text;

use crate::evaluation::comparison::Comparison;

/// Says how the figures of a cross-validation came about.
fn out_of_fold(folds: usize) -> String {
    format!("trained {folds} times; each row is answered by the models that were trained without it")
}

/// Formats a difference of two accuracies in points of per cent, with its interval.
fn difference(comparison: &Comparison) -> String {
    let interval = comparison.difference_interval;
    format!(
        "{:+.1} points ({:+.1} to {:+.1})",
        comparison.difference * 100.0,
        interval.low * 100.0,
        interval.high * 100.0
    )
}

/// Says whether a difference is more than luck.
fn verdict(comparison: &Comparison) -> String {
    let word = if comparison.is_significant() { "more than luck" } else { "may be luck" };
    if comparison.p_value < 0.0001 {
        format!("{word} (p < 0.0001)")
    } else {
        format!("{word} (p = {:.4})", comparison.p_value)
    }
}

/// Formats a share as per cent with one decimal.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
