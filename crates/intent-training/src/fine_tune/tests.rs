use std::{
    error::Error,
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use intent_model::Labels;
use tempfile::TempDir;

use super::{tiny_base::write_bert, *};
use crate::{
    progress::Quiet,
    train::{Fitted, TrainOptions},
};

/// Texts of two intents, twenty each.
fn dataset() -> Dataset {
    let music = ["play some music", "music", "play loud", "some loud music", "plays"];
    let weather = ["will it rain today", "rain", "will it rain", "rains today", "it will"];
    let rows = |texts: [&'static str; 5], label: u32| {
        (0..20).map(move |index| Labelled { text: format!("{} {}", texts[index % 5], texts[index / 5]), label })
    };
    Dataset {
        labels: Labels::new(["music", "weather"]),
        training: rows(music, 0).chain(rows(weather, 1)).collect(),
        validation: vec![
            Labelled { text: "play it loud".to_owned(), label: 0 },
            Labelled { text: "rain today".to_owned(), label: 1 },
        ],
        out_of_scope: Vec::new(),
        warnings: Vec::new(),
    }
}

fn options() -> Options {
    Options { epochs: 30, batch_size: 7, learning_rate: 1e-2, patience: 30, label_smoothing: 0.0, ..Options::default() }
}

struct Run {
    folder: TempDir,
}

impl Run {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("base")).expect("writable");
        write_bert(&folder.path().join("base"), 0.25);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tune(&self, out: &str, options: &Options, threads: usize) -> FineTuned {
        let (base, out) = (self.path("base"), self.path(out));
        let place = Place { base: &base, out: &out, checkpoint: None, resume: false, threads };
        fine_tune(&dataset(), &place, options, &Quiet).expect("trains")
    }

    fn weights(&self, out: &str) -> Vec<u8> {
        fs::read(self.path(out).join("model.safetensors")).expect("written")
    }
}

#[test]
fn a_tiny_network_learns_and_the_written_directory_answers_as_the_trained_one() {
    let run = Run::new();
    let tuned = run.tune("out", &options(), 2);
    let first = tuned.epochs.first().expect("epochs ran").train_loss;
    let last = tuned.epochs.last().expect("epochs ran").train_loss;
    assert!(last < 0.6 * first, "the loss fell from {first} to {last}");
    assert_eq!(tuned.epochs[tuned.best_epoch - 1].validation_accuracy, Some(1.0));

    let texts: Vec<&str> = tuned.validation.iter().map(|row| row.text.as_str()).collect();
    let again = reference_logits(&tuned.directory, &texts, 64).expect("readable");
    for (a, b) in again.iter().flatten().zip(tuned.validation_logits.iter().flatten()) {
        assert!((a - b).abs() < 1e-5, "{a} and {b}");
    }
}

#[test]
fn a_trained_classifier_is_converted_and_calibrated_for_serving() {
    let run = Run::new();
    let (base, out) = (run.path("base"), run.path("out"));
    let place = Place { base: &base, out: &out, checkpoint: None, resume: false, threads: 1 };
    let dataset = Dataset { out_of_scope: vec!["qwerty".to_owned()], ..dataset() };
    let classifier = train_classifier(&dataset, &place, &options(), &TrainOptions::default(), &Quiet).expect("trains");
    let Fitted { calibration, metrics, .. } = &classifier.fitted;
    assert_eq!((metrics.rows, metrics.accuracy), (2, 1.0));
    assert!(calibration.scaling.temperature > 0.0 && calibration.out_of_scope.is_some() && metrics.auroc.is_some());
    let mut files: Vec<String> =
        classifier.files("distilbert").expect("readable").into_iter().map(|(name, _)| name).collect();
    files.sort_unstable();
    assert_eq!(
        files,
        [
            "distilbert/classifier.json",
            "distilbert/huggingface/config.json",
            "distilbert/huggingface/model.safetensors",
            "distilbert/huggingface/special_tokens_map.json",
            "distilbert/huggingface/tokenizer.json",
            "distilbert/huggingface/tokenizer_config.json",
            "distilbert/huggingface/vocab.txt",
            "distilbert/model.int8.onnx",
            "distilbert/model.onnx",
            "distilbert/tokenizer.json",
        ]
    );
}

#[test]
fn a_refit_learns_from_the_rows_that_the_epoch_was_chosen_on_and_keeps_the_calibration() {
    let run = Run::new();
    let (base, out) = (run.path("base"), run.path("out"));
    let checkpoint = run.path("checkpoint.safetensors");
    let place = Place { base: &base, out: &out, checkpoint: Some(&checkpoint), resume: false, threads: 1 };
    let foreign = |label| Labelled { text: "will loud music rain".to_owned(), label };
    let dataset = Dataset { validation: vec![foreign(1); 30], ..dataset() };
    let chosen = Options { epochs: 6, ..options() };
    let train = |options: &Options, resume| {
        let place = Place { resume, ..place.clone() };
        train_classifier(&dataset, &place, options, &TrainOptions::default(), &Quiet).expect("trains")
    };
    let once = train(&chosen, false);
    let alone = run.weights("out/huggingface");
    let again = train(&Options { refit: true, ..chosen.clone() }, false);
    assert_eq!(again.fitted.calibration, once.fitted.calibration);
    assert_eq!(again.fitted.metrics.accuracy, once.fitted.metrics.accuracy);
    let loss = |directory: &Path| {
        let logits = reference_logits(directory, &["will loud music rain"], 64).expect("readable").remove(0);
        (logits[0] - logits[1]).exp().ln_1p()
    };
    let refitted = run.weights("out/huggingface");
    assert_ne!(refitted, alone);
    let loss_after = loss(&again.tuned.directory);
    fs::write(run.path("out/huggingface/model.safetensors"), &alone).expect("writable");
    let loss_before = loss(&again.tuned.directory);
    assert!(loss_after < loss_before, "the loss went from {loss_before} to {loss_after}");

    train(&Options { refit: true, ..chosen }, true);
    assert_eq!(run.weights("out/huggingface"), refitted, "a finished refit is resumed at its end");
}

#[test]
fn the_result_depends_on_the_seed_and_not_on_the_threads() {
    let run = Run::new();
    for options in [options(), Options { consistency: 1.0, epochs: 2, shards: 3, ..options() }] {
        run.tune("one", &options, 1);
        run.tune("two", &options, 2);
        run.tune("other", &Options { seed: 1, ..options.clone() }, 2);
        assert_eq!(run.weights("one"), run.weights("two"));
        assert_ne!(run.weights("one"), run.weights("other"));
    }
}

/// Copies the checkpoint away in the middle of a run, as if the run had been broken off there.
struct CopyAt<'a> {
    step: u64,
    done: AtomicU64,
    checkpoint: &'a Path,
}

impl Progress for CopyAt<'_> {
    fn stage(&self, _name: &str, _steps: u64) {}

    fn advance(&self, steps: u64) {
        if self.done.fetch_add(steps, Ordering::Relaxed) + steps == self.step {
            fs::copy(self.checkpoint, self.checkpoint.with_extension("copy")).expect("there is a checkpoint");
        }
    }

    fn note(&self, _message: &str) {}
}

#[test]
fn a_resumed_run_ends_as_the_unbroken_one() {
    let run = Run::new();
    let (base, checkpoint) = (run.path("base"), run.path("checkpoint.safetensors"));
    let out = run.path("unbroken");
    let place = Place { base: &base, out: &out, checkpoint: Some(&checkpoint), resume: false, threads: 1 };
    // 40 rows in batches of 7 are 6 steps an epoch: in step 20 the last checkpoint is that of epoch 3.
    let watcher = CopyAt { step: 20, done: AtomicU64::new(0), checkpoint: &checkpoint };
    let unbroken = fine_tune(&dataset(), &place, &options(), &watcher).expect("trains");
    let done = run.path("done");
    let again = fine_tune(&dataset(), &Place { out: &done, resume: true, ..place.clone() }, &options(), &Quiet);
    assert_eq!(again.expect("there is nothing left to train").epochs.len(), unbroken.epochs.len());
    assert_eq!(run.weights("done"), run.weights("unbroken"), "what a finished run wrote can be written again");

    fs::rename(checkpoint.with_extension("copy"), &checkpoint).expect("the copy was made");
    let out = run.path("resumed");
    let place = Place { out: &out, resume: true, ..place };
    let other = Options { learning_rate: 1e-3, ..options() };
    let error = fine_tune(&dataset(), &place, &other, &Quiet).expect_err("another run's checkpoint").to_string();
    assert!(error.contains("start anew without `--resume`"), "{error}");

    let resumed = fine_tune(&dataset(), &place, &options(), &Quiet).expect("trains");
    assert!(resumed.resumed);
    assert_eq!(resumed.epochs, unbroken.epochs);
    assert_eq!(run.weights("resumed"), run.weights("unbroken"));
}

#[test]
fn token_types_become_part_of_the_positions() {
    let run = Run::new();
    let plain = run.path("plain");
    fs::create_dir(&plain).expect("writable");
    write_bert(&plain, 0.0);
    let read = |directory: &Path| {
        let pretrained = Pretrained::read(directory).expect("readable");
        let architecture = Architecture { labels: 2, ..pretrained.architecture };
        let layout = parameters::Layout::new(&architecture, 1);
        let parameters = pretrained.parameters(&layout, &[5], &["a", "b"], 0);
        parameters[layout.positions].to_vec()
    };
    for (with, without) in read(&run.path("base")).iter().zip(read(&plain)) {
        assert!((with - without - 0.25).abs() < 1e-6, "{with} and {without}");
    }
}

#[test]
fn a_tenth_of_the_training_rows_is_held_out_when_there_is_no_validation() {
    let dataset = Dataset { validation: Vec::new(), ..dataset() };
    let (train, validation) = split(&dataset, 1);
    assert_eq!(train.len() + validation.len(), 40);
    assert!((2..=6).contains(&validation.len()), "{}", validation.len());
    assert!(validation.iter().any(|row| row.label == 0) && validation.iter().any(|row| row.label == 1));
    assert!(validation.iter().all(|row| !train.iter().any(|other| other.text == row.text)));
}

#[test]
fn training_that_no_longer_helps_ends_early() {
    let run = Run::new();
    let (base, out) = (run.path("base"), run.path("out"));
    let place = Place { base: &base, out: &out, checkpoint: None, resume: false, threads: 1 };
    // The better a network learns the training rows, the worse it does on a row with the wrong label.
    let wrong = vec![Labelled { text: "play some music".to_owned(), label: 1 }];
    let dataset = Dataset { validation: wrong, ..dataset() };
    let tuned = fine_tune(&dataset, &place, &Options { patience: 2, ..options() }, &Quiet).expect("trains");
    assert!(tuned.epochs.len() < options().epochs, "{} epochs", tuned.epochs.len());
    assert_eq!(tuned.epochs.len(), tuned.best_epoch + 2);
}

#[test]
fn a_broken_base_is_named_with_what_is_wrong() {
    let run = Run::new();
    let base = run.path("base");
    let fail = || {
        let out = run.path("out");
        let place = Place { base: &base, out: &out, checkpoint: None, resume: false, threads: 1 };
        let error = fine_tune(&dataset(), &place, &options(), &Quiet).expect_err("unusable base");
        format!("{error}: {}", error.source().map_or(String::new(), ToString::to_string))
    };
    let config = fs::read_to_string(base.join("config.json")).expect("readable");
    for (from, to, expected) in [
        ("\"bert\"", "\"gpt2\"", "`model_type` is `gpt2`"),
        ("\"gelu\"", "\"relu\"", "the activation is Relu, only the exact `gelu` can be fine-tuned"),
        ("\"intermediate_size\":16", "\"intermediate_size\":15", "layer.0.intermediate.dense.weight` has the shape"),
        ("\"num_hidden_layers\":2", "\"num_hidden_layers\":3", "layer.2.attention.self.query.weight` is missing"),
    ] {
        let changed = config.replace(from, to);
        assert_ne!(changed, config, "the test changes something");
        fs::write(base.join("config.json"), changed).expect("writable");
        let message = fail();
        assert!(message.contains(expected), "{message}");
    }
    fs::write(base.join("config.json"), config).expect("writable");
    fs::remove_file(base.join("tokenizer.json")).expect("was there");
    assert!(fail().contains("tokenizer.json"));
    fs::write(base.join("model.safetensors"), [0_u8; 20]).expect("writable");
    assert!(fail().contains("model.safetensors` is not usable"));
}
