use std::{sync::Arc, time::Duration};

use intent_engine::{
    ClassifyRequest, Decision, Engine, EngineError, FallbackReason, SelectionReason, Strategy, StrategyName,
    circuit::{CircuitOptions, CircuitState},
    strategy::{Candidate, Step},
};
use intent_model::ModelKind::{self, Distilbert, Hybrid, Linear, Rules, ZeroShot};

use crate::scripted::{Act, Scripted, engine, engine_with, loaded};

/// More time than any machine needs for a scripted model.
const PATIENCE: Duration = Duration::from_secs(100);

async fn ask(engine: &Engine) -> Decision {
    engine.classify(ClassifyRequest::new("hello there")).await.expect("some model answers")
}

fn fallbacks(decision: &Decision) -> Vec<(ModelKind, ModelKind, FallbackReason)> {
    decision.fallbacks.iter().map(|fallback| (fallback.from, fallback.to, fallback.reason)).collect()
}

#[tokio::test]
async fn the_first_model_that_is_sure_enough_answers_and_the_rest_is_not_asked() {
    let (rules, linear) = (Scripted::new(Rules, [Act::Answer(0.97)]), Scripted::new(Linear, [Act::Answer(0.99)]));
    let decision = ask(&engine([loaded(&rules, 0.6), loaded(&linear, 0.9)])).await;
    assert_eq!((decision.model, decision.best().intent.as_ref()), (Rules, "greeting"));
    assert_eq!(decision.reasons, ["rules confidence 0.97 >= 0.85"]);
    assert_eq!(decision.selection, SelectionReason::Confident);
    assert_eq!(linear.calls(), 0);
    assert!(!decision.degraded);
}

#[tokio::test]
async fn an_unsure_model_passes_on_to_the_next() {
    let (rules, linear) = (Scripted::new(Rules, [Act::Answer(0.6)]), Scripted::new(Linear, [Act::Answer(0.9)]));
    let decision = ask(&engine([loaded(&rules, 0.6), loaded(&linear, 0.9)])).await;
    assert_eq!(decision.reasons, ["rules confidence 0.60 < 0.85", "linear confidence 0.90 >= 0.80"]);
    assert!(!decision.degraded, "passing on is no failure");
}

#[tokio::test]
async fn when_nobody_is_sure_the_most_accurate_opinion_counts() {
    let rules = Scripted::new(Rules, [Act::Answer(0.8)]);
    let linear = Scripted::new(Linear, [Act::Answer(0.7)]);
    let hybrid = Scripted::new(Hybrid, [Act::Answer(0.6)]);
    let decision = ask(&engine([loaded(&rules, 0.5), loaded(&linear, 0.9), loaded(&hybrid, 0.95)])).await;
    assert_eq!(decision.model, Hybrid);
    assert_eq!(decision.reasons.last().unwrap(), "hybrid is the most accurate model that answered");
    assert_eq!(decision.selection, SelectionReason::MostAccurate);
}

#[tokio::test]
async fn out_of_scope_is_left_to_the_best_model_and_leads_the_ranking() {
    let linear = Scripted::new(Linear, [Act::Foreign]);
    let hybrid = Scripted::new(Hybrid, [Act::Foreign]);
    let decision = ask(&engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)])).await;
    assert_eq!(decision.model, Hybrid);
    assert_eq!(decision.best().intent.as_ref(), "out_of_scope");
    assert_eq!(decision.selection, SelectionReason::OutOfScope);
    let total: f32 = decision.ranking.iter().map(|ranked| ranked.confidence).sum();
    assert!((total - 1.0).abs() < 1e-5, "{:?}", decision.ranking);
}

#[tokio::test]
async fn a_cheap_model_that_finds_a_text_foreign_is_overruled_by_a_better_one() {
    let linear = Scripted::new(Linear, [Act::Foreign]);
    let hybrid = Scripted::new(Hybrid, [Act::Answer(0.9)]);
    let decision = ask(&engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)])).await;
    assert_eq!((decision.model, decision.best().intent.as_ref()), (Hybrid, "greeting"));
}

#[tokio::test]
async fn the_best_model_has_the_last_word_on_what_is_out_of_scope() {
    let linear = Scripted::new(Linear, [Act::Answer(0.99)]);
    let hybrid = Scripted::new(Hybrid, [Act::Foreign]);
    let engine = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
    let request = ClassifyRequest { strategy: Some(StrategyName::QualityFirst), ..ClassifyRequest::new("hello there") };
    let decision = engine.classify(request).await.unwrap();
    assert_eq!(decision.best().intent.as_ref(), "out_of_scope");
    assert_eq!(linear.calls(), 0, "nobody else is asked");
}

#[tokio::test]
async fn a_failing_model_is_stepped_over_by_name() {
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    let hybrid = Scripted::new(Hybrid, [Act::Fail]);
    let distilbert = Scripted::new(Distilbert, [Act::Answer(0.9)]);
    let decision = ask(&engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95), loaded(&distilbert, 0.96)])).await;
    assert_eq!(fallbacks(&decision), [(Hybrid, Distilbert, FallbackReason::Failed)]);
    let steps = ["linear confidence 0.50 < 0.80", "hybrid failed", "distilbert confidence 0.90 >= 0.00"];
    assert_eq!(decision.reasons, steps);
    assert!(decision.degraded);
}

#[tokio::test]
async fn a_panicking_model_is_stepped_over_and_its_thread_lives_on() {
    let hybrid = Scripted::new(Hybrid, [Act::Panic, Act::Answer(0.9)]);
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    let engine = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
    let first = ask(&engine).await;
    assert_eq!(fallbacks(&first), [(Hybrid, Linear, FallbackReason::Panicked)]);
    assert_eq!(ask(&engine).await.model, Hybrid);
}

#[tokio::test]
async fn models_outside_the_plan_catch_what_the_plan_cannot_answer() {
    let hybrid = Scripted::new(Hybrid, [Act::Fail]);
    let zero_shot = Scripted::new(ZeroShot, [Act::Answer(0.5)]);
    let decision = ask(&engine([loaded(&zero_shot, 0.8), loaded(&hybrid, 0.95)])).await;
    assert_eq!(decision.model, ZeroShot);
    assert_eq!(fallbacks(&decision), [(Hybrid, ZeroShot, FallbackReason::Failed)]);
}

#[tokio::test]
async fn rules_come_last_in_the_fallback_chain() {
    let rules = Scripted::new(Rules, [Act::Answer(0.5)]);
    let linear = Scripted::new(Linear, [Act::Fail]);
    let hybrid = Scripted::new(Hybrid, [Act::Fail]);
    let mut request = ClassifyRequest::new("hello");
    request.strategy = Some(StrategyName::QualityFirst);
    let engine = engine([loaded(&rules, 0.99), loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
    let decision = engine.classify(request).await.unwrap();
    assert_eq!(decision.model, Rules);
    assert_eq!(linear.calls() + hybrid.calls(), 0, "quality_first asks the most accurate model first");
}

#[tokio::test]
async fn when_every_model_fails_the_error_says_what_happened_to_each() {
    let linear = Scripted::new(Linear, [Act::Fail]);
    let hybrid = Scripted::new(Hybrid, [Act::Panic]);
    let error = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)])
        .classify(ClassifyRequest::new("hello"))
        .await
        .expect_err("nothing is left");
    assert_eq!(error, EngineError::NoModel { reasons: "linear failed, hybrid panicked".into() });
}

#[tokio::test(start_paused = true)]
async fn a_model_that_does_not_answer_in_time_is_left_for_an_earlier_opinion() {
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
    let decision = ask(&engine).await;
    assert_eq!(fallbacks(&decision), [(Hybrid, Linear, FallbackReason::TimedOut)]);
    assert_eq!(decision.timings.total, Duration::from_millis(200), "the standard target");
    drop(gate);
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_p95_does_not_fit_the_budget_is_not_started() {
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
    ask(&engine).await; // takes all of its 200 ms
    let mut hurried = ClassifyRequest::new("hello there");
    hurried.latency_budget = Some(Duration::from_millis(100));
    let decision = engine.classify(hurried).await.unwrap();
    assert_eq!(decision.model, Linear);
    assert_eq!(decision.timings.total, Duration::ZERO);
    assert!(decision.reasons[1].starts_with("hybrid p95 "), "{:?}", decision.reasons);
    assert!(!decision.degraded, "keeping to the budget is what was asked for");
    drop(gate);
}

#[tokio::test(start_paused = true)]
async fn an_old_estimate_does_not_keep_a_model_out_for_ever() {
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
    let within = |budget| ClassifyRequest { latency_budget: Some(budget), ..ClassifyRequest::new("hello there") };
    engine.classify(within(PATIENCE)).await.unwrap();
    assert_eq!(engine.classify(within(PATIENCE / 2)).await.unwrap().skipped, [Hybrid]);
    drop(gate); // from here on the model answers at once
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    assert_eq!(engine.classify(within(PATIENCE / 2)).await.unwrap().model, Hybrid);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_keeps_failing_is_left_alone_until_it_recovers() {
    let rules = Scripted::new(Rules, [Act::Answer(0.5)]);
    let mut script = vec![Act::Fail; 8];
    script.push(Act::Answer(0.9));
    let linear = Scripted::new(Linear, script);
    let engine = engine([loaded(&rules, 0.6), loaded(&linear, 0.9)]);
    for _ in 0..8 {
        assert_eq!(ask(&engine).await.fallbacks[0].reason, FallbackReason::Failed);
    }
    assert_eq!(ask(&engine).await.fallbacks[0].reason, FallbackReason::CircuitOpen);
    assert_eq!(linear.calls(), 8, "an open circuit lets no call through");
    assert_eq!(engine.model_status()[1].circuit, CircuitState::Open);
    tokio::time::advance(Duration::from_secs(5)).await;
    for _ in 0..3 {
        assert_eq!(ask(&engine).await.model, Linear);
    }
    assert_eq!(engine.model_status()[1].circuit, CircuitState::Closed);
}

#[tokio::test]
async fn a_named_model_answers_alone() {
    let rules = Scripted::new(Rules, [Act::Answer(0.99)]);
    let linear = Scripted::new(Linear, [Act::Answer(0.4)]);
    let mut request = ClassifyRequest::new("hello");
    request.model = Some(Linear);
    let engine = engine([loaded(&rules, 0.6), loaded(&linear, 0.9)]);
    let decision = engine.classify(request.clone()).await.unwrap();
    assert_eq!((decision.model, rules.calls()), (Linear, 0));
    request.model = Some(Distilbert);
    assert_eq!(engine.classify(request).await.unwrap_err(), EngineError::ModelNotLoaded(Distilbert));
}

#[tokio::test]
async fn the_ranking_is_as_long_as_asked_for() {
    let rules = Scripted::new(Rules, [Act::Answer(0.9)]);
    let engine = engine([loaded(&rules, 0.6)]);
    for (top_k, expected) in [(0, 1), (1, 1), (2, 2), (100, 2)] {
        let mut request = ClassifyRequest::new("hello");
        request.top_k = top_k;
        assert_eq!(engine.classify(request).await.unwrap().ranking.len(), expected, "top_k {top_k}");
    }
}

#[tokio::test]
async fn new_models_take_over_and_old_failures_are_forgotten() {
    let broken = Scripted::new(Linear, [Act::Fail]);
    let rules = Scripted::new(Rules, [Act::Answer(0.5)]);
    let engine = engine([loaded(&rules, 0.6), loaded(&broken, 0.9)]);
    for _ in 0..9 {
        ask(&engine).await;
    }
    let fixed = Scripted::new(Linear, [Act::Answer(0.9)]);
    let catalog = intent_engine::Catalog::new("v2", &crate::scripted::labels(), [loaded(&fixed, 0.9)]).unwrap();
    engine.replace_catalog(catalog);
    let decision = ask(&engine).await;
    assert_eq!((decision.model, decision.model_version.as_ref()), (Linear, "v2"));
}

#[derive(Debug)]
struct Panics;

impl Strategy for Panics {
    fn plan(&self, _: &[Candidate]) -> Vec<Step> {
        // Past the hook, whose backtrace would cost the test its budget.
        std::panic::resume_unwind(Box::new("scripted panic of a strategy"))
    }
}

#[tokio::test]
async fn a_strategy_that_panics_leaves_plain_classification_by_the_fallback_chain() {
    let rules = Scripted::new(Rules, [Act::Answer(0.97)]);
    let hybrid = Scripted::new(Hybrid, [Act::Answer(0.6)]);
    let engine = engine_with([loaded(&rules, 0.99), loaded(&hybrid, 0.95)], |options| options.strategies = |_| &Panics);
    let decision = ask(&engine).await;
    assert_eq!((decision.model, decision.strategy, decision.degraded), (Hybrid, StrategyName::FallbackChain, true));
    let reasons = ["strategy control failed, plain classification instead", "hybrid confidence 0.60 >= 0.00"];
    assert_eq!(decision.reasons, reasons);
}

#[derive(Debug)]
struct PlansNothing;

impl Strategy for PlansNothing {
    fn plan(&self, _: &[Candidate]) -> Vec<Step> {
        Vec::new()
    }
}

#[tokio::test]
async fn a_plan_without_steps_is_answered_by_the_fallback_chain() {
    let rules = Scripted::new(Rules, [Act::Answer(0.97)]);
    let linear = Scripted::new(Linear, [Act::Answer(0.6)]);
    let engine =
        engine_with([loaded(&rules, 0.99), loaded(&linear, 0.9)], |options| options.strategies = |_| &PlansNothing);
    assert_eq!(ask(&engine).await.reasons, ["linear answered as fallback"]);
}

#[tokio::test]
async fn a_caller_who_leaves_during_a_trial_call_makes_room_for_the_next_trial() {
    let rules = Scripted::new(Rules, [Act::Answer(0.5)]);
    let (hybrid, gate) = Scripted::gated(Hybrid, [vec![Act::Fail; 8], vec![Act::Answer(0.9)]].concat());
    let engine = Arc::new(engine_with([loaded(&rules, 0.6), loaded(&hybrid, 0.95)], |options| {
        options.circuit = CircuitOptions { open_for: Duration::ZERO, ..CircuitOptions::default() };
    }));
    let ask = || {
        let engine = Arc::clone(&engine);
        let patient = ClassifyRequest { latency_budget: Some(PATIENCE), ..ClassifyRequest::new("hello there") };
        async move { engine.classify(patient).await.unwrap() }
    };
    gate.let_pass(8);
    for _ in 0..8 {
        ask().await;
        gate.until_entered().await;
    }
    let leaver = tokio::spawn(ask());
    gate.until_entered().await;
    assert_eq!(ask().await.fallbacks[0].reason, FallbackReason::CircuitOpen, "one trial at a time");
    leaver.abort();
    assert!(leaver.await.is_err());
    drop(gate);
    assert_eq!(ask().await.model, Hybrid, "the next trial is let through");
}

#[tokio::test]
async fn slow_calls_open_the_circuit_though_they_answer() {
    let linear = Scripted::new(Linear, [Act::Answer(0.9)]);
    let engine = engine_with([loaded(&linear, 0.9)], |options| {
        options.circuit = CircuitOptions { slow_call: Duration::ZERO, ..CircuitOptions::default() };
    });
    for _ in 0..8 {
        assert_eq!(ask(&engine).await.model, Linear);
    }
    let error = engine.classify(ClassifyRequest::new("hello there")).await.expect_err("nobody else is there");
    assert_eq!(error, EngineError::NoModel { reasons: "linear circuit open".into() });
}

#[tokio::test(start_paused = true)]
async fn a_model_left_out_for_lack_of_time_is_asked_when_nobody_else_is_there() {
    let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
    let engine = engine([loaded(&hybrid, 0.95)]);
    let within = |budget| ClassifyRequest { latency_budget: Some(budget), ..ClassifyRequest::new("hello there") };
    engine.classify(within(PATIENCE)).await.expect_err("it takes all of its time");
    drop(gate); // from here on the model answers at once
    tokio::time::resume();
    let decision = engine.classify(within(PATIENCE / 2)).await.unwrap();
    assert_eq!((decision.model, &decision.skipped[..]), (Hybrid, &[Hybrid][..]));
    assert_eq!(decision.reasons.last().unwrap(), "hybrid answered as fallback");
}

#[tokio::test]
async fn the_encoder_runs_once_for_a_text_whichever_models_want_its_embedding() {
    let zero_shot = Scripted::new(ZeroShot, [Act::Answer(0.5)]);
    let hybrid = Scripted::new(Hybrid, [Act::Answer(0.5)]);
    let engine = engine([loaded(&zero_shot, 0.8), loaded(&hybrid, 0.95)]);
    let request = ClassifyRequest { strategy: Some(StrategyName::Balanced), ..ClassifyRequest::new("hello there") };
    engine.classify(request).await.unwrap();
    assert_eq!((zero_shot.calls(), hybrid.calls()), (1, 1));
    let encoded = |model: &Scripted| model.encoded.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((encoded(&zero_shot), encoded(&hybrid)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn each_requirement_has_its_target_and_a_budget_of_the_request_wins() {
    use intent_engine::LatencyRequirement::{Critical, Relaxed, Standard};
    let linear = Scripted::new(Linear, [Act::Answer(0.5)]);
    for (requirement, budget, expected_ms) in
        [(Critical, None, 50), (Standard, None, 200), (Relaxed, None, 500), (Critical, Some(120), 120)]
    {
        let (hybrid, gate) = Scripted::gated(Hybrid, [Act::Answer(0.9)]);
        let engine = engine([loaded(&linear, 0.9), loaded(&hybrid, 0.95)]);
        let request = ClassifyRequest {
            latency_requirement: requirement,
            latency_budget: budget.map(Duration::from_millis),
            ..ClassifyRequest::new("hello there")
        };
        let decision = engine.classify(request).await.unwrap();
        assert_eq!(decision.timings.total, Duration::from_millis(expected_ms), "{requirement} {budget:?}");
        drop(gate);
    }
}
