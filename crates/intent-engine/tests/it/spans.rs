//! What a trace of a request consists of.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use intent_engine::{ClassifyRequest, Flag};
use intent_model::ModelKind::{Hybrid, Rules};
use tracing::{Instrument, info_span};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::scripted::{Act, Scripted, engine, flags, loaded};

/// Keeps the path of every span that ended: its parents' names and its own.
#[derive(Clone, Default)]
struct Ended(Arc<Mutex<Vec<String>>>);

impl Ended {
    fn of_the_request(&self) -> Vec<String> {
        let ended = self.0.lock().expect("no code panics while it holds this lock");
        ended.iter().filter_map(|path| path.strip_prefix("request > ")).map(str::to_owned).collect()
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ended {
    fn on_close(&self, id: tracing::span::Id, context: Context<'_, S>) {
        let scope = context.span_scope(&id).expect("it has just ended").from_root();
        let path: Vec<&str> = scope.map(|span| span.name()).collect();
        self.0.lock().expect("no code panics while it holds this lock").push(path.join(" > "));
    }
}

#[tokio::test]
async fn waiting_computing_and_caching_are_parts_of_the_request_on_whichever_thread_they_happen() {
    let ended = Ended::default();
    // For all threads, those of other tests included: what belongs to this one is told by its root.
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(ended.clone())).expect("the only one");
    let rules = Scripted::new(Rules, [Act::Answer(0.5)]);
    let engine = engine([loaded(&rules, 0.6), loaded(&Scripted::new(Hybrid, [Act::Answer(0.9)]), 0.95)]);
    engine.replace_flags(flags(&[(Flag::Caching, true)]));
    let request = info_span!("request");
    let classified = engine.classify(ClassifyRequest::new("hello")).instrument(request).await;
    assert_eq!(classified.expect("a model answers").model, Hybrid);
    let expected = ["cache", "cache > infer", "cache > infer", "cache > queue"];
    let deadline = Instant::now() + Duration::from_secs(60);
    // A span ends when the last thread lets go of it; the inference thread may do so after the answer is out.
    loop {
        let mut paths = ended.of_the_request();
        paths.sort_unstable();
        if paths == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{paths:?}, expected {expected:?}");
        tokio::task::yield_now().await;
    }
}
