//! The version that serves and a new one, measured on the same held-out rows before the new one may serve.

use std::collections::BTreeMap;

use intent_model::{
    Calibration, Model, ModelError, ModelKind, SentenceEncoder,
    directory::{ModelDirectory, Version},
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
    /// Whether the best model of the new version is less accurate than that of the old one.
    pub(super) worse: bool,
}

/// One model of both versions.
#[derive(Debug, Default, Serialize)]
pub(super) struct OldAndNew {
    /// In the version that serves; absent when it has no such model.
    pub(super) old: Option<Measured>,
    /// In the new version.
    pub(super) new: Option<Measured>,
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
        encoder: Option<&SentenceEncoder>,
        progress: &dyn Progress,
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
        for (kind, measured) in measure(&old, encoder, &held_out, progress)? {
            models.entry(kind.as_str()).or_default().old = Some(measured);
        }
        for (kind, measured) in measure(&new, encoder, &held_out, progress)? {
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
            .map(|(name, OldAndNew { old, new })| {
                vec![
                    (*name).to_owned(),
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

/// Compares the best model of each version: it is what decides in the end.
fn is_worse(models: &BTreeMap<&'static str, OldAndNew>) -> bool {
    let best = |of: fn(&OldAndNew) -> Option<Measured>| {
        models.values().filter_map(of).map(|measured| measured.accuracy).fold(0.0, f64::max)
    };
    best(|both| both.new) < best(|both| both.old) - TOLERANCE
}

/// Measures the trained models of a version.
fn measure(
    version: &Version,
    encoder: Option<&SentenceEncoder>,
    held_out: &EvaluationSet,
    progress: &dyn Progress,
) -> Result<BTreeMap<ModelKind, Measured>, ModelError> {
    let mut models: Vec<Box<dyn Model>> = Vec::new();
    models.extend(version.linear()?.map(|model| Box::new(model) as Box<dyn Model>));
    if let Some(encoder) = encoder {
        models.extend(version.hybrid(encoder)?.map(|model| Box::new(model) as Box<dyn Model>));
    }
    let mut measured = BTreeMap::new();
    for model in models {
        let kind = model.kind();
        let entry = version.manifest().models.get(&kind);
        let calibration = entry.map_or(Calibration::IDENTITY, |entry| entry.calibration);
        let candidate = Candidate { name: kind.as_str(), model: model.as_ref(), calibration };
        let predictions = evaluation::predict(candidate, held_out, progress)?;
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
        OldAndNew { old: measured(old), new: measured(new) }
    }

    #[test]
    fn the_best_models_are_compared_and_noise_is_let_pass() {
        assert!(!is_worse(&[("linear", both(0.90, 0.80)), ("hybrid", both(0.95, 0.95))].into()));
        assert!(!is_worse(&[("hybrid", both(0.950, 0.946))].into()));
        assert!(is_worse(&[("linear", both(0.90, 0.93)), ("hybrid", both(0.95, 0.94))].into()));
        assert!(is_worse(&[("hybrid", both(0.95, 0.90)), ("linear", OldAndNew::default())].into()));
    }
}
