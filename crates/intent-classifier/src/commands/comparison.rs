//! The version that serves and a new one, measured on the same held-out rows before the new one may serve.

use std::collections::BTreeMap;

use intent_model::{
    Calibration, Model, ModelError, ModelKind, SentenceEncoder,
    directory::{Manifest, ModelDirectory, Version},
    transformer::Precision,
};
use intent_training::{
    dataset::Dataset,
    evaluation::{self, Candidate, EvaluationSet},
    progress::Progress,
};
use serde::Serialize;

use super::output;

/// By how much the new version may be less accurate before it counts as worse: less is noise on some hundred rows.
const TOLERANCE: f64 = 0.005;

/// Two versions on the same rows.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// The version that serves.
    pub(super) old_version: String,
    /// The version that might.
    pub(super) new_version: String,
    /// In-scope rows that neither was trained on.
    pub(super) held_out_rows: usize,
    /// Out-of-scope texts among the held-out rows.
    pub(super) out_of_scope_rows: usize,
    /// Each model that one of them has.
    pub(super) models: BTreeMap<&'static str, OldAndNew>,
    /// Whether the best model of the new version is less accurate than that of the old one, of those that are not the same
    /// in both.
    pub(super) worse: bool,
}

/// One model of both versions.
#[derive(Debug, Default, Serialize)]
pub(super) struct OldAndNew {
    /// In the version that serves; absent when it has no such model.
    pub(super) old: Option<Measured>,
    /// In the new version.
    pub(super) new: Option<Measured>,
    /// Whether it is the very same model, taken over from the old version.
    pub(super) taken_over: bool,
}

/// What is true of a model on the held-out rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Measured {
    /// The share of in-scope rows whose likeliest intent is right.
    pub(super) accuracy: f64,
    /// The mean F1 over intents.
    pub(super) macro_f1: f64,
    /// The share of all rows, those out of scope included, that are answered right.
    pub(super) accuracy_with_out_of_scope: f64,
}

/// What models are measured with.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    /// The sentence encoder, where there is one.
    pub(super) encoder: Option<&'a SentenceEncoder>,
    /// The precision that classifiers serve in.
    pub(super) precision: Precision,
    /// Who is told how far it is.
    pub(super) progress: &'a dyn Progress,
}

impl Comparison {
    /// Measures the version that serves and `new_version`; `None` when nothing serves yet, it is for other intents, or
    /// there are no held-out rows.
    ///
    /// # Errors
    /// [`ModelError`] when a version cannot be loaded or asked.
    pub(super) fn measure(
        directory: &ModelDirectory,
        new_version: &str,
        dataset: &Dataset,
        means: Means<'_>,
    ) -> Result<Option<Self>, ModelError> {
        let Some(old) = directory.open_current()? else { return Ok(None) };
        let new = directory.open(new_version)?;
        if dataset.validation.is_empty() || old.manifest().labels != dataset.labels {
            return Ok(None);
        }
        let held_out = EvaluationSet {
            labels: dataset.labels.clone(),
            rows: dataset.validation.clone(),
            out_of_scope: dataset.out_of_scope.clone(),
        };
        let mut models: BTreeMap<&'static str, OldAndNew> = BTreeMap::new();
        for (kind, measured) in measure(&old, means, &held_out, &[])? {
            models.entry(kind.as_str()).or_default().old = Some(measured);
        }
        let taken_over: Vec<ModelKind> = old
            .manifest()
            .models
            .keys()
            .copied()
            .filter(|kind| is_same(old.manifest(), new.manifest(), *kind) && models.contains_key(kind.as_str()))
            .collect();
        for kind in &taken_over {
            let both = models.entry(kind.as_str()).or_default();
            *both = OldAndNew { new: both.old, taken_over: true, ..*both };
        }
        for (kind, measured) in measure(&new, means, &held_out, &taken_over)? {
            models.entry(kind.as_str()).or_default().new = Some(measured);
        }
        Ok(Some(Self {
            old_version: old.manifest().version.clone(),
            new_version: new_version.to_owned(),
            held_out_rows: held_out.rows.len(),
            out_of_scope_rows: held_out.out_of_scope.len(),
            worse: is_worse(&models),
            models,
        }))
    }

    /// Writes it for people.
    pub(super) fn describe(&self) -> std::io::Result<()> {
        let percent = |measured: Option<Measured>, of: fn(&Measured) -> f64| {
            measured.as_ref().map_or_else(|| "-".to_owned(), |measured| format!("{:.1} %", of(measured) * 100.0))
        };
        let rows: Vec<Vec<String>> = self
            .models
            .iter()
            .map(|(name, OldAndNew { old, new, taken_over })| {
                vec![
                    format!("{name}{}", if *taken_over { " (taken over)" } else { "" }),
                    percent(*old, |measured| measured.accuracy),
                    percent(*new, |measured| measured.accuracy),
                    percent(*old, |measured| measured.accuracy_with_out_of_scope),
                    percent(*new, |measured| measured.accuracy_with_out_of_scope),
                ]
            })
            .collect();
        let (old, new) = (&self.old_version, &self.new_version);
        output::text(&format!(
            "compared on the same {} held-out rows and {} out-of-scope texts: old {old}, new {new}",
            self.held_out_rows, self.out_of_scope_rows
        ))?;
        output::table(&["model", "accuracy, old", "new", "with out of scope, old", "new"], &rows)
    }
}

/// Compares the best model of each version: it is what decides in the end. One that was taken over says nothing of what was
/// learnt, and would hide that the others have become worse.
fn is_worse(models: &BTreeMap<&'static str, OldAndNew>) -> bool {
    let best = |of: fn(&OldAndNew) -> Option<Measured>| {
        models
            .values()
            .filter(|both| !both.taken_over)
            .filter_map(of)
            .map(|measured| measured.accuracy)
            .fold(0.0, f64::max)
    };
    best(|both| both.new) < best(|both| both.old) - TOLERANCE
}

/// Tells whether two versions have the very same model of a kind, by its files.
fn is_same(old: &Manifest, new: &Manifest, kind: ModelKind) -> bool {
    let path = |manifest: &Manifest| manifest.models.get(&kind)?.path.clone();
    let (Some(old_path), Some(new_path)) = (path(old), path(new)) else { return false };
    let files = |manifest: &Manifest, path: &str| -> BTreeMap<String, String> {
        let of_it = |name: &str| name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        manifest
            .files
            .iter()
            .filter(|(name, _)| of_it(name))
            .map(|(name, file)| (name.clone(), file.sha256.clone()))
            .collect()
    };
    old_path == new_path && files(old, &old_path) == files(new, &new_path)
}

/// Measures the trained models of a version, less those that were measured already.
fn measure(
    version: &Version,
    means: Means<'_>,
    held_out: &EvaluationSet,
    measured_already: &[ModelKind],
) -> Result<BTreeMap<ModelKind, Measured>, ModelError> {
    let is_wanted = |kind: ModelKind| !measured_already.contains(&kind);
    let mut models: Vec<Box<dyn Model>> = Vec::new();
    if is_wanted(ModelKind::Linear) {
        models.extend(version.linear()?.map(|model| Box::new(model) as Box<dyn Model>));
    }
    if let Some(encoder) = means.encoder.filter(|_| is_wanted(ModelKind::Hybrid)) {
        models.extend(version.hybrid(encoder)?.map(|model| Box::new(model) as Box<dyn Model>));
    }
    if is_wanted(ModelKind::Distilbert) {
        let model = version.sequence_classifier(means.precision)?;
        models.extend(model.map(|model| Box::new(model) as Box<dyn Model>));
    }
    let mut measured = BTreeMap::new();
    for model in models {
        let kind = model.kind();
        let entry = version.manifest().models.get(&kind);
        let calibration = entry.map_or(Calibration::IDENTITY, |entry| entry.calibration);
        let candidate = Candidate { name: kind.as_str(), model: model.as_ref(), calibration };
        let predictions = evaluation::predict(candidate, held_out, means.progress)?;
        let evaluation = evaluation::evaluate(held_out, &[predictions], Vec::new());
        measured.extend(evaluation.models.into_values().map(|model| {
            let figures = Measured {
                accuracy: model.accuracy,
                macro_f1: model.macro_f1,
                accuracy_with_out_of_scope: model.accuracy_with_out_of_scope,
            };
            (kind, figures)
        }));
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(old: f64, new: f64) -> OldAndNew {
        let measured = |accuracy| Some(Measured { accuracy, macro_f1: accuracy, accuracy_with_out_of_scope: accuracy });
        OldAndNew { old: measured(old), new: measured(new), taken_over: false }
    }

    #[test]
    fn the_best_models_are_compared_and_noise_is_let_pass() {
        assert!(!is_worse(&[("linear", both(0.90, 0.80)), ("hybrid", both(0.95, 0.95))].into()));
        assert!(!is_worse(&[("hybrid", both(0.950, 0.946))].into()));
        assert!(is_worse(&[("linear", both(0.90, 0.93)), ("hybrid", both(0.95, 0.94))].into()));
        assert!(is_worse(&[("hybrid", both(0.95, 0.90)), ("linear", OldAndNew::default())].into()));
    }

    #[test]
    fn a_model_that_was_taken_over_hides_nothing_and_one_that_was_lost_counts() {
        let taken_over = OldAndNew { taken_over: true, ..both(0.99, 0.99) };
        assert!(is_worse(&[("distilbert", taken_over), ("hybrid", both(0.95, 0.90))].into()));
        let taken_over = OldAndNew { taken_over: true, ..both(0.80, 0.80) };
        assert!(!is_worse(&[("distilbert", taken_over), ("hybrid", both(0.95, 0.95))].into()));
        let lost = OldAndNew { new: None, ..both(0.99, 0.99) };
        assert!(is_worse(&[("distilbert", lost), ("hybrid", both(0.95, 0.95))].into()));
    }
}
