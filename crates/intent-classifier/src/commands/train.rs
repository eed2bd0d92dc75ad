//! `train`: examples to a version of a model directory.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::SystemTime};

use anyhow::Context;
use clap::Args;
use intent_model::{
    Model, Pack, Rules, SentenceEncoder,
    directory::{Manifest, ModelDirectory},
    pack::LabelledText,
    zero_shot::ZeroShot,
};
use intent_training::{
    data::{self, Example, Origin},
    dataset::Dataset,
    train::{TrainOptions, train},
    version::{self, VersionParts},
};
use serde::Serialize;
use serde_json::json;

use super::{
    Failure,
    comparison::{Comparison, Means},
    feedback,
    fine_tune::{self, FineTuning},
    output,
    progress::Bars,
};
use crate::{
    config::{ModelSettings, Sources},
    feedback::learning::{self, TextOpinions},
    serving,
};

/// Train, calibrate and measure models, and let them serve.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier train                                     the default pack, into the model directory
  intent-classifier train --pack my-pack.toml --out models
  intent-classifier train --data train.csv --validation validation.csv --out models
  intent-classifier train --feedback                          with what users agree on, if it does no harm
  intent-classifier train --data train.jsonl --target-error 0.01 --format json | jq .models.hybrid.metrics
  intent-classifier train --data train.jsonl --validation validation.jsonl --fine-tune --base ./distilbert-base-uncased

A row of the data is {\"text\": \"…\", \"intent\": \"…\"}, or a line of CSV with these columns. Without a pack the intents are
those of the data. Rows whose intent is `out_of_scope` or `oos` are never trained on: they measure and set the gate.
A server that runs takes the new version on SIGHUP or `POST /api/v1/models/reload`.")]
pub(super) struct Arguments {
    /// The intent pack: a folder or a TOML file [default: without `--data`, the setting `INTENT_PACK`, else the pack in
    /// the binary].
    #[arg(long, value_name = "PATH")]
    pack: Option<PathBuf>,
    /// More labelled texts to learn from: JSON lines or CSV.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// Labelled texts that are never learnt from: models made from the pack are calibrated on them.
    #[arg(long, value_name = "FILE")]
    validation: Option<PathBuf>,
    /// The model directory to write a version into [default: the setting `MODEL_DIR`].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The share of accepted answers that may be wrong, 0 to 1; the thresholds are solved from it.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = TrainOptions::default().target_error)]
    target_error: f64,
    /// The share of in-scope texts that must not be answered `out_of_scope`, 0 to 1; the gates are solved from it.
    #[arg(long, value_name = "SHARE", value_parser = share, default_value_t = TrainOptions::default().in_scope_retention)]
    in_scope_retention: f64,
    /// Decides everything random; the same data and seed give the same models.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Learn from feedback, too: what users agree on joins the examples; see `feedback review`. The new version serves only
    /// when it is no worse than the one that serves, on the same held-out rows. A fine-tuned `distilbert` is taken over as it
    /// is, unless there is `--fine-tune` as well.
    #[arg(long)]
    feedback: bool,
    /// Write the version, but leave the one that serves in place; see `models promote`.
    #[arg(long)]
    no_promote: bool,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
    #[command(flatten)]
    fine_tuning: FineTuning,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let settings = sources.load()?.settings;
    let opinions = if arguments.feedback { feedback::read_opinions(&settings)? } else { Vec::new() };
    let (manifest, comparison) = train_version(arguments, &settings.models, &opinions)?;
    match arguments.format {
        output::Format::Text => {
            describe(&manifest)?;
            comparison.iter().try_for_each(Comparison::describe)?;
        }
        output::Format::Json => output::json(&Report { manifest: &manifest, comparison: comparison.as_ref() })?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What is written as JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    manifest: &'a Manifest,
    /// With what served before; only with `--feedback`.
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

fn train_version(
    arguments: &Arguments,
    settings: &ModelSettings,
    opinions: &[TextOpinions],
) -> anyhow::Result<(Manifest, Option<Comparison>)> {
    let directory = ModelDirectory::new(arguments.out.as_ref().unwrap_or(&settings.directory));
    let (pack, dataset) = material(arguments, settings, opinions)?;
    for warning in &dataset.warnings {
        output::note(&format!("warning: {warning}"));
    }
    let encoder = load_encoder(settings, &directory)?;

    let bars = Bars::new();
    let options = TrainOptions {
        seed: arguments.seed,
        target_error: arguments.target_error,
        in_scope_retention: arguments.in_scope_retention,
        ..TrainOptions::default()
    };
    let trained = train(&dataset, encoder.as_deref(), &options, &bars)?;
    let mut more = Vec::new();
    if arguments.fine_tuning.fine_tune {
        more.push(fine_tune::run(&arguments.fine_tuning, &directory, settings.workers(), &dataset, &options, &bars)?);
    } else if arguments.feedback {
        more.extend(fine_tune::keep(&directory, &dataset)?);
    } else {
        fine_tune::tell_of_loss(&directory);
    }
    bars.finish();

    let rules = Rules::compile(&pack)?;
    let zero_shot = encoder.as_ref().map(|encoder| ZeroShot::new(&pack, Arc::clone(encoder))).transpose()?;
    let mut pack_models: Vec<&dyn Model> = Vec::new();
    if !rules.is_empty() {
        pack_models.push(&rules);
    }
    pack_models.extend(zero_shot.as_ref().map(|model| model as &dyn Model));
    let parts = VersionParts {
        pack: &pack,
        dataset: &dataset,
        options: &options,
        trained: &trained,
        pack_models,
        zero_shot: zero_shot.as_ref().map(ZeroShot::vectors),
        more,
        encoder: encoder.as_ref().map(|encoder| encoder.fingerprint().to_owned()),
        created_at: &humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
    };
    let name = version::write(&directory, parts)?;
    if arguments.fine_tuning.fine_tune {
        fine_tune::clean_up(&directory)?;
    }
    let comparison = match arguments.feedback {
        true => {
            let means = Means { encoder: encoder.as_deref(), precision: settings.encoder_precision, progress: &bars };
            Comparison::measure(&directory, &name, &dataset, means)?
        }
        false => None,
    };
    match &comparison {
        _ if arguments.no_promote => {}
        Some(comparison) if comparison.worse => {
            let old = &comparison.old_version;
            output::note(&format!(
                "`{old}` goes on serving: the new version is worse on the held-out rows; `models promote {name}` takes it anyway"
            ));
        }
        _ => directory.promote(&name)?,
    }
    Ok((directory.manifest(&name)?, comparison))
}

/// Brings pack and data together: without a pack, the data makes one.
fn material(
    arguments: &Arguments,
    settings: &ModelSettings,
    opinions: &[TextOpinions],
) -> anyhow::Result<(Pack, Dataset)> {
    let mut rows = data::read_files(&arguments.data)?;
    let validation = arguments.validation.as_deref().map(data::read_file).transpose()?.unwrap_or_default();
    let pack = match &arguments.pack {
        Some(path) => Some(Pack::load(path)?),
        None if arguments.data.is_empty() => Some(serving::default_pack(settings)?),
        None => None,
    };
    let held_out_of_pack = pack.iter().flat_map(|pack| {
        let foreign = pack.out_of_scope_validation.iter().map(String::as_str);
        pack.validation.iter().map(|row| row.text.as_str()).chain(foreign)
    });
    let held_out_texts = validation.iter().map(|row| row.text.as_str()).chain(held_out_of_pack);
    let lessons = learning::lessons(opinions, held_out_texts);
    if arguments.feedback {
        output::note(&lessons.to_string());
    }
    rows.extend(lessons.examples);
    let Some(pack) = pack else {
        let dataset = Dataset::new(rows, validation, None)?;
        let examples = dataset.training.iter().map(|row| (row.text.as_str(), row.label as usize));
        let pack = Pack::from_examples("data", &dataset.labels, examples)?;
        return Ok((pack, dataset));
    };
    let mut training = examples(&pack, "train", pack.examples().map(|(text, label)| (text.to_owned(), Some(label))));
    training.extend(rows);
    let labelled = |row: &LabelledText| (row.text.clone(), Some(row.label));
    let foreign = pack.out_of_scope_validation.iter().map(|text| (text.clone(), None));
    let mut held_out = examples(&pack, "validation", pack.validation.iter().map(labelled).chain(foreign));
    held_out.extend(validation);
    let dataset = Dataset::new(training, held_out, Some(pack.labels()))?;
    Ok((pack, dataset))
}

/// Makes rows of a pack's texts; a text without a label is out of scope.
fn examples(pack: &Pack, split: &str, texts: impl Iterator<Item = (String, Option<usize>)>) -> Vec<Example> {
    let origin = Origin { file: PathBuf::from(format!("{} ({split})", pack.name)).into(), line: None };
    texts
        .map(|(text, label)| {
            let intent = label.map_or(intent_model::OUT_OF_SCOPE, |label| &pack.intents[label].name);
            Example { text, intent: intent.to_owned(), origin: origin.clone() }
        })
        .collect()
}

/// Loads the encoder in the directory that is written to, else the configured one; without any, only the models that
/// need none are trained.
fn load_encoder(settings: &ModelSettings, directory: &ModelDirectory) -> anyhow::Result<Option<Arc<SentenceEncoder>>> {
    let own = directory.encoder_path();
    let folder = if own.is_dir() { own } else { settings.encoder_directory() };
    if !folder.is_dir() {
        output::note(&format!(
            "there is no sentence encoder in `{}`: training `linear` alone (see `models import`)",
            folder.display()
        ));
        return Ok(None);
    }
    let encoder = SentenceEncoder::load(&folder, settings.encoder_precision)
        .with_context(|| format!("cannot load the sentence encoder in `{}`", folder.display()))?;
    Ok(Some(Arc::new(encoder)))
}

fn describe(manifest: &Manifest) -> std::io::Result<()> {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let or_dash = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}"));
    let threshold = |confidence: f32| if confidence > 1.0 { "never".to_owned() } else { format!("{confidence:.2}") };
    let rows: Vec<Vec<String>> = manifest
        .models
        .iter()
        .map(|(kind, entry)| {
            let metrics = &entry.metrics;
            vec![
                kind.to_string(),
                percent(metrics.accuracy),
                format!("{:.3}", metrics.ece),
                or_dash(metrics.brier),
                or_dash(metrics.auroc),
                threshold(entry.calibration.accept_threshold),
                percent(metrics.coverage),
                percent(metrics.accepted_error),
                format!(
                    "{} {}",
                    metrics.rows,
                    json!(metrics.measured_on).as_str().unwrap_or_default().replace('_', " ")
                ),
            ]
        })
        .collect();
    let asked = manifest.training;
    output::text(&format!("version {}", manifest.version))?;
    output::table(
        &["model", "accuracy", "ece", "brier", "auroc", "accept from", "accepts", "of them wrong", "measured on"],
        &rows,
    )?;
    output::text(&format!(
        "thresholds for at most {} wrong among what is accepted; gates keep {} of the texts in scope",
        percent(asked.target_error),
        percent(asked.in_scope_retention)
    ))
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "expected a share, 0 to 1".to_owned())
}
