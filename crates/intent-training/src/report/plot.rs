//! Plots as inline SVG, coloured by the page's style sheet.

use std::fmt::Write;

use super::html::escape;
use crate::evaluation::{
    classification::ConfusionMatrix,
    confidence::{Acceptance, HistogramBin, ReliabilityBin},
};

/// The size of a plot's area in the SVG's own units; the page scales it.
const SIDE: f64 = 300.0;
/// Room for the axis to the left of the area and below it.
const LEFT: f64 = 46.0;
const BELOW: f64 = 40.0;
/// Room to the right and above.
const AROUND: f64 = 12.0;

/// A square plot whose axes both run from 0 to their maximum.
struct Plot {
    svg: String,
    x_max: f64,
    y_max: f64,
}

impl Plot {
    fn new(title: &str, x_label: &str, y_label: &str, x_max: f64, y_max: f64) -> Self {
        let (width, height) = (LEFT + SIDE + AROUND, AROUND + SIDE + BELOW);
        let mut plot = Self {
            svg: format!(
                "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>",
                escape(title)
            ),
            x_max,
            y_max,
        };
        for step in 0..=4 {
            let share = f64::from(step) / 4.0;
            let (x, y) = (plot.x(share * x_max), plot.y(share * y_max));
            plot.add(&format!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}M{x:.1} {AROUND}V{:.1}\"/>",
                LEFT + SIDE,
                AROUND + SIDE
            ));
            plot.text(x, AROUND + SIDE + 16.0, "middle", &tick(share * x_max));
            plot.text(LEFT - 6.0, y + 4.0, "end", &tick(share * y_max));
        }
        plot.text(LEFT + SIDE / 2.0, AROUND + SIDE + 34.0, "middle", x_label);
        let (x, y) = (11.0, AROUND + SIDE / 2.0);
        plot.add(&format!(
            "<text transform=\"translate({x} {y}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(y_label)
        ));
        plot
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + SIDE * value / self.x_max
    }

    fn y(&self, value: f64) -> f64 {
        AROUND + SIDE * (1.0 - value / self.y_max)
    }

    fn add(&mut self, element: &str) {
        self.svg.push_str(element);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        self.add(&format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text)));
    }

    /// A bar between two values of x, from one value of y up to another.
    fn bar(&mut self, class: &str, x: (f64, f64), y: (f64, f64), tooltip: &str) {
        let (left, right) = (self.x(x.0) + 0.5, self.x(x.1) - 0.5);
        let (top, bottom) = (self.y(y.1), self.y(y.0));
        self.add(&format!(
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}</title></rect>",
            right - left,
            bottom - top,
            escape(tooltip)
        ));
    }

    fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let points: Vec<String> = points.map(|(x, y)| format!("{:.1},{:.1}", self.x(x), self.y(y))).collect();
        self.add(&format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" ")));
    }

    fn finish(mut self) -> String {
        self.add("</svg>");
        self.svg
    }
}

/// Formats the number at a tick of an axis.
fn tick(value: f64) -> String {
    if value >= 10.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// Accuracy of the answers over their confidence; on the diagonal, confidence is true.
pub(super) fn reliability(bins: &[ReliabilityBin]) -> String {
    let mut plot = Plot::new("Reliability diagram", "confidence", "share of right answers", 1.0, 1.0);
    for bin in bins.iter().filter(|bin| bin.rows > 0) {
        let tooltip = format!("{} rows, mean confidence {:.3}, {:.3} right", bin.rows, bin.confidence, bin.accuracy);
        plot.bar("right", (f64::from(bin.from), f64::from(bin.to)), (0.0, bin.accuracy), &tooltip);
    }
    plot.line("reference", [(0.0, 0.0), (1.0, 1.0)].into_iter());
    for bin in bins.iter().filter(|bin| bin.rows > 0) {
        let (x, y) = (plot.x(bin.confidence), plot.y(bin.accuracy));
        plot.add(&format!("<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"));
    }
    plot.finish()
}

/// Right and wrong answers by confidence.
pub(super) fn histogram(bins: &[HistogramBin]) -> String {
    let highest = bins.iter().map(|bin| bin.right + bin.wrong).max().unwrap_or(0).max(1);
    let mut plot = Plot::new("Right and wrong answers by confidence", "confidence", "rows", 1.0, highest as f64);
    let width = 1.0 / bins.len().max(1) as f64;
    for bin in bins {
        let x = (f64::from(bin.from), f64::from(bin.from) + width);
        let (right, wrong) = (bin.right as f64, bin.wrong as f64);
        let tooltip = format!("from {:.2}: {} right, {} wrong", bin.from, bin.right, bin.wrong);
        if bin.wrong > 0 {
            plot.bar("wrong", x, (0.0, wrong), &tooltip);
        }
        if bin.right > 0 {
            plot.bar("right", x, (wrong, wrong + right), &tooltip);
        }
    }
    plot.finish()
}

/// The error among the answers taken, by how many of the surest are taken.
pub(super) fn risk_coverage(points: &[Acceptance], accepted: &Acceptance) -> String {
    let highest = points.iter().map(|point| point.error).fold(0.01, f64::max);
    let mut plot =
        Plot::new("Error of the answers taken", "share of answers taken", "share of them wrong", 1.0, highest);
    plot.line("curve", points.iter().map(|point| (point.coverage, point.error)));
    let (x, y) = (plot.x(accepted.coverage), plot.y(accepted.error.min(highest)));
    plot.add(&format!(
        "<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>accepting from confidence {:.3}: {:.1} % of the rows, {:.1} % of them wrong</title></circle>",
        accepted.threshold,
        accepted.coverage * 100.0,
        accepted.error * 100.0
    ));
    plot.finish()
}

/// Actual intents in rows, answers in columns; the shade is the share of the row.
///
/// Few intents have their names and counts written out. Of many, only the rows are named: whoever wants to know a column
/// points at the cell.
pub(super) fn confusion(matrix: &ConfusionMatrix) -> String {
    const FEW: usize = 40;
    let count = matrix.labels().len();
    let few = count <= FEW;
    // The font of small labels follows the cells; below 7 units nobody can read them.
    let (cell, font) = if few { (22.0, 11.0) } else { (8.0, 7.0) };
    let longest = matrix.labels().iter().map(|name| name.chars().count()).max().unwrap_or(0) as f64;
    let left = longest * font * 0.58 + 10.0;
    let top = if few { left } else { 20.0 };
    let (width, height) = (left + cell * count as f64 + AROUND, top + cell * count as f64 + AROUND);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" style=\"max-width:{width:.0}px\" role=\"img\"><title>Confusion matrix</title>"
    );
    let mut add = |element: std::fmt::Arguments<'_>| svg.write_fmt(element).expect("writing to a string cannot fail");
    add(format_args!(
        "<rect class=\"frame\" x=\"{left}\" y=\"{top}\" width=\"{0:.1}\" height=\"{0:.1}\"/>",
        cell * count as f64
    ));
    for actual in 0..count {
        let rows = matrix.rows_of(actual);
        let name = escape(matrix.labels().name(actual));
        let middle = |start: f64| start + cell * (actual as f64 + 0.5) + font * 0.36;
        add(format_args!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" style=\"font-size:{font}px\">{name}</text>",
            left - 5.0,
            middle(top)
        ));
        if few {
            add(format_args!(
                "<text transform=\"translate({:.1} {:.1}) rotate(-90)\">{name}</text>",
                middle(left),
                top - 5.0
            ));
        }
        for answered in (0..count).filter(|&answered| matrix.at(actual, answered) > 0) {
            let hits = matrix.at(actual, answered);
            let share = hits as f64 / rows as f64;
            let class = if actual == answered { "right" } else { "wrong" };
            let (x, y) = (left + cell * answered as f64, top + cell * actual as f64);
            add(format_args!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" fill-opacity=\"{:.2}\"><title>{name} answered as {}: {hits} of {rows}</title></rect>",
                0.15 + 0.85 * share,
                escape(matrix.labels().name(answered)),
            ));
            if few {
                add(format_args!(
                    "<text class=\"count\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{hits}</text>",
                    x + cell / 2.0,
                    y + cell / 2.0 + 4.0
                ));
            }
        }
    }
    if !few {
        add(format_args!("<text x=\"{left}\" y=\"14\">answers, in the order of the rows</text>"));
    }
    add(format_args!("</svg>"));
    svg
}
