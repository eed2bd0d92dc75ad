//! One request's way through the models.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use intent_model::{Document, ModelKind, OUT_OF_SCOPE, Prediction, Scores};
use tokio::time::Instant;

use crate::{
    Backend, Catalog, ClassifyRequest, Decision, EngineError, Fallback, FallbackReason, LoadedModel, RankedIntent,
    RoutingConfig, SelectionReason, Timings,
    cache::CacheUse,
    catalog::CostClass,
    course::Course,
    health::ModelHealth,
    strategy::{Candidate, Step, Strategy, StrategyName},
    workers::{ComputeError, Lane, Workers},
};

/// What a request is routed with: one consistent view for its whole life.
pub(crate) struct Router<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) routing: &'a RoutingConfig,
    pub(crate) course: &'a Course,
    pub(crate) strategy: &'a dyn Strategy,
    pub(crate) lane: Lane,
    pub(crate) workers: &'a Workers,
    pub(crate) health: &'a ModelHealth,
}

/// An answer of one model, before it is known whether it is the last.
struct Opinion {
    kind: ModelKind,
    accuracy: f32,
    prediction: Prediction,
    scores: Scores,
}

/// What has happened to a request so far.
struct Journey {
    document: Arc<Document>,
    began: Instant,
    deadline: Instant,
    opinions: Vec<Opinion>,
    /// Every model that failed, in order.
    failures: Vec<(ModelKind, FallbackReason)>,
    /// Who stood in for the first of `failures`; the others still wait for somebody.
    fallbacks: Vec<Fallback>,
    skipped: Vec<ModelKind>,
    reasons: Vec<String>,
    timings: Timings,
    /// The strategy that planned.
    strategy: StrategyName,
}

impl Router<'_> {
    /// Asks the models that the strategy plans until one is sure enough; when none is, the most accurate that answered
    /// decides; when none answered, the fallback chain does.
    pub(crate) async fn classify(&self, request: &ClassifyRequest, deadline: Instant) -> Result<Decision, EngineError> {
        let mut journey = Journey::new(request, self.course.strategy, deadline);
        let decided = match request.model {
            Some(kind) => self.ask_only(kind, &mut journey).await?.map(|opinion| (opinion, SelectionReason::Requested)),
            None => {
                let steps = self.plan(&mut journey);
                self.follow(&steps, &mut journey).await
            }
        };
        let (opinion, selection) = match decided {
            Some(decided) => decided,
            None => self.settle(request.model.is_none(), &mut journey).await?,
        };
        Ok(self.decision(opinion, selection, journey, request))
    }

    /// Lets the strategy plan. One that panics costs its cleverness, not the answer.
    fn plan(&self, journey: &mut Journey) -> Vec<Step> {
        let candidates = self.candidates();
        let planned = catch_unwind(AssertUnwindSafe(|| self.strategy.plan(&candidates)));
        let mut steps = planned.unwrap_or_else(|_| {
            journey.reasons.push(format!("strategy {} failed, plain classification instead", journey.strategy));
            journey.strategy = StrategyName::FallbackChain;
            journey.strategy.strategy().plan(&candidates)
        });
        if let Some(first) = self.course.first {
            steps.retain(|step| step.kind != first);
            steps.insert(0, Step { kind: first, accept_from: 0.0 });
        }
        steps
    }

    /// Returns the models that the subject may get, cheapest first.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = self
            .allowed_models()
            .map(|(kind, loaded)| Candidate {
                kind,
                threshold: self.routing.threshold(kind, loaded),
                accuracy: self.routing.accuracy(kind, loaded),
                coverage: loaded.coverage,
                latency: self.health.of(kind).p50().unwrap_or(CostClass::of(kind).usual_latency()),
            })
            .collect();
        // A flag that asks for a model that is not there shows as a fallback, so that somebody notices.
        if self.allows(ModelKind::Distilbert) && self.catalog.get(ModelKind::Distilbert).is_none() {
            candidates.push(Candidate {
                kind: ModelKind::Distilbert,
                threshold: 0.0,
                accuracy: 1.0,
                coverage: 1.0,
                latency: CostClass::Transformer.usual_latency(),
            });
        }
        candidates
    }

    fn allows(&self, kind: ModelKind) -> bool {
        !self.course.excluded.contains(&kind)
    }

    fn allowed_models(&self) -> impl Iterator<Item = (ModelKind, &LoadedModel)> {
        self.catalog.iter().filter(|(kind, _)| self.allows(*kind))
    }

    async fn ask_only(&self, kind: ModelKind, journey: &mut Journey) -> Result<Option<Opinion>, EngineError> {
        let loaded = self.catalog.get(kind).ok_or(EngineError::ModelNotLoaded(kind))?;
        let opinion = self.ask(kind, loaded, journey).await;
        if opinion.is_some() {
            journey.reasons.push(format!("{kind} was asked for"));
        }
        Ok(opinion)
    }

    /// Takes the steps in order; returns the first opinion that is accepted.
    async fn follow(&self, steps: &[Step], journey: &mut Journey) -> Option<(Opinion, SelectionReason)> {
        for (index, step) in steps.iter().enumerate() {
            let Some(loaded) = self.catalog.get(step.kind) else {
                journey.fail(step.kind, FallbackReason::NotLoaded);
                continue;
            };
            if let Some(p95) = self.does_not_fit(step.kind, loaded, journey) {
                let left = journey.left();
                journey.reasons.push(format!("{} p95 {} ms > {} ms left", step.kind, millis(p95), millis(left)));
                journey.skipped.push(step.kind);
                continue;
            }
            let Some(opinion) = self.ask(step.kind, loaded, journey).await else { continue };
            let confidence = opinion.prediction.confidence();
            if opinion.prediction.out_of_scope.is_some() {
                journey.reasons.push(match step.kind {
                    ModelKind::Rules => "no rule matches".to_owned(),
                    kind => format!("{kind} finds the text out of scope"),
                });
                // A cheap model that finds a text foreign leaves that verdict to a better one.
                if !self.has_better(&steps[index + 1..], opinion.accuracy) {
                    return Some((opinion, SelectionReason::OutOfScope));
                }
            } else if confidence >= step.accept_from {
                journey.reasons.push(format!("{} confidence {confidence:.2} >= {:.2}", step.kind, step.accept_from));
                return Some((opinion, SelectionReason::Confident));
            } else {
                journey.reasons.push(format!("{} confidence {confidence:.2} < {:.2}", step.kind, step.accept_from));
            }
            journey.opinions.push(opinion);
        }
        None
    }

    fn has_better(&self, steps: &[Step], accuracy: f32) -> bool {
        let loaded = steps.iter().filter_map(|step| Some((step.kind, self.catalog.get(step.kind)?)));
        loaded.into_iter().any(|(kind, loaded)| self.routing.accuracy(kind, loaded) > accuracy)
    }

    /// Decides when no step was accepted: by the most accurate model that answered, else by the fallback chain.
    async fn settle(
        &self,
        may_fall_back: bool,
        journey: &mut Journey,
    ) -> Result<(Opinion, SelectionReason), EngineError> {
        if let Some(opinion) = journey.take_most_accurate_opinion() {
            journey.reasons.push(format!("{} is the most accurate model that answered", opinion.kind));
            return Ok((opinion, SelectionReason::MostAccurate));
        }
        if may_fall_back {
            for kind in self.fallback_chain(journey) {
                let Some(loaded) = self.catalog.get(kind) else { continue };
                if let Some(opinion) = self.ask(kind, loaded, journey).await {
                    journey.reasons.push(format!("{kind} answered as fallback"));
                    return Ok((opinion, SelectionReason::Fallback));
                }
            }
        }
        let failed = journey.failures.iter().map(|(kind, reason)| format!("{kind} {reason}"));
        Err(EngineError::NoModel { reasons: failed.collect::<Vec<_>>().join(", ") })
    }

    /// Returns the models that were not tried: those that fit the budget first, the most accurate first, rules last.
    /// One that was left out for lack of time is asked only when nobody else is there to answer.
    fn fallback_chain(&self, journey: &Journey) -> Vec<ModelKind> {
        let untried =
            self.allowed_models().filter(|(kind, _)| !journey.failures.iter().any(|(failed, _)| failed == kind));
        let mut chain: Vec<_> = untried
            .map(|(kind, loaded)| {
                let is_late = journey.skipped.contains(&kind) || self.does_not_fit(kind, loaded, journey).is_some();
                (is_late, kind == ModelKind::Rules, self.routing.accuracy(kind, loaded), kind)
            })
            .collect();
        chain.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.total_cmp(&a.2)));
        chain.into_iter().map(|(_, _, _, kind)| kind).collect()
    }

    /// Returns the model's p95 when it is known, recent, and longer than what is left of the budget.
    fn does_not_fit(&self, kind: ModelKind, loaded: &LoadedModel, journey: &Journey) -> Option<Duration> {
        let is_paid_for = CostClass::of(kind) == CostClass::Embedding && journey.document.embedding().is_some();
        if matches!(loaded.backend, Backend::Inline(_)) || is_paid_for {
            return None;
        }
        self.health.of(kind).p95_beyond(journey.left(), journey.document.text().len())
    }

    /// Asks one model. A failure is noted in the journey and in the model's health, and gives `None`.
    async fn ask(&self, kind: ModelKind, loaded: &LoadedModel, journey: &mut Journey) -> Option<Opinion> {
        let health = self.health.of(kind);
        let Some(call) = health.circuit.call() else {
            journey.fail(kind, FallbackReason::CircuitOpen);
            return None;
        };
        journey.stand_in(kind);
        let began = Instant::now();
        let answer = self.workers.compute(&loaded.backend, &journey.document, journey.deadline, self.lane).await;
        let took = began.elapsed();
        journey.timings.models.push((kind, took));
        let scores = match answer {
            Ok((scores, compute)) => {
                call.record(true, compute);
                health.record_latency(journey.document.text().len(), took);
                scores
            }
            Err(error) => {
                // A budget that no model could meet says nothing of this one.
                let had_a_fair_chance = took >= self.routing.latency_targets.critical;
                if error != ComputeError::Expired || had_a_fair_chance {
                    call.record(false, took);
                }
                if matches!(error, ComputeError::Expired | ComputeError::TimedOut) {
                    health.record_latency(journey.document.text().len(), took);
                }
                journey.fail(kind, reason_of(&error));
                return None;
            }
        };
        let accuracy = self.routing.accuracy(kind, loaded);
        Some(Opinion { kind, accuracy, prediction: loaded.calibration.apply(&scores), scores })
    }

    fn decision(
        &self,
        opinion: Opinion,
        selection: SelectionReason,
        mut journey: Journey,
        request: &ClassifyRequest,
    ) -> Decision {
        journey.stand_in(opinion.kind);
        journey.timings.total = journey.began.elapsed();
        Decision {
            ranking: self.ranking(&opinion.prediction, request.top_k.max(1)),
            model: opinion.kind,
            selection,
            model_version: Arc::clone(self.catalog.version()),
            rule: opinion.scores.rule,
            truncated: opinion.scores.truncated,
            cached: false,
            cache: CacheUse::default(),
            degraded: !journey.fallbacks.is_empty() || journey.strategy != self.course.strategy,
            strategy: journey.strategy,
            experiment_group: self.course.experiment_group,
            exposure: None,
            flags: self.course.flags,
            latency_requirement: request.latency_requirement,
            reasons: journey.reasons,
            fallbacks: journey.fallbacks,
            skipped: journey.skipped,
            timings: journey.timings,
        }
    }

    /// Lists the intents best first. When the text is out of scope, that leads, and the intents share what is left.
    fn ranking(&self, prediction: &Prediction, top_k: usize) -> Vec<RankedIntent> {
        let in_scope = 1.0 - prediction.out_of_scope.unwrap_or(0.0);
        let foreign =
            prediction.out_of_scope.map(|confidence| RankedIntent { intent: Arc::from(OUT_OF_SCOPE), confidence });
        let intents = prediction.ranking().into_iter().map(|index| RankedIntent {
            intent: Arc::clone(&self.catalog.intents()[index]),
            confidence: prediction.confidences[index] * in_scope,
        });
        foreign.into_iter().chain(intents).take(top_k).collect()
    }
}

impl Journey {
    fn new(request: &ClassifyRequest, strategy: StrategyName, deadline: Instant) -> Self {
        Self {
            document: Arc::new(Document::new(request.text.as_str())),
            began: Instant::now(),
            deadline,
            opinions: Vec::new(),
            failures: Vec::new(),
            fallbacks: Vec::new(),
            skipped: Vec::new(),
            reasons: Vec::new(),
            timings: Timings::default(),
            strategy,
        }
    }

    /// Notes that a model is stepped over.
    fn fail(&mut self, kind: ModelKind, reason: FallbackReason) {
        self.reasons.push(format!("{kind} {reason}"));
        self.failures.push((kind, reason));
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Notes that `to` is asked, or decides, in place of the models that failed since.
    fn stand_in(&mut self, to: ModelKind) {
        let unanswered = &self.failures[self.fallbacks.len()..];
        self.fallbacks.extend(unanswered.iter().map(|&(from, reason)| Fallback { from, to, reason }));
    }

    fn take_most_accurate_opinion(&mut self) -> Option<Opinion> {
        let best = (0..self.opinions.len())
            .max_by(|&a, &b| self.opinions[a].accuracy.total_cmp(&self.opinions[b].accuracy))?;
        Some(self.opinions.swap_remove(best))
    }
}

fn reason_of(error: &ComputeError) -> FallbackReason {
    match error {
        ComputeError::Failed(_) | ComputeError::Stopped => FallbackReason::Failed,
        ComputeError::Panicked => FallbackReason::Panicked,
        ComputeError::Expired | ComputeError::TimedOut => FallbackReason::TimedOut,
        ComputeError::Overloaded => FallbackReason::Overloaded,
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}
