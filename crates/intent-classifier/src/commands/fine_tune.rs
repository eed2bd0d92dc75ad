//! The part of `train` that fine-tunes a transformer.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::Args;
use intent_model::{
    ModelKind,
    directory::{Content, Manifest, ModelDirectory},
};
use intent_training::{
    dataset::Dataset,
    fine_tune::{Options, Place, train_classifier},
    progress::Progress,
    train::TrainOptions,
    version::{self, ReadyModel},
};

use super::output;

/// What to fine-tune and how; what is not said here is in [`Options`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Fine-tuning")]
pub(super) struct FineTuning {
    /// Fine-tune a transformer, too, as the model `distilbert`. It takes some minutes for each thousand texts.
    #[arg(long)]
    pub(super) fine_tune: bool,
    /// The BERT or DistilBERT to start from: a Hugging Face directory, such as the one that `make` fetches the encoder
    /// into.
    #[arg(
        long,
        value_name = "DIR",
        env = "ENCODER_SOURCE",
        hide_env_values = true,
        default_value = "target/encoder-source"
    )]
    base: PathBuf,
    /// How often every text is seen [default: 12]; fewer when the accuracy on held-out rows no longer grows.
    #[arg(long, value_name = "N", requires = "fine_tune")]
    epochs: Option<usize>,
    /// The highest learning rate [default: 0.0002].
    #[arg(long, value_name = "RATE", requires = "fine_tune")]
    learning_rate: Option<f32>,
    /// Texts per step [default: 32].
    #[arg(long, value_name = "N", requires = "fine_tune")]
    batch_size: Option<usize>,
    /// Train a second time, on all rows, those that the number of epochs was chosen on included. It takes twice the time.
    #[arg(long, requires = "fine_tune")]
    refit: bool,
    /// Threads to compute on; the result is the same for any number [default: the setting `MAX_WORKERS`, else all
    /// processors].
    #[arg(long, value_name = "N", requires = "fine_tune")]
    threads: Option<usize>,
    /// Any other option of the training, such as `consistency=1` or `patience=6`; may be repeated. See docs/training.md.
    #[arg(long = "option", value_name = "NAME=VALUE", value_parser = name_and_value, requires = "fine_tune")]
    options: Vec<(String, String)>,
    /// Go on with a run of the same command that was broken off.
    #[arg(long, requires = "fine_tune")]
    resume: bool,
}

/// Fine-tunes into a folder of the model directory that is removed when the version is written.
pub(super) fn run(
    arguments: &FineTuning,
    directory: &ModelDirectory,
    workers: usize,
    dataset: &Dataset,
    targets: &TrainOptions,
    progress: &dyn Progress,
) -> anyhow::Result<ReadyModel> {
    let options = arguments.options(targets.seed)?;
    if !arguments.base.is_dir() {
        return Err(anyhow!(
            "there is no model to start from in `{}`: name a Hugging Face directory of a BERT or DistilBERT by `--base`",
            arguments.base.display()
        ));
    }
    let work = work_folder(directory);
    fs::create_dir_all(&work).with_context(|| format!("cannot write `{}`", work.display()))?;
    let checkpoint = work.join("checkpoint.safetensors");
    arguments.tell_of_checkpoint(&checkpoint);
    let place = Place {
        base: &arguments.base,
        out: &work,
        checkpoint: Some(&checkpoint),
        resume: arguments.resume,
        threads: arguments.threads.unwrap_or(workers),
    };
    let path = ModelKind::Distilbert.as_str();
    let classifier = train_classifier(dataset, &place, &options, targets, progress)?;
    Ok(ReadyModel {
        kind: ModelKind::Distilbert,
        entry: version::entry(&classifier.fitted, path),
        files: classifier.files(path)?,
    })
}

/// Takes the fine-tuned classifier of the version that serves over into a version that is trained without `--fine-tune`, so
/// that learning from feedback takes no model away. `None` when there is none, or it is for other intents.
pub(super) fn keep(directory: &ModelDirectory, dataset: &Dataset) -> anyhow::Result<Option<ReadyModel>> {
    let Some(current) = directory.open_current()? else { return Ok(None) };
    let Manifest { version, labels, models, files, .. } = current.manifest();
    let Some(entry) = models.get(&ModelKind::Distilbert) else { return Ok(None) };
    let Some(path) = &entry.path else { return Ok(None) };
    if *labels != dataset.labels {
        output::note(&format!(
            "`distilbert` of `{version}` is for other intents: the new version has none; `--fine-tune` trains one"
        ));
        return Ok(None);
    }
    output::note(&format!(
        "`distilbert` is that of `{version}`, which has not seen this feedback; `--fine-tune` trains it anew"
    ));
    let folder = format!("{path}/");
    let of_it = files.keys().filter(|name| *name == path || name.starts_with(&folder));
    let files = of_it.map(|name| (name.clone(), Content::CopyOf(current.folder().join(name)))).collect();
    Ok(Some(ReadyModel { kind: ModelKind::Distilbert, entry: entry.clone(), files }))
}

/// Says when the version that serves has a fine-tuned classifier, which one that is trained without `--fine-tune` lacks.
pub(super) fn tell_of_loss(directory: &ModelDirectory) {
    // A directory that cannot be read is no reason not to train into it.
    let Ok(Some(current)) = directory.open_current() else { return };
    let Manifest { version, models, .. } = current.manifest();
    if models.contains_key(&ModelKind::Distilbert) {
        output::note(&format!(
            "`{version}` has a fine-tuned `distilbert`, the new version has none; `--fine-tune` trains one, and \
             `models rollback` brings the old version back"
        ));
    }
}

/// Removes what [`run`] worked on.
pub(super) fn clean_up(directory: &ModelDirectory) -> anyhow::Result<()> {
    let work = work_folder(directory);
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove `{}`", work.display()))
}

impl FineTuning {
    fn options(&self, seed: u64) -> anyhow::Result<Options> {
        let mut options = Options { seed, ..Options::default() };
        for (name, value) in &self.options {
            options.set(name, value)?;
        }
        options.epochs = self.epochs.unwrap_or(options.epochs);
        options.learning_rate = self.learning_rate.unwrap_or(options.learning_rate);
        options.batch_size = self.batch_size.unwrap_or(options.batch_size);
        options.refit |= self.refit;
        Ok(options)
    }

    /// Says when there is nothing to go on with, and when there would be.
    fn tell_of_checkpoint(&self, checkpoint: &Path) {
        match (self.resume, checkpoint.exists()) {
            (true, false) => {
                output::note(&format!("there is no checkpoint in `{}`: starting anew", checkpoint.display()));
            }
            (false, true) => output::note(&format!(
                "`{}` is of a run that was broken off: it is replaced soon, unless you go on with it by `--resume`",
                checkpoint.display()
            )),
            _ => {}
        }
    }
}

fn work_folder(directory: &ModelDirectory) -> PathBuf {
    directory.root().join("fine-tune")
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected `NAME=VALUE`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        arguments: FineTuning,
    }

    fn parse(arguments: &[&str]) -> Result<FineTuning, clap::Error> {
        let all = ["train", "--fine-tune"].iter().chain(arguments);
        Cli::try_parse_from(all).map(|cli| cli.arguments)
    }

    #[test]
    fn the_help_names_the_defaults() {
        let Options { epochs, learning_rate, batch_size, .. } = Options::default();
        assert_eq!((epochs, learning_rate, batch_size), (12, 2e-4, 32));
        assert_eq!(parse(&[]).expect("good").options(7).expect("good"), Options { seed: 7, ..Options::default() });
    }

    #[test]
    fn flags_and_named_options_reach_the_training() {
        let arguments = ["--epochs", "3", "--learning-rate", "1e-3", "--option", "patience=1", "--option", "dropout=0"];
        let options = parse(&arguments).expect("good").options(0).expect("good");
        let expected =
            Options { epochs: 3, learning_rate: 1e-3, patience: 1, dropout: 0.0, seed: 0, ..Options::default() };
        assert_eq!(options, expected);
    }

    #[test]
    fn an_option_that_is_none_is_refused() {
        assert!(parse(&["--option", "patience"]).is_err());
        let unknown = parse(&["--option", "depth=3"]).expect("well-formed").options(0).expect_err("unknown");
        assert!(unknown.to_string().starts_with("there is no option `depth`"), "{unknown}");
    }
}
