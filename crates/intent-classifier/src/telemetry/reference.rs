//! The reference of all metrics, made from their declarations.

use std::fmt::Write;

use super::{
    declaration::{Declaration, Label, LabelValues},
    metrics::SECTIONS,
};

/// Returns the Markdown page of all metrics: one table per section.
pub(crate) fn markdown() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made by `intent-classifier metrics`; a test compares. Change the declarations instead. -->\n\n\
         `GET /metrics` answers in the Prometheus text format, or in OpenMetrics to those who accept it. Every series whose \
         labels are known beforehand is there at zero from the first scrape. A histogram has the series `_bucket`, `_sum` \
         and `_count`. No label has an unbounded value, and none holds a text, a user or a path.\n",
    );
    for (section, declarations) in SECTIONS {
        let section = section.trim();
        writeln!(page, "\n## {section}\n\n| Metric | Kind | Labels | Meaning |\n| --- | --- | --- | --- |")
            .expect("a string takes any text");
        for declaration in *declarations {
            write_row(&mut page, declaration);
        }
    }
    page
}

/// Returns every metric by its name, with its kind, help and labels.
pub(crate) fn json() -> serde_json::Value {
    let metrics = SECTIONS.iter().flat_map(|(_, declarations)| *declarations);
    let entry = |declaration: &&Declaration| {
        let labels: serde_json::Map<_, _> = declaration.labels().iter().map(label_json).collect();
        serde_json::json!({
            "name": declaration.exported_name(),
            "kind": declaration.kind().as_str(),
            "help": declaration.help(),
            "labels": labels,
        })
    };
    metrics.map(entry).collect()
}

fn label_json(label: &Label) -> (String, serde_json::Value) {
    let values = match label.values {
        LabelValues::Closed(values) => values().into(),
        LabelValues::Described(words) => words.into(),
    };
    (label.name.to_owned(), values)
}

fn write_row(page: &mut String, declaration: &Declaration) {
    let labels: Vec<String> = declaration.labels().iter().map(label_cell).collect();
    writeln!(
        page,
        "| `{}` | {} | {} | {} |",
        declaration.exported_name(),
        declaration.kind().as_str(),
        labels.join("<br>"),
        declaration.help()
    )
    .expect("a string takes any text");
}

fn label_cell(label: &Label) -> String {
    let values = match label.values {
        LabelValues::Closed(values) => values().join(", "),
        LabelValues::Described(words) => words.to_owned(),
    };
    format!("`{}`: {values}", label.name)
}
