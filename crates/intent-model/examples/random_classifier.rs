//! Writes a model directory whose only trained model is a DistilBERT classifier with random weights, of a real size: to
//! measure speed, which does not depend on what weights are good for.
//!
//! `random_classifier minilm|base PACK OUT`

use std::{collections::BTreeMap, env, error::Error, fs, path::Path};

use intent_model::{
    Calibration, ModelKind, Pack,
    directory::{
        Content, DataSummary, Manifest, MeasuredOn, ModelDirectory, ModelEntry, ModelMetrics, NewVersion,
        PackReference, SCHEMA_VERSION, TrainingSettings,
    },
    tiny::{self, Family, Shape, Spec},
};

/// More tokens than any text of a measurement has.
const POSITIONS: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [size, pack, out] = &arguments[..] else { return Err("usage: random_classifier minilm|base PACK OUT".into()) };
    let shape = match size.as_str() {
        "minilm" => Shape::MINI_LM,
        "base" => Shape::BASE,
        other => return Err(format!("unknown size `{other}`, expected `minilm` or `base`").into()),
    };
    let pack = Pack::load(Path::new(pack)).map_err(|errors| errors.to_string())?;
    let labels = pack.labels();
    let names: Vec<&str> = labels.iter().collect();
    let work = tempfile::tempdir()?;
    let model = work.path().join("distilbert");
    let spec = Spec { positions: POSITIONS, shape, ..Spec::classifier(Family::DistilBert, &names) };
    tiny::write_model(&model, &spec);

    let mut files = vec![("pack.toml".to_owned(), Content::Bytes(pack.to_toml().into_bytes()))];
    for entry in fs::read_dir(&model)? {
        let entry = entry?;
        files.push((format!("distilbert/{}", entry.file_name().display()), Content::CopyOf(entry.path())));
    }
    let unmeasured = ModelMetrics {
        measured_on: MeasuredOn::Validation,
        rows: 0,
        // `bench` measures the most accurate model.
        accuracy: 1.0,
        macro_f1: 0.0,
        ece: 0.0,
        brier: None,
        auroc: None,
        coverage: 0.0,
        accepted_error: 0.0,
        hyper_parameters: BTreeMap::new(),
    };
    let entry =
        ModelEntry { path: Some("distilbert".to_owned()), calibration: Calibration::IDENTITY, metrics: unmeasured };
    let manifest = Manifest {
        schema: SCHEMA_VERSION,
        version: format!("random-{size}"),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        pack: PackReference { name: pack.name.clone(), version: pack.version.clone() },
        labels,
        data: DataSummary::default(),
        encoder: None,
        training: TrainingSettings { seed: 0, target_error: 0.0, in_scope_retention: 1.0 },
        models: BTreeMap::from([(ModelKind::Distilbert, entry)]),
        files: BTreeMap::new(),
    };
    let directory = ModelDirectory::new(Path::new(out));
    let version = directory.write(NewVersion { manifest, files })?;
    directory.promote(&version)?;
    Ok(())
}
