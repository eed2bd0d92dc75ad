//! `classify`: text in, intent out, without a server.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, anyhow};
use clap::Args;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use intent_engine::{ClassifyRequest, StrategyName};
use intent_model::ModelKind;
use serde::{Deserialize, Serialize};

use super::{Failure, output};
use crate::{
    config::Sources,
    flags,
    http::{ClassifyAnswer, RequestId},
    remote::RemoteClient,
    serving::{self, Serving},
};

/// Classify a text, or a file of them, without a server; one JSON object a line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  intent-classifier classify 'Write a haiku about rain'
  intent-classifier classify --file texts.jsonl > answers.jsonl
  echo '{\"text\": \"What is 17 * 23?\"}' | intent-classifier classify --file - --model hybrid

A line of the file is {\"text\": \"…\"}; other keys are ignored. Each line gets one line of output, in order. A line that
cannot be read gets {\"line\": N, \"error\": \"…\"}, and the exit status is 1 then.")]
pub(super) struct Arguments {
    /// The text.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    text: Option<String>,
    /// JSON lines to classify; `-` is standard input.
    #[arg(long, value_name = "PATH|-")]
    file: Option<PathBuf>,
    /// Ask this model alone: `rules`, `linear`, `zero_shot`, `hybrid` or `distilbert`.
    #[arg(long, value_name = "NAME")]
    model: Option<ModelKind>,
    /// Choose models by this strategy: `control`, `aggressive_rules`, `balanced` or `quality_first`.
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    strategy: Option<StrategyName>,
}

/// Nobody waits for a single answer here, so that no model is left out for being slow.
const BUDGET: Duration = Duration::from_secs(300);
/// How many texts are on their way, so that the inference threads are never idle.
const TEXTS_IN_FLIGHT: usize = 256;

/// A line of the input.
#[derive(Deserialize)]
struct Line {
    text: String,
}

/// A line of the output where there is no answer.
#[derive(Serialize)]
struct Failed {
    line: usize,
    error: String,
}

pub(super) fn run(arguments: &Arguments, sources: Sources) -> Result<ExitCode, Failure> {
    let settings = sources.load()?.settings;
    let flags = flags::of_file_and_environment(&settings)?;
    let pack = super::configured_pack(&settings.models)?;
    let remote = RemoteClient::configured(&settings.remote)?;
    let assembly = serving::assemble(&settings.models, pack, remote.as_ref()).map_err(anyhow::Error::from)?;
    let serving = Serving::start(assembly, &settings, flags);
    serving.engine().replace_routing(settings.routing.routing());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (&arguments.text, &arguments.file) {
        (Some(text), _) => {
            let line = runtime.block_on(answer(&serving, arguments, not_blank(text.clone())))?;
            output::text(&line)?;
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(path)) => Ok(runtime.block_on(classify_lines(&serving, arguments, path))?),
        (None, None) => unreachable!("clap requires one of them"),
    }
}

async fn classify_lines(serving: &Serving, arguments: &Arguments, path: &Path) -> anyhow::Result<ExitCode> {
    let progress = progress_bar(path);
    let lines = open(path)?.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut answers = stream::iter(lines)
        .map(|(number, line)| async move { (number, answer(serving, arguments, text_of(line)).await) })
        .buffered(TEXTS_IN_FLIGHT);
    let mut stdout = BufWriter::new(io::stdout().lock());
    let mut failed: u64 = 0;
    while let Some((number, answer)) = answers.next().await {
        let line = answer.or_else(|error| {
            failed += 1;
            serde_json::to_string(&Failed { line: number, error: format!("{error:#}") })
        })?;
        writeln!(stdout, "{line}")?;
        progress.inc(1);
    }
    stdout.flush()?;
    progress.finish_and_clear();
    if failed > 0 {
        output::error(&format!("{failed} of {} lines could not be classified", progress.position()));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn answer(serving: &Serving, arguments: &Arguments, text: anyhow::Result<String>) -> anyhow::Result<String> {
    let text = text?;
    let request = ClassifyRequest {
        latency_budget: Some(BUDGET),
        model: arguments.model,
        strategy: arguments.strategy,
        ..ClassifyRequest::new(text)
    };
    let decision = serving.engine().classify(request).await?;
    let pack = serving.pack();
    let attributes = pack.attributes(&decision.best().intent);
    let answer = ClassifyAnswer::new(RequestId::new(), &decision, attributes, decision.timings.total);
    Ok(serde_json::to_string(&answer)?)
}

fn text_of(line: io::Result<String>) -> anyhow::Result<String> {
    let Line { text } = serde_json::from_str(&line?)?;
    not_blank(text)
}

fn not_blank(text: String) -> anyhow::Result<String> {
    if text.trim().is_empty() { Err(anyhow!("the text must not be empty")) } else { Ok(text) }
}

fn open(path: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Shows how many lines are done, on a terminal only.
fn progress_bar(path: &Path) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(path.display().to_string());
    let style = ProgressStyle::with_template("{spinner} {msg}: {human_pos} texts, {per_sec}, {elapsed}");
    bar.with_style(style.expect("the template is well-formed"))
}
