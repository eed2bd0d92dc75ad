//! An evaluation for people: as text for a terminal, as one HTML file with plots.

mod html;
mod plot;
mod text;

pub use html::to_html;
pub use text::to_text;

/// Formats a share as per cent with one decimal.
fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
