//! `feedback`: what a person should look at before models learn from it.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use intent_model::{Document, Prediction};
use serde_json::json;
use uuid::Uuid;

use super::{Failure, database, output};
use crate::{
    config::{Settings, Sources},
    feedback::learning::{self, Review, TextOpinions},
    serving::{self, Assembly},
    storage::{Feedback, FeedbackPosition, Storage},
};

/// How many rows are read, and how many texts scored, at once.
const PAGE: u32 = 500;

/// Review what users said before models learn from it.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Review(ReviewArguments),
    Reject(RejectArguments),
}

/// List conflicts, outliers, and the texts that are most wanted for training.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier feedback review
  intent-classifier feedback review --limit 100 --format json | jq -r '.outliers[].feedback[]'

Conflicts are texts for which users want different intents: none of them is learnt. Outliers are corrections that the most
accurate model finds very unlikely. Most wanted are texts by uncertainty times frequency.")]
pub(super) struct ReviewArguments {
    /// How many of each to list.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
    /// How to write them.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

/// Keep models from learning from feedback; it stays in the statistics.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier feedback reject 0199d2f4-5b7c-7cc3-98c4-dc0c0c07398f
  intent-classifier feedback review --format json | jq -r '.outliers[].feedback[]' | xargs intent-classifier feedback reject")]
pub(super) struct RejectArguments {
    /// The feedback, by its `feedback_id`.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<Uuid>,
    /// How to write what was done.
    #[arg(long, value_enum, default_value_t)]
    format: output::Format,
}

pub(super) fn run(command: &Command, sources: Sources) -> Result<ExitCode, Failure> {
    let settings = sources.load()?.settings;
    match command {
        Command::Review(arguments) => review(arguments, &settings),
        Command::Reject(arguments) => reject(arguments, &settings),
    }
}

fn review(arguments: &ReviewArguments, settings: &Settings) -> Result<ExitCode, Failure> {
    let texts = read_opinions(settings)?;
    let pack = super::configured_pack(&settings.models)?;
    let assembly = serving::assemble(&settings.models, pack, None).map_err(anyhow::Error::from)?;
    let predictions = predict(&assembly, &texts)?;
    let review = learning::review(&texts, &predictions, &assembly.pack.labels(), arguments.limit);
    match arguments.format {
        output::Format::Json => output::json(&review)?,
        output::Format::Text => describe(&review)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn reject(arguments: &RejectArguments, settings: &Settings) -> Result<ExitCode, Failure> {
    let rejected = super::block_on(async {
        let storage = database::connect(&settings.database).await?;
        Ok(storage.reject_feedback(&arguments.ids).await.context("nothing was rejected")?)
    })?;
    let unknown = arguments.ids.len() as u64 - rejected;
    match arguments.format {
        output::Format::Json => output::json(&json!({"rejected": rejected, "unknown": unknown}))?,
        output::Format::Text => output::text(&format!("{rejected} rejected"))?,
    }
    if unknown > 0 {
        return Err(anyhow!("{unknown} of the ids are not those of any feedback").into());
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads all feedback that may be learnt from, by text.
pub(super) fn read_opinions(settings: &Settings) -> Result<Vec<TextOpinions>, Failure> {
    let feedback = super::block_on(async {
        let storage = database::connect(&settings.database).await?;
        Ok(read_all(&storage).await.context("the feedback cannot be read")?)
    })?;
    Ok(learning::gather(feedback))
}

async fn read_all(storage: &Storage) -> Result<Vec<Feedback>, crate::storage::StorageError> {
    let (mut all, mut position) = (Vec::new(), FeedbackPosition::default());
    loop {
        let page = storage.feedback_after(&position, PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        position = FeedbackPosition::after(last);
        all.extend(page);
    }
}

/// Asks the most accurate model what it says of each text.
fn predict(assembly: &Assembly, texts: &[TextOpinions]) -> anyhow::Result<Vec<Prediction>> {
    let local = assembly.catalog.iter().filter_map(|(_, loaded)| Some((loaded.backend.local()?, loaded)));
    let best = local.max_by(|(_, a), (_, b)| a.accuracy.total_cmp(&b.accuracy));
    let (model, loaded) = best.context("there is no model to judge feedback by; train one first")?;
    let mut predictions = Vec::with_capacity(texts.len());
    for page in texts.chunks(PAGE as usize) {
        let documents: Vec<Document> = page.iter().map(|text| Document::new(text.text.as_str())).collect();
        let scores = model.score(&documents.iter().collect::<Vec<_>>())?;
        predictions.extend(scores.iter().map(|scores| loaded.calibration.apply(scores)));
    }
    Ok(predictions)
}

fn describe(review: &Review) -> std::io::Result<()> {
    let ids = |ids: &[Uuid]| ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" ");
    let conflicts: Vec<Vec<String>> = review
        .conflicts
        .iter()
        .flat_map(|conflict| {
            conflict.intents.iter().map(|(intent, of)| vec![shorten(&conflict.text), intent.clone(), ids(of)])
        })
        .collect();
    let outliers: Vec<Vec<String>> = review
        .outliers
        .iter()
        .map(|outlier| {
            let probability = format!("{:.3}", outlier.probability);
            let cells = [outlier.intent.clone(), probability, outlier.model_says.clone(), ids(&outlier.feedback)];
            [vec![shorten(&outlier.text)], cells.into()].concat()
        })
        .collect();
    let wanted: Vec<Vec<String>> = review
        .most_wanted
        .iter()
        .map(|wanted| {
            let uncertainty = format!("{:.2}", wanted.uncertainty);
            vec![shorten(&wanted.text), wanted.count.to_string(), uncertainty, wanted.model_says.clone()]
        })
        .collect();
    section("conflicts", &["text", "wanted", "feedback"], &conflicts)?;
    section("outliers", &["text", "wanted", "probability", "model says", "feedback"], &outliers)?;
    section("most wanted", &["text", "feedback", "uncertainty", "model says"], &wanted)
}

fn section(title: &str, header: &[&str], rows: &[Vec<String>]) -> std::io::Result<()> {
    if rows.is_empty() {
        return output::text(&format!("{title}: none"));
    }
    output::text(&format!("{title}:"))?;
    output::table(header, rows)
}

/// Fits a text into a line, control characters made harmless.
fn shorten(text: &str) -> String {
    const CHARS: usize = 60;
    let mut short: String = text.chars().take(CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(CHARS).is_some() {
        short.push('…');
    }
    short
}
