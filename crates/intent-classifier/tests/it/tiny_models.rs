//! A model directory with tiny models of every kind that flags choose between, built in code.

use std::{collections::BTreeMap, fs, path::Path};

use intent_model::{
    Calibration, Labels, ModelKind,
    directory::{
        Content, DataSummary, Manifest, MeasuredOn, ModelDirectory, ModelEntry, ModelMetrics, NewVersion,
        PackReference, SCHEMA_VERSION, TrainingSettings,
    },
    tiny::{self, Family, Spec},
};

/// The intents of the pack of the tests.
const INTENTS: [&str; 3] = ["refund", "delivery", "greeting"];

/// Writes an encoder, which makes `zero_shot`, and a version with a `distilbert` of random weights. `distilbert` counts
/// as more accurate than `zero_shot`, and that as more accurate than `rules`.
pub(crate) fn write(directory: &Path) {
    tiny::write_encoder(&directory.join("encoder"));
    let labels = Labels::new(INTENTS);
    let classifier = directory.join("classifier");
    tiny::write_model(&classifier, &Spec::classifier(Family::DistilBert, &labels.iter().collect::<Vec<_>>()));
    let files = fs::read_dir(&classifier).expect("the classifier is there").map(|entry| {
        let entry = entry.expect("the folder can be read");
        (format!("distilbert/{}", entry.file_name().to_string_lossy()), Content::CopyOf(entry.path()))
    });
    let entry = |path: Option<&str>, accuracy: f64| {
        let metrics = ModelMetrics {
            measured_on: MeasuredOn::Validation,
            rows: 100,
            accuracy,
            macro_f1: accuracy,
            ece: 0.0,
            brier: None,
            auroc: None,
            coverage: 0.5,
            accepted_error: 0.0,
            hyper_parameters: BTreeMap::new(),
        };
        ModelEntry { path: path.map(str::to_owned), calibration: Calibration::IDENTITY, metrics }
    };
    let models = BTreeMap::from([
        (ModelKind::ZeroShot, entry(None, 0.8)),
        (ModelKind::Distilbert, entry(Some("distilbert"), 0.9)),
    ]);
    let manifest = Manifest {
        schema: SCHEMA_VERSION,
        version: "tiny".to_owned(),
        created_at: "2026-01-02T03:04:05Z".to_owned(),
        pack: PackReference { name: "desk".to_owned(), version: "1.2.3".to_owned() },
        labels: labels.clone(),
        data: DataSummary::default(),
        encoder: None,
        training: TrainingSettings { seed: 0, target_error: 0.02, in_scope_retention: 0.97 },
        models,
        files: BTreeMap::new(),
    };
    let models = ModelDirectory::new(directory);
    models.write(NewVersion { manifest, files: files.collect() }).expect("the version can be written");
    models.promote("tiny").expect("the version is whole");
}
