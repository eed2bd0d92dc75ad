//! A training's results as a version of a model directory.

use std::collections::BTreeMap;

use intent_model::{
    Calibration, Model, ModelError, ModelKind, Pack,
    directory::{
        Content, DataSummary, Manifest, MeasuredOn, ModelDirectory, ModelEntry, NewVersion, PackReference,
        SCHEMA_VERSION, TrainingSettings, ZERO_SHOT_FILE, version_name,
    },
    zero_shot::IntentVectors,
};
use sha2::{Digest, Sha256};

use crate::{
    dataset::Dataset,
    evidence::Evidence,
    train::{Fitted, TrainOptions, Trained},
};

/// Everything that a version is made of.
#[derive(Debug)]
pub struct VersionParts<'a> {
    /// The pack that the models answer for.
    pub pack: &'a Pack,
    /// The rows that they were trained on.
    pub dataset: &'a Dataset,
    /// What was asked of the training.
    pub options: &'a TrainOptions,
    /// The trained models.
    pub trained: &'a Trained,
    /// The models that are made from the pack, to be measured on the validation rows.
    pub pack_models: Vec<&'a dyn Model>,
    /// What the zero-shot model computed from the pack, to be loaded instead of computed again.
    pub zero_shot: Option<&'a IntentVectors>,
    /// Models trained elsewhere.
    pub more: Vec<ReadyModel>,
    /// The fingerprint of the encoder, when one was used.
    pub encoder: Option<String>,
    /// When, in RFC 3339, UTC.
    pub created_at: &'a str,
}

/// A model that is described and has its files.
#[derive(Debug)]
pub struct ReadyModel {
    /// The model.
    pub kind: ModelKind,
    /// What is known of it.
    pub entry: ModelEntry,
    /// Its files, by their paths within the version.
    pub files: Vec<(String, Content)>,
}

/// Writes a version; it does not serve before it is promoted. Returns its name.
///
/// # Errors
/// [`ModelError`] when a pack model cannot score or the version cannot be written.
pub fn write(directory: &ModelDirectory, parts: VersionParts<'_>) -> Result<String, ModelError> {
    let VersionParts { pack, dataset, options, trained, pack_models, zero_shot, more, encoder, created_at } = parts;
    let mut files = vec![
        ("pack.toml".to_owned(), Content::Bytes(pack.to_toml().into_bytes())),
        ("linear.bin".to_owned(), Content::Bytes(trained.linear.model.to_bytes())),
    ];
    let linear = comparable(entry(&trained.linear, "linear.bin"), &trained.linear.model, dataset)?;
    let mut models = BTreeMap::from([(ModelKind::Linear, linear)]);
    if let Some(hybrid) = &trained.hybrid {
        files.push(("hybrid.bin".to_owned(), Content::Bytes(hybrid.model.to_bytes())));
        let entry = comparable(entry(hybrid, "hybrid.bin"), &hybrid.model, dataset)?;
        models.insert(ModelKind::Hybrid, entry);
    }
    for model in pack_models {
        if let Some(measured) = measure(model, dataset, options)? {
            models.insert(model.kind(), measured);
        }
    }
    if let Some(vectors) = zero_shot {
        files.push((ZERO_SHOT_FILE.to_owned(), Content::Bytes(vectors.to_bytes())));
        // Without validation rows it was not measured, but it serves.
        if let Some(entry) = models.get_mut(&ModelKind::ZeroShot) {
            entry.path = Some(ZERO_SHOT_FILE.to_owned());
        }
    }
    for ready in more {
        models.insert(ready.kind, ready.entry);
        files.extend(ready.files);
    }
    let sha256 = digest(dataset);
    let manifest = Manifest {
        schema: SCHEMA_VERSION,
        version: version_name(&pack.name, created_at, &sha256),
        created_at: created_at.to_owned(),
        pack: PackReference { name: pack.name.clone(), version: pack.version.clone() },
        labels: dataset.labels.clone(),
        data: DataSummary {
            training_rows: dataset.training.len(),
            validation_rows: dataset.validation.len(),
            out_of_scope_rows: dataset.out_of_scope.len(),
            sha256,
        },
        encoder,
        training: TrainingSettings {
            seed: options.seed,
            target_error: options.target_error,
            in_scope_retention: options.in_scope_retention,
        },
        models,
        files: BTreeMap::new(),
    };
    directory.write(NewVersion { manifest, files })
}

/// Describes a fitted model that has a file or folder of its own at `path`.
pub fn entry<M>(fitted: &Fitted<M>, path: &str) -> ModelEntry {
    ModelEntry { path: Some(path.to_owned()), calibration: fitted.calibration, metrics: fitted.metrics.clone() }
}

/// Measures a trained model on the validation rows, where there are any: the router compares models by their figures,
/// which only figures of the same rows allow. The calibration stays that of the out-of-fold predictions.
fn comparable(entry: ModelEntry, model: &dyn Model, dataset: &Dataset) -> Result<ModelEntry, ModelError> {
    if dataset.validation.is_empty() {
        return Ok(entry);
    }
    let evidence = Evidence::gather(model, &dataset.validation, &dataset.out_of_scope)?;
    let hyper_parameters = entry.metrics.hyper_parameters;
    let metrics = evidence.metrics(&entry.calibration, MeasuredOn::Validation, hyper_parameters);
    Ok(ModelEntry { metrics, ..entry })
}

/// Calibrates and measures a model that was made from the pack, on rows it has not seen: the validation rows, or, for
/// rules, which learn nothing, the training rows where there are no others. `None` when there are no such rows.
fn measure(model: &dyn Model, dataset: &Dataset, options: &TrainOptions) -> Result<Option<ModelEntry>, ModelError> {
    let is_rules = model.kind() == ModelKind::Rules;
    let (rows, measured_on) = match (&dataset.validation[..], is_rules) {
        ([], true) => (&dataset.training, MeasuredOn::OutOfFold),
        ([], false) => return Ok(None),
        _ => (&dataset.validation, MeasuredOn::Validation),
    };
    let evidence = Evidence::gather(model, rows, &dataset.out_of_scope)?;
    // The weight of a rule is its confidence already.
    let calibration = if is_rules { Calibration::RULES } else { evidence.calibrate(options) };
    let metrics = evidence.metrics(&calibration, measured_on, BTreeMap::new());
    Ok(Some(ModelEntry { path: None, calibration, metrics }))
}

/// Returns the SHA-256 of all rows, in hexadecimal digits.
fn digest(dataset: &Dataset) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    };
    for row in dataset.training.iter().chain(&dataset.validation) {
        add(&row.text);
        add(dataset.labels.name(row.label as usize));
    }
    dataset.out_of_scope.iter().for_each(|text| add(text));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use intent_model::{Document, Rules, tiny};

    use super::*;
    use crate::{
        data::{Example, Origin},
        progress::Quiet,
        train::train,
    };

    const PACK: &str = r#"
        name = "radio"
        version = "1.0.0"
        [[intents]]
        name = "music"
        description = "Wants to hear music"
        [[intents.rules]]
        phrases = ["play"]
        weight = 0.9
        [[intents]]
        name = "weather"
        description = "Asks for the weather"
    "#;

    fn dataset(pack: &Pack) -> Dataset {
        let origin = Origin { file: Path::new("radio.jsonl").into(), line: None };
        let example = |text: String, intent: &str| Example { text, intent: intent.to_owned(), origin: origin.clone() };
        let rows = |from: usize, to: usize| -> Vec<Example> {
            (from..to)
                .flat_map(|at| {
                    [
                        example(format!("play the song number {at} for me"), "music"),
                        example(format!("will it rain on day {at} of the month"), "weather"),
                    ]
                })
                .collect()
        };
        let mut validation = rows(40, 50);
        validation.push(example("my invoice is wrong".to_owned(), "out_of_scope"));
        Dataset::new(rows(0, 40), validation, Some(pack.labels())).expect("good data")
    }

    #[test]
    fn what_was_trained_is_loaded_again_with_its_calibration() {
        let pack = Pack::load_embedded(&[("pack.toml", PACK)]).expect("a good pack");
        let dataset = dataset(&pack);
        let encoder = tiny::encoder();
        let options = TrainOptions::default();
        let trained = train(&dataset, Some(&encoder), &options, &Quiet).expect("the encoder works");
        let rules = Rules::compile(&pack).expect("good rules");
        let folder = tempfile::tempdir().expect("a folder");
        let directory = ModelDirectory::new(folder.path());
        let parts = VersionParts {
            pack: &pack,
            dataset: &dataset,
            options: &options,
            trained: &trained,
            pack_models: vec![&rules],
            zero_shot: None,
            more: Vec::new(),
            encoder: Some(encoder.fingerprint().to_owned()),
            created_at: "2026-01-02T03:04:05Z",
        };
        let name = write(&directory, parts).expect("it is written");
        assert!(name.starts_with("radio-20260102T030405Z-"), "{name}");

        let version = directory.open(&name).expect("it is whole");
        let manifest = version.manifest();
        let kinds: Vec<&str> = manifest.models.keys().map(|kind| kind.as_str()).collect();
        assert_eq!(kinds, ["rules", "linear", "hybrid"]);
        assert_eq!(manifest.models[&ModelKind::Linear].calibration, trained.linear.calibration);
        // The one rule knows music; for the weather, rules have nothing to say.
        assert_eq!(manifest.models[&ModelKind::Rules].metrics.accuracy, 0.5);
        let hybrid = version.hybrid(&encoder).expect("it loads").expect("it is there");
        let document = Document::new("please play a song");
        let logits = &hybrid.score(&[&document]).expect("it scores")[0].logits;
        assert!(logits[0] > logits[1], "{logits:?}");
    }
}
