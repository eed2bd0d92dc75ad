//! The report as one HTML file that opens offline: no script, no font, no image from elsewhere.

use std::fmt::Write;

use super::{difference, out_of_fold, percent, plot, verdict};
use crate::evaluation::{Evaluation, ModelEvaluation, metrics::Interval, strategy::StrategyEvaluation};

const STYLE: &str = include_str!("style.css");

/// Renders an evaluation as a page; `title` is its heading.
pub fn to_html(evaluation: &Evaluation, title: &str) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\
         <p class=\"lead\">{} rows of {} intents, {} out-of-scope texts{}.</p>",
        evaluation.rows,
        evaluation.intents,
        evaluation.out_of_scope_rows,
        evaluation.folds.map_or(String::new(), |folds| format!("; {}", out_of_fold(folds)))
    );
    page.push_str(&summary(evaluation));
    page.push_str(&comparisons(evaluation));
    for strategy in &evaluation.strategies {
        page.push_str(&strategy_section(strategy));
    }
    for (name, model) in by_accuracy(evaluation) {
        page.push_str(&model_section(name, model));
    }
    page.push_str("</main></body></html>\n");
    page
}

/// Replaces what has a meaning in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The models, the most accurate first.
fn by_accuracy(evaluation: &Evaluation) -> Vec<(&String, &ModelEvaluation)> {
    let mut models: Vec<_> = evaluation.models.iter().collect();
    models.sort_by(|a, b| b.1.accuracy.total_cmp(&a.1.accuracy));
    models
}

/// A table; the first column is text, the others are numbers unless the class says otherwise.
fn table(class: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = format!("<div class=\"scroll\"><table class=\"{class}\"><thead><tr>");
    head.iter().for_each(|cell| write!(table, "<th>{cell}</th>").expect("writing to a string cannot fail"));
    table.push_str("</tr></thead><tbody>");
    for row in rows {
        table.push_str("<tr>");
        row.iter().for_each(|cell| write!(table, "<td>{cell}</td>").expect("writing to a string cannot fail"));
        table.push_str("</tr>");
    }
    table.push_str("</tbody></table></div>");
    table
}

fn summary(evaluation: &Evaluation) -> String {
    let head = [
        "model",
        "accuracy",
        "95 % interval",
        "top 3",
        "macro F1",
        "weighted F1",
        "ECE",
        "Brier",
        "AUROC",
        "p50 ms",
        "p95 ms",
        "p99 ms",
    ];
    let row = |(name, model): (&String, &ModelEvaluation)| {
        vec![
            format!("<a href=\"#{0}\">{0}</a>", escape(name)),
            format!("<b>{}</b>", percent(model.accuracy)),
            format!("{:.1} to {:.1}", model.accuracy_interval.low * 100.0, model.accuracy_interval.high * 100.0),
            percent(model.top_3_accuracy),
            percent(model.macro_f1),
            percent(model.weighted_f1),
            format!("{:.4}", model.ece),
            format!("{:.4}", model.brier),
            model.auroc.map_or("–".to_owned(), |auroc| format!("{auroc:.4}")),
            format!("{:.3}", model.latency_ms.p50),
            format!("{:.3}", model.latency_ms.p95),
            format!("{:.3}", model.latency_ms.p99),
        ]
    };
    table("summary", &head, by_accuracy(evaluation).into_iter().map(row))
}

fn comparisons(evaluation: &Evaluation) -> String {
    if evaluation.comparisons.is_empty() {
        return String::new();
    }
    let head = ["better", "worse", "difference (95 %)", "only better right", "only worse right", "McNemar test"];
    let rows = evaluation.comparisons.iter().map(|comparison| {
        vec![
            escape(&comparison.better),
            escape(&comparison.worse),
            difference(comparison),
            comparison.better_only.to_string(),
            comparison.worse_only.to_string(),
            verdict(comparison),
        ]
    });
    format!("<section><h2>Models on the same rows</h2>{}</section>", table("pairs", &head, rows))
}

fn strategy_section(strategy: &StrategyEvaluation) -> String {
    let rows = strategy.steps.iter().map(|step| {
        vec![
            escape(&step.step.model),
            format!("{:.2}", step.step.threshold),
            share(step.share, "right"),
            percent(step.accuracy),
        ]
    });
    format!(
        "<section><h2>Strategy <code>{}</code></h2><p><b>{}</b> of the rows are answered right, at {:.3} ms a text. The \
         same cascade with its decisions made by lot costs as much and gets {} right; confidence is worth {:.1} standard \
         deviations of that.{}</p>{}</section>",
        escape(&strategy.name),
        percent(strategy.accuracy),
        strategy.mean_latency_ms,
        percent(strategy.random_control.accuracy),
        strategy.random_control.standard_deviations,
        strategy
            .out_of_scope_recall
            .map_or(String::new(), |recall| format!(" {} of the out-of-scope texts are found.", percent(recall))),
        table("", &["model", "accepts from", "answers", "of them right"], rows)
    )
}

fn model_section(name: &str, model: &ModelEvaluation) -> String {
    let name = escape(name);
    let figure = |caption: &str, svg: String| format!("<figure>{svg}<figcaption>{caption}</figcaption></figure>");
    format!(
        "<section id=\"{name}\"><h2><code>{name}</code></h2>{}<div class=\"plots\">{}{}{}</div>{}\
         <details><summary>Thresholds</summary>{}</details>\
         <details open><summary>Intents, hardest first</summary>{}</details></section>",
        facts(model),
        figure(
            "<b>Reliability.</b> Bars on the diagonal: confidence is true. Above it the model is too modest.",
            plot::reliability(&model.reliability)
        ),
        figure(
            "<b>Confidence</b> of <span class=\"right-text\">right</span> and <span class=\"wrong-text\">wrong</span> \
             answers; wrong ones belong to the left.",
            plot::histogram(&model.histogram)
        ),
        figure(
            "<b>Risk and coverage.</b> How many are wrong among the surest answers; the point is the accept threshold.",
            plot::risk_coverage(&model.risk_coverage, &model.accepted)
        ),
        figure(
            "<b>Confusion matrix.</b> Actual intents in rows, answers in columns, shaded by the share of the row; \
             point at a cell for its counts.",
            plot::confusion(&model.confusion)
        ),
        thresholds(model),
        intents(model),
    )
}

/// What a reader looks for first, as tiles.
fn facts(model: &ModelEvaluation) -> String {
    let mut tiles = vec![
        ("accuracy", percent(model.accuracy), interval(model.accuracy_interval)),
        (
            "accepted",
            percent(model.accepted.coverage),
            format!("from {:.3}, {} of them wrong", model.accepted.threshold, percent(model.accepted.error)),
        ),
        ("calibration error", format!("{:.4}", model.ece), format!("mean confidence {:.3}", model.mean_confidence)),
    ];
    if let Some(foreign) = &model.out_of_scope {
        tiles.push(("out-of-scope AUROC", format!("{:.4}", foreign.auroc), format!("{} texts", foreign.rows)));
        tiles.push(("out of scope found", percent(foreign.recall), interval(foreign.recall_interval)));
        tiles.push((
            "in scope mistaken",
            percent(foreign.false_positive_rate),
            format!("{} to find 95 %", percent(foreign.false_positive_rate_at_95_recall)),
        ));
    }
    if model.truncated_rows > 0 {
        let whole = "the model did not read their end".to_owned();
        tiles.push(("cut off", format!("{} rows", model.truncated_rows), whole));
    }
    let tile = |(what, value, more): (&str, String, String)| {
        format!("<div><span>{what}</span><b>{value}</b><small>{more}</small></div>")
    };
    format!("<div class=\"facts\">{}</div>", tiles.into_iter().map(tile).collect::<String>())
}

fn interval(interval: Interval) -> String {
    format!("{:.1} to {:.1} % (95 %)", interval.low * 100.0, interval.high * 100.0)
}

/// A share as a bar behind its number.
fn share(share: f64, class: &str) -> String {
    format!("<span class=\"share {class}\" style=\"--share:{:.1}%\">{}</span>", share * 100.0, percent(share))
}

fn thresholds(model: &ModelEvaluation) -> String {
    let rows = model.threshold_sweep.iter().map(|point| {
        vec![format!("{:.3}", point.threshold), share(point.coverage, "right"), share(point.error, "wrong")]
    });
    table("", &["accepting from", "share accepted", "of them wrong"], rows)
}

fn intents(model: &ModelEvaluation) -> String {
    let mut intents: Vec<_> = model.per_intent.iter().filter(|(_, intent)| intent.rows > 0).collect();
    intents.sort_by(|a, b| a.1.f1.total_cmp(&b.1.f1));
    let rows = intents.into_iter().map(|(name, intent)| {
        let confused: Vec<String> =
            intent.confused_with.iter().take(4).map(|with| format!("{} {}", escape(&with.intent), with.rows)).collect();
        let range = |interval: Interval| format!("{:.0} to {:.0}", interval.low * 100.0, interval.high * 100.0);
        vec![
            escape(name),
            share(intent.f1, "right"),
            range(intent.f1_interval),
            percent(intent.precision),
            range(intent.precision_interval),
            percent(intent.recall),
            range(intent.recall_interval),
            intent.rows.to_string(),
            confused.join(", "),
        ]
    });
    let head = ["intent", "F1", "95 %", "precision", "95 %", "recall", "95 %", "rows", "taken for"];
    table("intents", &head, rows)
}
