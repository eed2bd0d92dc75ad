//! `evaluate`: what is true of the models on rows they have not seen.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow};
use clap::Args;
use intent_engine::{RoutingConfig, StrategyName, catalog::CostClass, strategy::Candidate as StrategyCandidate};
use intent_model::ModelKind;
use intent_training::{
    data,
    evaluation::{
        self, Candidate, Evaluation, EvaluationSet, ModelPredictions,
        strategy::{Step, StrategyEvaluation, evaluate_strategy},
    },
    report,
};

use super::{Failure, output, progress::Bars};
use crate::{
    config::{ModelSettings, Sources},
    serving::{self, Assembly},
};

/// Measure models, or a routing strategy, on labelled texts.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier evaluate --data packs/prompt-tasks/test.jsonl
  intent-classifier evaluate --data test.csv --out-of-scope oos.jsonl --report report.html
  intent-classifier evaluate --data test.jsonl --model hybrid --format json | jq .models.hybrid.accuracy
  intent-classifier evaluate --data test.jsonl --strategy control

A row of the data is {\"text\": \"…\", \"intent\": \"…\"}; rows whose intent is `out_of_scope` or `oos` count as out of scope.")]
pub(super) struct Arguments {
    /// Labelled texts: JSON lines or CSV with the columns `text` and `intent`.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The model directory [default: the setting `MODEL_DIR`].
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// Evaluate this model alone: `rules`, `linear`, `zero_shot`, `hybrid` or `distilbert`.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelKind>,
    /// Evaluate this routing strategy too, beside a random control of the same cost; may be repeated.
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    strategy: Vec<StrategyName>,
    /// Texts that belong to no intent: JSON lines or CSV with the column `text`.
    #[arg(long, value_name = "FILE")]
    out_of_scope: Option<PathBuf>,
    /// Write a report with plots to this file; it opens offline.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write every wrong answer to this file, as JSON lines, the surest first.
    #[arg(long, value_name = "FILE.jsonl")]
    errors: Option<PathBuf>,
    /// How to write the figures.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let mut settings = sources.load()?.settings.models;
    if let Some(directory) = &arguments.model_dir {
        settings.use_directory(directory);
    }
    let assembly =
        serving::assemble(&settings, super::configured_pack(&settings)?, None).map_err(anyhow::Error::from)?;
    evaluate(arguments, &settings, &assembly)?;
    Ok(ExitCode::SUCCESS)
}

fn evaluate(arguments: &Arguments, settings: &ModelSettings, assembly: &Assembly) -> anyhow::Result<()> {
    let rows = data::read_files(&arguments.data)?;
    let out_of_scope = arguments.out_of_scope.as_deref().map(data::read_out_of_scope).transpose()?.unwrap_or_default();
    let set = EvaluationSet::new(rows, out_of_scope, &assembly.pack.labels())?;
    let predictions = predict(arguments, settings, assembly, &set)?;
    let strategies: Vec<StrategyEvaluation> = arguments
        .strategy
        .iter()
        .map(|&strategy| evaluate_strategy(strategy.as_str(), &steps(strategy, assembly), &set, &predictions))
        .collect::<Result<_, _>>()
        .map_err(|reason| anyhow!(reason))?;
    let evaluation = evaluation::evaluate(&set, &predictions, strategies);

    if let Some(path) = &arguments.report {
        let title = format!("{} on {}", assembly.catalog.version(), names(&arguments.data));
        write(path, &report::to_html(&evaluation, &title))?;
    }
    if let Some(path) = &arguments.errors {
        write_errors(path, &set, &predictions)?;
    }
    show(arguments.format, &evaluation)?;
    Ok(())
}

fn predict(
    arguments: &Arguments,
    settings: &ModelSettings,
    assembly: &Assembly,
    set: &EvaluationSet,
) -> anyhow::Result<Vec<ModelPredictions>> {
    if let Some(kind) = arguments.model.filter(|&kind| assembly.catalog.get(kind).is_none()) {
        let reason = assembly.availability.get(&kind).and_then(|availability| availability.reason());
        let directory = settings.directory.display();
        return Err(anyhow!("`{kind}` is not there in `{directory}`: {}", reason.unwrap_or("it is not supported")));
    }
    let progress = Bars::new();
    let wanted = assembly.catalog.iter().filter(|(kind, _)| arguments.model.is_none_or(|model| model == *kind));
    let predictions = wanted
        .filter_map(|(kind, loaded)| Some((kind, loaded.backend.local()?.as_ref(), loaded.calibration)))
        .map(|(kind, model, calibration)| {
            evaluation::predict(Candidate { name: kind.as_str(), model, calibration }, set, &progress)
                .with_context(|| format!("`{kind}` cannot be evaluated"))
        })
        .collect();
    progress.finish();
    predictions
}

/// Returns what a strategy would ask in which order, when nothing fails and time does not matter.
fn steps(strategy: StrategyName, assembly: &Assembly) -> Vec<Step> {
    let routing = RoutingConfig::default();
    let candidates: Vec<StrategyCandidate> = assembly
        .catalog
        .iter()
        .map(|(kind, loaded)| StrategyCandidate {
            kind,
            threshold: routing.threshold(kind, loaded),
            accuracy: routing.accuracy(kind, loaded),
            coverage: loaded.coverage,
            latency: CostClass::of(kind).usual_latency(),
        })
        .collect();
    let plan = strategy.strategy().plan(&candidates);
    plan.iter().map(|step| Step { model: step.kind.to_string(), threshold: step.accept_from }).collect()
}

fn write_errors(path: &Path, set: &EvaluationSet, predictions: &[ModelPredictions]) -> anyhow::Result<()> {
    let cannot = || format!("cannot write `{}`", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(cannot)?);
    for wrong in evaluation::wrong_answers(set, predictions) {
        writeln!(file, "{}", serde_json::to_string(&wrong)?).with_context(cannot)?;
    }
    file.flush().with_context(cannot)
}

fn write(path: &Path, content: &str) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write `{}`", path.display()))
}

fn show(format: output::Format, evaluation: &Evaluation) -> std::io::Result<()> {
    match format {
        output::Format::Text => output::text(&report::to_text(evaluation)),
        output::Format::Json => output::json(evaluation),
    }
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
