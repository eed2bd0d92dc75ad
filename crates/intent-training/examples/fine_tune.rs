//! Fine-tunes on files and measures speed and accuracy:
//!
//! ```text
//! cargo run --release --example fine_tune -- BASE OUT train=FILE.jsonl [validation=FILE.jsonl] [measure=FILE.jsonl]
//!     [foreign=FILE.jsonl] [threads=2] [resume=true] [epochs=12] [learning_rate=2e-4] [any other option=value]
//! ```
//!
//! `measure` is a labelled file to report accuracy and calibration error on, `foreign` one of out-of-scope texts.
#![expect(clippy::print_stdout, reason = "an example reports on standard output")]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use intent_model::calibration::{Scaling, softmax};
use intent_training::{
    calibrate, data,
    dataset::{Dataset, Labelled},
    evaluation::metrics,
    fine_tune::{Options, Place, fine_tune, reference_logits},
    progress::Progress,
};

fn main() -> std::process::ExitCode {
    match run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (places, settings): (Vec<_>, Vec<_>) = arguments.iter().partition(|argument| !argument.contains('='));
    let [base, out] = places[..] else { return Err("expected BASE and OUT, then settings `name=value`".into()) };
    let mut settings: BTreeMap<&str, &str> = settings.iter().filter_map(|setting| setting.split_once('=')).collect();
    let mut take = |name: &str| settings.remove(name).map(str::to_owned);
    let train = data::read_file(Path::new(&take("train").ok_or("`train=FILE` is missing")?))?;
    let validation = take("validation").map_or(Ok(Vec::new()), |file| data::read_file(Path::new(&file)))?;
    let (measure, foreign) = (take("measure"), take("foreign"));
    let threads = take("threads").map_or(Ok(2), |threads| threads.parse())?;
    let resume = take("resume").is_some();
    let mut options = Options::default();
    for (name, value) in settings {
        options.set(name, value)?;
    }

    let dataset = Dataset::new(train, validation, None)?;
    let checkpoint = Path::new(out).with_extension("checkpoint");
    let place = Place { base: Path::new(base), out: Path::new(out), checkpoint: Some(&checkpoint), resume, threads };
    println!("{options:?}");
    let trained = fine_tune(&dataset, &place, &options, &Lines::default())?;
    std::fs::remove_file(&checkpoint)?;

    let labels: Vec<u32> = trained.validation.iter().map(|row| row.label).collect();
    let scaling = calibrate::fit_scaling(&trained.validation_logits, &labels);
    println!("best epoch {}, {scaling:?}", trained.best_epoch);
    report("validation", &trained.validation_logits, &labels, scaling);
    let texts = |file: &str| -> Result<(Vec<String>, Vec<u32>), Box<dyn std::error::Error>> {
        let rows = data::read_file(Path::new(file))?;
        let label = |intent: &str| dataset.labels.index_of(intent).map_or(u32::MAX, |label| label as u32);
        let rows: Vec<Labelled> =
            rows.into_iter().map(|row| Labelled { label: label(&row.intent), text: row.text }).collect();
        Ok((rows.iter().map(|row| row.text.clone()).collect(), rows.iter().map(|row| row.label).collect()))
    };
    let logits = |texts: &[String]| {
        reference_logits(&trained.directory, &texts.iter().map(String::as_str).collect::<Vec<_>>(), 512)
    };
    let mut in_scope = trained.validation_logits.clone();
    if let Some(file) = measure {
        let (texts, labels) = texts(&file)?;
        in_scope = logits(&texts)?;
        report(&file, &in_scope, &labels, scaling);
    }
    if let Some(file) = foreign {
        let foreign = logits(&texts(&file)?.0)?;
        for at in [1.0, scaling.temperature] {
            let energies = |rows: &[Vec<f32>]| rows.iter().map(|row| energy(row, at)).collect::<Vec<_>>();
            let maxima = |rows: &[Vec<f32>]| {
                rows.iter().map(|row| -softmax(row, at).into_iter().fold(0.0, f32::max)).collect::<Vec<_>>()
            };
            let by_energy = metrics::auroc(&energies(&in_scope), &energies(&foreign)).unwrap_or(f64::NAN);
            let by_softmax = metrics::auroc(&maxima(&in_scope), &maxima(&foreign)).unwrap_or(f64::NAN);
            println!("at temperature {at:.3}: AUROC by energy {by_energy:.4}, by max-softmax {by_softmax:.4}");
        }
    }
    Ok(())
}

fn report(name: &str, logits: &[Vec<f32>], labels: &[u32], scaling: Scaling) {
    let accuracy = metrics::accuracy(logits, labels);
    let ece = metrics::expected_calibration_error(&calibrate::answers(logits, labels, scaling));
    println!("{name}: accuracy {:.2} %, ECE {ece:.4}, {} rows", 100.0 * accuracy, labels.len());
}

/// The out-of-scope score: minus the free energy of the logits.
fn energy(logits: &[f32], temperature: f32) -> f32 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    -(logits.iter().map(|logit| ((logit - max) / temperature).exp()).sum::<f32>().ln() * temperature + max)
}

/// Prints notes, and now and then how fast it goes.
#[derive(Default)]
struct Lines(Mutex<Option<Pace>>);

struct Pace {
    steps: u64,
    done: u64,
    started: Instant,
    printed: Instant,
}

impl Progress for Lines {
    fn stage(&self, name: &str, steps: u64) {
        println!("{name}: {steps} steps");
        let now = Instant::now();
        *self.0.lock().expect("no thread panicked") = Some(Pace { steps, done: 0, started: now, printed: now });
    }

    fn advance(&self, steps: u64) {
        if let Some(pace) = self.0.lock().expect("no thread panicked").as_mut() {
            pace.done += steps;
        }
    }

    fn skip(&self, steps: u64) {
        if let Some(pace) = self.0.lock().expect("no thread panicked").as_mut() {
            pace.steps -= steps;
        }
    }

    fn note(&self, message: &str) {
        println!("{message}");
    }

    fn status(&self, message: &str) {
        if let Some(pace) = self.0.lock().expect("no thread panicked").as_mut()
            && pace.printed.elapsed() > Duration::from_secs(10)
        {
            pace.printed = Instant::now();
            let per_step = pace.started.elapsed().as_secs_f64() / pace.done as f64;
            let left = per_step * (pace.steps - pace.done) as f64;
            println!("{message}, {:.0} ms a step, {:.1} min left", 1e3 * per_step, left / 60.0);
        }
    }
}
