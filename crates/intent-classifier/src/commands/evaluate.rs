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
use intent_model::{ModelKind, Pack, SentenceEncoder};
use intent_training::{
    cross_validation::{self, cross_validate},
    data::{self, Example, Origin},
    dataset::Dataset,
    evaluation::{
        self, Candidate, Evaluation, EvaluationSet, ModelPredictions,
        strategy::{Step, StrategyEvaluation, evaluate_strategy},
    },
    report,
    train::TrainOptions,
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
  intent-classifier evaluate --data test.jsonl --model hybrid --baseline /srv/models-of-may
  intent-classifier evaluate --data test.jsonl --strategy control
  intent-classifier evaluate --cross-validate 5 --pack my-pack.toml
  intent-classifier evaluate --cross-validate 10 --data all.csv --model linear --errors doubtful.jsonl

A row of the data is {\"text\": \"…\", \"intent\": \"…\"}; rows whose intent is `out_of_scope` or `oos` count as out of scope.
How to read the figures: docs/evaluation.md.")]
pub(super) struct Arguments {
    /// Labelled texts: JSON lines or CSV with the columns `text` and `intent`.
    #[arg(long, value_name = "FILE", required_unless_present = "pack", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The model directory [default: the setting `MODEL_DIR`].
    #[arg(long, value_name = "DIR")]
    model_dir: Option<PathBuf>,
    /// Evaluate this model alone: `rules`, `linear`, `zero_shot`, `hybrid` or `distilbert`; may be repeated.
    #[arg(long, value_name = "NAME")]
    model: Vec<ModelKind>,
    /// Compare with the same models of another model directory, on the same rows.
    #[arg(long, value_name = "DIR")]
    baseline: Option<PathBuf>,
    /// Evaluate this routing strategy too, beside a random control of the same cost; may be repeated.
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    strategy: Vec<StrategyName>,
    /// Use no trained version: train `linear` and `hybrid` this many times, each time on all rows but a part of them, and
    /// let the models answer that part.
    #[arg(long, value_name = "FOLDS", conflicts_with_all = ["strategy", "baseline"])]
    cross_validate: Option<usize>,
    /// Cross-validate the examples of this intent pack, a folder or a TOML file, with those of `--data`.
    #[arg(long, value_name = "PATH", requires = "cross_validate")]
    pack: Option<PathBuf>,
    /// Decides how rows are dealt into the parts of a cross-validation.
    #[arg(long, default_value_t = 0, requires = "cross_validate")]
    seed: u64,
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
    match arguments.cross_validate {
        Some(folds) => cross_validated(arguments, &settings, folds)?,
        None => {
            let pack = super::configured_pack(&settings)?;
            trained_before(arguments, &settings, pack)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Evaluates the models of a version.
fn trained_before(arguments: &Arguments, settings: &ModelSettings, pack: Option<Pack>) -> anyhow::Result<()> {
    let rows = data::read_files(&arguments.data)?;
    let out_of_scope = out_of_scope(arguments)?;
    let assembly = assemble(arguments, settings, pack.clone())?;
    let set = EvaluationSet::new(rows, out_of_scope, &assembly.pack.labels())?;
    let mut predictions = predict(arguments, settings, &assembly, "", &set)?;
    if let Some(directory) = &arguments.baseline {
        let mut settings = settings.clone();
        settings.use_directory(directory);
        let baseline = assemble(arguments, &settings, pack)?;
        let (own, other) = (assembly.pack.labels(), baseline.pack.labels());
        if own != other {
            let directory = directory.display();
            return Err(anyhow!("the models in `{directory}` know other intents, so no row can compare them"));
        }
        predictions.extend(predict(arguments, &settings, &baseline, "baseline/", &set)?);
    }
    let strategies: Vec<StrategyEvaluation> = arguments
        .strategy
        .iter()
        .map(|&strategy| evaluate_strategy(strategy.as_str(), &steps(strategy, &assembly), &set, &predictions))
        .collect::<Result<_, _>>()
        .map_err(|reason| anyhow!(reason))?;
    let evaluation = evaluation::evaluate(&set, &predictions, strategies);
    let title = format!("{} on {}", assembly.catalog.version(), names(&arguments.data));
    write(arguments, &set, &predictions, &evaluation, &title)
}

/// Trains models for each part of the data on the rest of it, and evaluates what they say of their part.
fn cross_validated(arguments: &Arguments, settings: &ModelSettings, folds: usize) -> anyhow::Result<()> {
    let wants = |kind: ModelKind| arguments.model.is_empty() || arguments.model.contains(&kind);
    if let Some(other) = arguments.model.iter().find(|kind| !cross_validation::KINDS.contains(kind)) {
        return Err(anyhow!("`{other}` cannot be cross-validated, expected `linear` or `hybrid`"));
    }
    let (set, source) = all_rows(arguments)?;
    let folder = settings.encoder_directory();
    let encoder = if !wants(ModelKind::Hybrid) {
        None
    } else if folder.is_dir() {
        Some(SentenceEncoder::load(&folder, settings.encoder_precision)?)
    } else if arguments.model.is_empty() {
        let folder = folder.display();
        output::note(&format!("there is no sentence encoder in `{folder}`: cross-validating `linear` alone"));
        None
    } else {
        return Err(anyhow!("`hybrid` needs the sentence encoder, and there is none in `{}`", folder.display()));
    };
    let options = TrainOptions { seed: arguments.seed, ..TrainOptions::default() };
    let progress = Bars::new();
    let predictions = cross_validate(&set, encoder.as_ref(), folds, &options, &progress);
    progress.finish();
    let predictions: Vec<ModelPredictions> =
        predictions?.into_iter().filter(|model| model.name.parse().is_ok_and(wants)).collect();
    let evaluation = Evaluation { folds: Some(folds), ..evaluation::evaluate(&set, &predictions, Vec::new()) };
    write(arguments, &set, &predictions, &evaluation, &format!("{folds} folds of {source}"))
}

/// Brings together the rows to cross-validate and says where they come from.
fn all_rows(arguments: &Arguments) -> anyhow::Result<(EvaluationSet, String)> {
    let mut rows = data::read_files(&arguments.data)?;
    let mut source = names(&arguments.data);
    let mut out_of_scope = out_of_scope(arguments)?;
    let pack = arguments.pack.as_deref().map(Pack::load).transpose()?;
    if let Some(pack) = &pack {
        let origin = Origin { file: PathBuf::from(&pack.name).into(), line: None };
        rows.extend(pack.examples().map(|(text, label)| Example {
            text: text.to_owned(),
            intent: pack.intents[label].name.clone(),
            origin: origin.clone(),
        }));
        out_of_scope.extend(pack.out_of_scope_validation.iter().cloned());
        source = if source.is_empty() { pack.name.clone() } else { format!("{} and {source}", pack.name) };
    }
    let dataset = Dataset::new(rows, Vec::new(), pack.as_ref().map(Pack::labels))?;
    for warning in &dataset.warnings {
        output::note(&format!("warning: {warning}"));
    }
    out_of_scope.extend(dataset.out_of_scope);
    Ok((EvaluationSet { labels: dataset.labels, rows: dataset.training, out_of_scope }, source))
}

fn out_of_scope(arguments: &Arguments) -> anyhow::Result<Vec<String>> {
    Ok(arguments.out_of_scope.as_deref().map(data::read_out_of_scope).transpose()?.unwrap_or_default())
}

/// Loads the models that are asked for, or all.
fn assemble(arguments: &Arguments, settings: &ModelSettings, pack: Option<Pack>) -> anyhow::Result<Assembly> {
    let wanted = if arguments.model.is_empty() { &ModelKind::ALL[..] } else { &arguments.model };
    Ok(serving::assemble_only(wanted, settings, pack, None)?)
}

/// Lets the models answer all rows; their names begin with `prefix`.
fn predict(
    arguments: &Arguments,
    settings: &ModelSettings,
    assembly: &Assembly,
    prefix: &str,
    set: &EvaluationSet,
) -> anyhow::Result<Vec<ModelPredictions>> {
    if let Some(kind) = arguments.model.iter().find(|&&kind| assembly.catalog.get(kind).is_none()) {
        let reason = assembly.availability.get(kind).and_then(|availability| availability.reason());
        let directory = settings.directory.display();
        return Err(anyhow!("`{kind}` is not there in `{directory}`: {}", reason.unwrap_or("it is not supported")));
    }
    let progress = Bars::new();
    let is_wanted = |kind: ModelKind| arguments.model.is_empty() || arguments.model.contains(&kind);
    let predictions = assembly
        .catalog
        .iter()
        .filter(|(kind, _)| is_wanted(*kind))
        .filter_map(|(kind, loaded)| Some((kind, loaded.backend.local()?.as_ref(), loaded.calibration)))
        .map(|(kind, model, calibration)| {
            let name = format!("{prefix}{kind}");
            evaluation::predict(Candidate { name: &name, model, calibration }, set, &progress)
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

fn write(
    arguments: &Arguments,
    set: &EvaluationSet,
    predictions: &[ModelPredictions],
    evaluation: &Evaluation,
    title: &str,
) -> anyhow::Result<()> {
    if let Some(path) = &arguments.report {
        let cannot = || format!("cannot write `{}`", path.display());
        fs::write(path, report::to_html(evaluation, title)).with_context(cannot)?;
    }
    if let Some(path) = &arguments.errors {
        write_errors(path, set, predictions).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    match arguments.format {
        output::Format::Text => output::text(&report::to_text(evaluation))?,
        output::Format::Json => output::json(evaluation)?,
    }
    Ok(())
}

fn write_errors(path: &Path, set: &EvaluationSet, predictions: &[ModelPredictions]) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for wrong in evaluation::wrong_answers(set, predictions) {
        writeln!(file, "{}", serde_json::to_string(&wrong)?)?;
    }
    Ok(file.flush()?)
}

fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
