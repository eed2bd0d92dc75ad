//! What flags and experiment make of a request, before any model is asked.

use std::sync::Arc;

use intent_model::ModelKind;

use crate::{
    ClassifyRequest, Experiment, FlagSnapshot, RoutingConfig, StrategyName,
    experiment::{Exposure, subject_digest},
    flags::{Flag, FlagSet},
};

/// How a request is to be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    /// Which strategy plans.
    pub(crate) strategy: StrategyName,
    /// The subject's group in the experiment.
    pub(crate) experiment_group: StrategyName,
    /// The allocation of the experiment when it, and nothing else, decided the strategy: who was to be in another group
    /// would have got another one.
    pub(crate) allocation: Option<Arc<str>>,
    /// The model to ask before all others, whatever the strategy says.
    pub(crate) first: Option<ModelKind>,
    /// Models that this subject does not get, not even as a fallback.
    pub(crate) excluded: Vec<ModelKind>,
    /// The flags that are on for the subject.
    pub(crate) flags: FlagSet,
    /// Whether an answer may come from the cache and go there.
    pub(crate) use_cache: bool,
}

impl Course {
    /// Decides by the flags of the subject. A strategy that the request names wins over the modes, the modes over the
    /// experiment, the experiment over the strategy in force; `quality_mode` wins over `performance_mode`.
    pub(crate) fn set(
        request: &ClassifyRequest,
        flags: &FlagSnapshot,
        experiment: &Experiment,
        routing: &RoutingConfig,
    ) -> Self {
        let subject = request.subject();
        let flags = flags.of(subject);
        let has = |flag| flags.contains(flag);
        let is_quality_mode = has(Flag::QualityMode);
        let experiment_group =
            has(Flag::AbTesting).then(|| experiment.treatment(subject)).flatten().unwrap_or(StrategyName::Control);
        let strategy = match request.strategy {
            Some(strategy) => strategy,
            None if !has(Flag::AdaptiveRouting) => StrategyName::FallbackChain,
            None if is_quality_mode => StrategyName::QualityFirst,
            None if has(Flag::PerformanceMode) => StrategyName::AggressiveRules,
            None if experiment_group != StrategyName::Control => experiment_group,
            None => routing.strategy,
        };
        let is_decided_otherwise = request.strategy.is_some()
            || request.model.is_some()
            || is_quality_mode
            || has(Flag::PerformanceMode)
            || !has(Flag::AdaptiveRouting);
        let is_exposed = experiment.is_running() && has(Flag::AbTesting) && !is_decided_otherwise;
        let allocation = is_exposed.then(|| experiment.allocation());
        let first = (request.strategy.is_none() && is_quality_mode).then_some(ModelKind::Distilbert);
        let mut excluded = Vec::new();
        if !has(Flag::DistilbertModel) && !is_quality_mode {
            excluded.push(ModelKind::Distilbert);
        }
        if !has(Flag::ZeroShotFallback) {
            excluded.push(ModelKind::ZeroShot);
        }
        let use_cache = has(Flag::Caching) && request.model.is_none();
        Self { strategy, experiment_group, allocation, first, excluded, flags, use_cache }
    }
}

impl Course {
    /// Returns what the outcome of a request counts for in the results of the experiment.
    pub(crate) fn exposure(&self, request: &ClassifyRequest) -> Option<Exposure> {
        let allocation = Arc::clone(self.allocation.as_ref()?);
        Some(Exposure { allocation, subject: subject_digest(request.subject()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{FlagChange, Overrides};

    fn course(on: &[Flag], off: &[Flag]) -> Course {
        let change = |enabled| FlagChange { enabled: Some(enabled), ..FlagChange::default() };
        let api: Overrides =
            on.iter().map(|flag| (*flag, change(true))).chain(off.iter().map(|flag| (*flag, change(false)))).collect();
        let none = Overrides::new();
        let flags = FlagSnapshot::resolve(1, &none, &none, &api);
        let everybody = Experiment { share: 1.0, treatments: vec![StrategyName::Balanced], ..Experiment::default() };
        Course::set(&ClassifyRequest::new("hello"), &flags, &everybody, &RoutingConfig::default())
    }

    #[test]
    fn every_flag_changes_what_it_says() {
        let usual = course(&[], &[]);
        assert_eq!((usual.strategy, usual.experiment_group), (StrategyName::Balanced, StrategyName::Balanced));
        assert_eq!((usual.excluded, usual.use_cache), (vec![ModelKind::Distilbert], true));

        assert_eq!(course(&[], &[Flag::AdaptiveRouting]).strategy, StrategyName::FallbackChain);
        assert_eq!(course(&[], &[Flag::AbTesting]).strategy, StrategyName::Control);
        assert_eq!(course(&[Flag::DistilbertModel], &[]).excluded, []);
        assert!(course(&[], &[Flag::ZeroShotFallback]).excluded.contains(&ModelKind::ZeroShot));
        assert!(!course(&[], &[Flag::Caching]).use_cache);
        assert_eq!(course(&[Flag::PerformanceMode], &[]).strategy, StrategyName::AggressiveRules);
        let quality = course(&[Flag::QualityMode], &[]);
        assert_eq!((quality.strategy, quality.first), (StrategyName::QualityFirst, Some(ModelKind::Distilbert)));
        assert_eq!(quality.excluded, []);
    }

    #[test]
    fn a_subject_is_exposed_only_when_the_experiment_alone_decides() {
        assert_eq!(course(&[], &[]).allocation.as_deref(), Some("routing_strategy 1 balanced"));
        for on in [Flag::QualityMode, Flag::PerformanceMode] {
            assert_eq!(course(&[on], &[]).allocation, None, "{on}");
        }
        for off in [Flag::AbTesting, Flag::AdaptiveRouting] {
            assert_eq!(course(&[], &[off]).allocation, None, "{off}");
        }
        let nobody = Experiment { share: 0.0, ..Experiment::default() };
        let (flags, routing) = (FlagSnapshot::default(), RoutingConfig::default());
        assert_eq!(Course::set(&ClassifyRequest::new("hello"), &flags, &nobody, &routing).allocation, None);
    }

    #[test]
    fn quality_wins_over_performance_and_a_named_strategy_over_both() {
        assert_eq!(course(&[Flag::QualityMode, Flag::PerformanceMode], &[]).strategy, StrategyName::QualityFirst);
        let flags = FlagSnapshot::default();
        let request = ClassifyRequest { strategy: Some(StrategyName::CostAware), ..ClassifyRequest::new("hello") };
        let course = Course::set(&request, &flags, &Experiment::default(), &RoutingConfig::default());
        assert_eq!(course.strategy, StrategyName::CostAware);
    }
}
