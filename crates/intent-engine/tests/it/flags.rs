use intent_engine::{ClassifyRequest, Decision, Engine, Experiment, FallbackReason, Flag, StrategyName};
use intent_model::ModelKind::{Distilbert, Hybrid, Linear, Rules, ZeroShot};

use crate::scripted::{Act, Scripted, engine, flags, loaded};

async fn ask(engine: &Engine, set: &[(Flag, bool)]) -> Decision {
    let mut set = set.to_vec();
    // The answers of one setting must not come from another's cache.
    set.push((Flag::Caching, false));
    engine.replace_flags(flags(&set));
    engine.classify(ClassifyRequest::new("hello there")).await.expect("some model answers")
}

fn sure(kind: intent_model::ModelKind) -> std::sync::Arc<Scripted> {
    Scripted::new(kind, [Act::Answer(0.9)])
}

#[tokio::test]
async fn without_adaptive_routing_the_most_accurate_model_answers() {
    let engine = engine([loaded(&sure(Rules), 0.6), loaded(&sure(Linear), 0.9), loaded(&sure(Hybrid), 0.95)]);
    assert_eq!(ask(&engine, &[]).await.model, Rules);
    let plain = ask(&engine, &[(Flag::AdaptiveRouting, false)]).await;
    assert_eq!((plain.model, plain.strategy), (Hybrid, StrategyName::FallbackChain));
}

#[tokio::test]
async fn distilbert_answers_only_those_who_have_it() {
    let engine = engine([loaded(&Scripted::new(Rules, [Act::Answer(0.5)]), 0.6), loaded(&sure(Distilbert), 0.95)]);
    assert_eq!(ask(&engine, &[]).await.model, Rules);
    assert_eq!(ask(&engine, &[(Flag::DistilbertModel, true)]).await.model, Distilbert);
}

#[tokio::test]
async fn a_distilbert_that_is_asked_for_and_missing_shows_as_degraded() {
    let engine = engine([loaded(&Scripted::new(Rules, [Act::Answer(0.5)]), 0.6)]);
    let decision = ask(&engine, &[(Flag::DistilbertModel, true)]).await;
    assert_eq!((decision.model, decision.degraded), (Rules, true));
    assert_eq!(decision.fallbacks[0].reason, FallbackReason::NotLoaded);
}

#[tokio::test]
async fn zero_shot_stands_in_only_when_it_may() {
    let engine = engine([
        loaded(&Scripted::new(Rules, [Act::Answer(0.5)]), 0.6),
        loaded(&sure(ZeroShot), 0.8),
        loaded(&Scripted::new(Hybrid, [Act::Fail]), 0.95),
    ]);
    let quality = |zero_shot| [(Flag::AdaptiveRouting, false), (Flag::ZeroShotFallback, zero_shot)];
    assert_eq!(ask(&engine, &quality(true)).await.model, ZeroShot);
    assert_eq!(ask(&engine, &quality(false)).await.model, Rules);
}

#[tokio::test]
async fn performance_mode_believes_rules_earlier_and_quality_mode_asks_distilbert_first() {
    let rules = Scripted::new(Rules, [Act::Answer(0.8)]);
    let engine = engine([loaded(&rules, 0.6), loaded(&sure(Linear), 0.99), loaded(&sure(Distilbert), 0.9)]);
    assert_eq!(ask(&engine, &[]).await.model, Linear);
    assert_eq!(ask(&engine, &[(Flag::PerformanceMode, true)]).await.model, Rules);
    let quality = ask(&engine, &[(Flag::QualityMode, true)]).await;
    assert_eq!((quality.model, quality.strategy), (Distilbert, StrategyName::QualityFirst));
}

#[tokio::test]
async fn the_experiment_routes_its_share_by_its_treatments() {
    let engine = engine([loaded(&sure(Rules), 0.6), loaded(&sure(Linear), 0.9)]);
    let treatments = vec![StrategyName::QualityFirst];
    engine.replace_experiment(Experiment { share: 1.0, treatments, ..Experiment::default() });
    let treated = ask(&engine, &[]).await;
    assert_eq!((treated.model, treated.experiment_group), (Linear, StrategyName::QualityFirst));
    let untreated = ask(&engine, &[(Flag::AbTesting, false)]).await;
    assert_eq!((untreated.model, untreated.experiment_group), (Rules, StrategyName::Control));
}
