//! What a model said of rows it had not learnt from, and what follows: its calibration and its figures.

use std::collections::BTreeMap;

use intent_model::{
    Calibration, Labels, Model, ModelError, Scores,
    directory::{MeasuredOn, ModelMetrics},
};

use crate::{
    calibrate,
    dataset::Labelled,
    evaluation::{
        self,
        classification::{ConfusionMatrix, macro_f1},
        confidence::acceptance,
        metrics,
    },
    progress::Quiet,
    train::TrainOptions,
};

/// Raw scores of rows that were not learnt from, with the right labels.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) labels: &'a Labels,
    /// One row of logits per in-scope row.
    pub(crate) logits: Vec<Vec<f32>>,
    /// The label of each in-scope row.
    pub(crate) targets: Vec<u32>,
    /// The out-of-scope score of each in-scope row.
    pub(crate) in_scope: Vec<f32>,
    /// The out-of-scope score of each out-of-scope text.
    pub(crate) foreign: Vec<f32>,
}

impl<'a> Evidence<'a> {
    /// Lets a model score rows and out-of-scope texts.
    ///
    /// # Errors
    /// As [`Model::score`].
    pub(crate) fn gather(model: &'a dyn Model, rows: &[Labelled], out_of_scope: &[String]) -> Result<Self, ModelError> {
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let scores = evaluation::score(model, &texts, &Quiet)?;
        let texts: Vec<&str> = out_of_scope.iter().map(String::as_str).collect();
        let foreign = evaluation::score(model, &texts, &Quiet)?;
        let foreignness = |scores: &[Scores]| scores.iter().filter_map(|scores| scores.out_of_scope).collect();
        Ok(Self {
            labels: model.labels(),
            in_scope: foreignness(&scores),
            foreign: foreignness(&foreign),
            logits: scores.into_iter().map(|scores| scores.logits).collect(),
            targets: rows.iter().map(|row| row.label).collect(),
        })
    }

    /// Fits scaling, out-of-scope gate and accept threshold.
    pub(crate) fn calibrate(&self, options: &TrainOptions) -> Calibration {
        let scaling = calibrate::fit_scaling(&self.logits, &self.targets);
        let answers = calibrate::answers(&self.logits, &self.targets, scaling);
        Calibration {
            scaling,
            out_of_scope: calibrate::fit_gate(&self.in_scope, &self.foreign, options.in_scope_retention),
            accept_threshold: calibrate::solve_accept_threshold(&answers, options.target_error).threshold,
        }
    }

    /// Measures what the model is worth under a calibration.
    pub(crate) fn metrics(
        &self,
        calibration: &Calibration,
        measured_on: MeasuredOn,
        hyper_parameters: BTreeMap<String, f64>,
    ) -> ModelMetrics {
        let answers = calibrate::answers(&self.logits, &self.targets, calibration.scaling);
        let accepted = acceptance(&answers, calibration.accept_threshold);
        let pairs = self.logits.iter().zip(&self.targets).map(|(row, &label)| (label as usize, metrics::argmax(row)));
        ModelMetrics {
            measured_on,
            rows: self.targets.len(),
            accuracy: metrics::accuracy(&self.logits, &self.targets),
            macro_f1: macro_f1(&ConfusionMatrix::count(self.labels, pairs).per_intent()),
            ece: metrics::expected_calibration_error(&answers),
            brier: Some(calibrate::brier(&self.logits, &self.targets, calibration.scaling)),
            auroc: metrics::auroc(&self.in_scope, &self.foreign),
            coverage: accepted.coverage,
            accepted_error: accepted.error,
            hyper_parameters,
        }
    }
}
