use intent_engine::{ClassifyRequest, StrategyName};
use intent_model::ModelKind;
use proptest::prelude::*;

use crate::scripted::{Act, Scripted, engine, loaded};

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0.01..0.99_f32).prop_map(Act::Answer),
        1 => Just(Act::Foreign),
        1 => Just(Act::Fail),
        1 => Just(Act::Panic),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever the models do and whichever strategy plans: a request is answered when any model can answer it, no
    /// model is asked twice, and the answer says everything that went wrong.
    #[test]
    fn a_request_is_answered_when_any_model_can(
        models in prop::collection::btree_map(prop::sample::select(ModelKind::ALL.to_vec()), (act(), 0.0..1.0_f32), 1..=5),
        strategy in prop::sample::select(StrategyName::ALL.to_vec()),
    ) {
        let scripted: Vec<_> =
            models.iter().map(|(kind, (act, accuracy))| (Scripted::new(*kind, [act.clone()]), *accuracy)).collect();
        let engine = engine(scripted.iter().map(|(model, accuracy)| loaded(model, *accuracy)));
        let request = ClassifyRequest { strategy: Some(strategy), top_k: 5, ..ClassifyRequest::new("hello") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answer = runtime.block_on(engine.classify(request));

        prop_assert!(scripted.iter().all(|(model, _)| model.calls() <= 1), "no model is asked twice");
        let somebody_can = models.values().any(|(act, _)| matches!(act, Act::Answer(_) | Act::Foreign));
        prop_assert_eq!(answer.is_ok(), somebody_can);
        let Ok(decision) = answer else { return Ok(()) };
        prop_assert!(models.contains_key(&decision.model));
        prop_assert_eq!(decision.degraded, !decision.fallbacks.is_empty());
        for fallback in &decision.fallbacks {
            prop_assert!(matches!(models[&fallback.from].0, Act::Fail | Act::Panic), "{fallback:?}");
        }
        prop_assert_eq!(decision.ranking.len(), if decision.best().intent.as_ref() == "out_of_scope" { 3 } else { 2 });
        let total: f32 = decision.ranking.iter().map(|ranked| ranked.confidence).sum();
        prop_assert!((total - 1.0).abs() < 1e-4, "{:?}", decision.ranking);
    }
}
