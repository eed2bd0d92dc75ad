//! The report for a terminal.

use std::fmt::{self, Write};

use super::{difference, out_of_fold, percent, verdict};
use crate::evaluation::{Evaluation, ModelEvaluation, comparison::Comparison, strategy::StrategyEvaluation};

/// How many intents and confusions are listed for each model.
const WORST_LISTED: usize = 10;

/// Renders an evaluation as plain text, at most 120 columns wide unless names are long.
pub fn to_text(evaluation: &Evaluation) -> String {
    let mut text = String::new();
    write(&mut text, evaluation).expect("writing to a string cannot fail");
    text
}

fn write(text: &mut String, evaluation: &Evaluation) -> fmt::Result {
    let Evaluation { rows, out_of_scope_rows, intents, folds, models, comparisons, strategies } = evaluation;
    writeln!(text, "{rows} rows of {intents} intents, {out_of_scope_rows} out-of-scope texts")?;
    if let Some(folds) = folds {
        writeln!(text, "{}", out_of_fold(*folds))?;
    }
    let width = models.keys().map(|name| name.chars().count()).max().unwrap_or(0).max(12);
    writeln!(
        text,
        "\n{:<width$} {:>8} {:>15} {:>7} {:>8} {:>7} {:>7} {:>7} {:>19}",
        "model", "accuracy", "95 % interval", "top 3", "macro F1", "ECE", "Brier", "AUROC", "p50 / p95 / p99 ms"
    )?;
    for (name, model) in models {
        let latency =
            format!("{:.3} / {:.3} / {:.3}", model.latency_ms.p50, model.latency_ms.p95, model.latency_ms.p99);
        writeln!(
            text,
            "{:<width$} {:>8} {:>15} {:>7} {:>8} {:>7.4} {:>7.4} {:>7} {:>19}",
            name,
            percent(model.accuracy),
            format!("{:.1} to {:.1}", model.accuracy_interval.low * 100.0, model.accuracy_interval.high * 100.0),
            percent(model.top_3_accuracy),
            percent(model.macro_f1),
            model.ece,
            model.brier,
            model.auroc.map_or("-".to_owned(), |auroc| format!("{auroc:.4}")),
            latency,
        )?;
    }
    if !comparisons.is_empty() {
        writeln!(text, "\nmodels on the same rows")?;
    }
    for comparison in comparisons {
        write_comparison(text, comparison)?;
    }
    for strategy in strategies {
        write_strategy(text, strategy)?;
    }
    for (name, model) in models {
        write_model(text, name, model)?;
    }
    Ok(())
}

fn write_comparison(text: &mut String, comparison: &Comparison) -> fmt::Result {
    let Comparison { better, worse, better_only, worse_only, .. } = comparison;
    writeln!(
        text,
        "  {better} over {worse}: {}; only {better} is right on {better_only} rows, only {worse} on {worse_only}; {}",
        difference(comparison),
        verdict(comparison)
    )
}

fn write_strategy(text: &mut String, strategy: &StrategyEvaluation) -> fmt::Result {
    let StrategyEvaluation { name, accuracy, mean_latency_ms, steps, random_control, .. } = strategy;
    writeln!(text, "\nstrategy {name}: {} right, {mean_latency_ms:.3} ms a text", percent(*accuracy))?;
    for step in steps {
        let (share, right) = (percent(step.share), percent(step.accuracy));
        writeln!(
            text,
            "  {:<12} from {:.2}: answers {share}, {right} of them right",
            step.step.model, step.step.threshold
        )?;
    }
    let (control, deviations) = (percent(random_control.accuracy), random_control.standard_deviations);
    writeln!(text, "  the same by lot: {control} right; confidence is worth {deviations:.1} standard deviations")?;
    if let Some(recall) = strategy.out_of_scope_recall {
        writeln!(text, "  out of scope: {} found", percent(recall))?;
    }
    Ok(())
}

fn write_model(text: &mut String, name: &str, model: &ModelEvaluation) -> fmt::Result {
    writeln!(text, "\n{name}")?;
    let accepted = &model.accepted;
    writeln!(
        text,
        "  accepting from confidence {:.3}: {} of the rows, {} of them wrong",
        accepted.threshold,
        percent(accepted.coverage),
        percent(accepted.error)
    )?;
    if let Some(foreign) = &model.out_of_scope {
        writeln!(
            text,
            "  out of scope: {} found, {} of the in-scope rows mistaken for it, AUROC {:.4}",
            percent(foreign.recall),
            percent(foreign.false_positive_rate),
            foreign.auroc
        )?;
    }
    if model.truncated_rows > 0 {
        writeln!(text, "  {} rows were longer than the model reads", model.truncated_rows)?;
    }
    let mut worst: Vec<_> = model.per_intent.iter().filter(|(_, intent)| intent.rows > 0 && intent.f1 < 1.0).collect();
    worst.sort_by(|a, b| a.1.f1.total_cmp(&b.1.f1));
    if worst.is_empty() {
        return writeln!(text, "  every row is answered right");
    }
    writeln!(
        text,
        "  hardest intents                           F1   95 % interval   precision  recall  rows  taken for"
    )?;
    for (intent, metrics) in worst.into_iter().take(WORST_LISTED) {
        let confused: Vec<String> =
            metrics.confused_with.iter().take(3).map(|with| format!("{} {}", with.intent, with.rows)).collect();
        writeln!(
            text,
            "  {:<36} {:>7} {:>15} {:>11} {:>7} {:>5}  {}",
            intent,
            percent(metrics.f1),
            format!("{:.0} to {:.0}", metrics.f1_interval.low * 100.0, metrics.f1_interval.high * 100.0),
            percent(metrics.precision),
            percent(metrics.recall),
            metrics.rows,
            confused.join(", ")
        )?;
    }
    Ok(())
}
