//! The report as one HTML file that opens offline: no script, no font, no image from elsewhere.

use std::fmt::Write;

use super::{percent, plot};
use crate::evaluation::{Evaluation, ModelEvaluation, strategy::StrategyEvaluation};

const STYLE: &str = include_str!("style.css");

/// Renders an evaluation as a page; `title` is its heading.
pub fn to_html(evaluation: &Evaluation, title: &str) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>\
         <p>{} rows of {} intents, {} out-of-scope texts.</p>",
        evaluation.rows, evaluation.intents, evaluation.out_of_scope_rows
    );
    page.push_str(&summary(evaluation));
    for strategy in &evaluation.strategies {
        page.push_str(&strategy_section(strategy));
    }
    for (name, model) in &evaluation.models {
        page.push_str(&model_section(name, model));
    }
    page.push_str("</main></body></html>\n");
    page
}

/// Replaces what has a meaning in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table; the first column is text, the others are numbers.
fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = String::from("<div class=\"scroll\"><table><thead><tr>");
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
            percent(model.accuracy),
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
    table(&head, evaluation.models.iter().map(row))
}

fn strategy_section(strategy: &StrategyEvaluation) -> String {
    let rows = strategy.steps.iter().map(|step| {
        vec![
            escape(&step.step.model),
            format!("{:.2}", step.step.threshold),
            percent(step.share),
            percent(step.accuracy),
        ]
    });
    format!(
        "<section><h2>Strategy {}</h2><p><b>{}</b> right at {:.3} ms a text. The same cascade with its decisions made by \
         lot costs as much and gets {} right; confidence is worth {:.1} standard deviations of that.{}</p>{}</section>",
        escape(&strategy.name),
        percent(strategy.accuracy),
        strategy.mean_latency_ms,
        percent(strategy.random_control.accuracy),
        strategy.random_control.standard_deviations,
        strategy
            .out_of_scope_recall
            .map_or(String::new(), |recall| format!(" {} of the out-of-scope texts are found.", percent(recall))),
        table(&["model", "accepts from", "answers", "of them right"], rows)
    )
}

fn model_section(name: &str, model: &ModelEvaluation) -> String {
    let name = escape(name);
    let foreign = model.out_of_scope.as_ref().map_or(String::new(), |foreign| {
        format!(
            " Of the out-of-scope texts, {} are found ({:.1} to {:.1}); {} of the in-scope rows are mistaken for such. A \
             gate that finds 95 % would mistake {}.",
            percent(foreign.recall),
            foreign.recall_interval.low * 100.0,
            foreign.recall_interval.high * 100.0,
            percent(foreign.false_positive_rate),
            percent(foreign.false_positive_rate_at_95_recall)
        )
    });
    let figure = |caption: &str, svg: String| format!("<figure>{svg}<figcaption>{caption}</figcaption></figure>");
    format!(
        "<section id=\"{name}\"><h2>{name}</h2><p>Accepting answers from confidence {:.3}: {} of the rows, {} of them \
         wrong.{foreign}</p><div class=\"plots\">{}{}{}</div>{}<details><summary>Thresholds</summary>{}</details>\
         <details open><summary>Intents, hardest first</summary>{}</details></section>",
        model.accepted.threshold,
        percent(model.accepted.coverage),
        percent(model.accepted.error),
        figure("Reliability: on the diagonal, confidence is true", plot::reliability(&model.reliability)),
        figure(
            "Right and <span class=\"wrong-text\">wrong</span> answers by confidence",
            plot::histogram(&model.histogram)
        ),
        figure(
            "Risk and coverage; the point is the accept threshold",
            plot::risk_coverage(&model.risk_coverage, &model.accepted)
        ),
        figure("Confusion matrix: actual intents in rows, answers in columns", plot::confusion(&model.confusion)),
        thresholds(model),
        intents(model),
    )
}

fn thresholds(model: &ModelEvaluation) -> String {
    let rows = model
        .threshold_sweep
        .iter()
        .map(|point| vec![format!("{:.3}", point.threshold), percent(point.coverage), percent(point.error)]);
    table(&["accepting from", "share accepted", "of them wrong"], rows)
}

fn intents(model: &ModelEvaluation) -> String {
    let mut intents: Vec<_> = model.per_intent.iter().filter(|(_, intent)| intent.rows > 0).collect();
    intents.sort_by(|a, b| a.1.f1.total_cmp(&b.1.f1));
    let rows = intents.into_iter().map(|(name, intent)| {
        let confused: Vec<String> =
            intent.confused_with.iter().take(4).map(|with| format!("{} {}", escape(&with.intent), with.rows)).collect();
        let range = |low: f64, high: f64| format!("{:.0} to {:.0}", low * 100.0, high * 100.0);
        vec![
            escape(name),
            percent(intent.f1),
            range(intent.f1_interval.low, intent.f1_interval.high),
            percent(intent.precision),
            range(intent.precision_interval.low, intent.precision_interval.high),
            percent(intent.recall),
            range(intent.recall_interval.low, intent.recall_interval.high),
            intent.rows.to_string(),
            confused.join(", "),
        ]
    });
    let head = ["intent", "F1", "95 %", "precision", "95 %", "recall", "95 %", "rows", "taken for"];
    table(&head, rows)
}
