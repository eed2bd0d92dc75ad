//! Measures the server over loopback, beside a handler that does nothing.

mod load;
mod process;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use axum::{Json, Router, routing::post};
use intent_engine::{
    Experiment, FlagSnapshot, RoutingConfig, StrategyName,
    flags::{Flag, FlagChange, Overrides},
};
use intent_model::{Document, ModelKind};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use self::load::Load;
pub(crate) use self::{
    load::{Figures, Limits},
    process::OwnProcess,
};
use crate::{
    auth::Authenticator,
    config::Settings,
    http::{self, App},
    serve,
    serving::{self, Assembly, Serving},
};

/// How often the sides of a comparison are measured in turn, each for a third of the longest time; the machine's mood
/// then reaches both.
const ROUNDS: usize = 9;
const CLASSIFY: &str = "/api/v1/intents/classify";
const EMPTY: &str = "/empty";

/// All figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Connections of the throughput figures.
    pub(crate) connections: usize,
    /// A handler that reads JSON and writes a constant.
    pub(crate) empty: Figures,
    /// Texts that the rules decide.
    pub(crate) rules: Figures,
    /// The same without metrics and log lines.
    pub(crate) unobserved: Figures,
    /// The share of the throughput that metrics and log lines cost, 0 to 1, the median of the rounds; below 0 when the
    /// machine's mood is more.
    pub(crate) observation_cost: f64,
    /// Throughput of `rules` by that of `empty`, measured right before: the median of the rounds.
    pub(crate) rules_to_empty: f64,
    /// The most accurate model, asked for every text over one connection; absent when rules are all there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) most_accurate: Option<Overhead>,
    /// A server alone in its process.
    pub(crate) own_process: OwnProcess,
}

/// What HTTP adds to a model.
#[derive(Debug, Serialize)]
pub(crate) struct Overhead {
    /// The model.
    pub(crate) model: ModelKind,
    /// Median time of the model alone, called directly, in milliseconds.
    pub(crate) direct_p50_ms: f64,
    /// Over one connection.
    pub(crate) http: Figures,
    /// The difference of the medians, in milliseconds.
    pub(crate) overhead_ms: f64,
}

/// Serves on a free port within this process, measures, and stops; then starts a server of its own, which reads `config`.
/// `log` turns log lines off and on.
///
/// # Errors
/// When the models cannot be loaded, no text of the pack is decided by its rules, or the server misbehaves.
pub(crate) fn run(
    settings: &Settings,
    config: Option<&Path>,
    limits: Limits,
    log: impl Fn(bool),
) -> anyhow::Result<Report> {
    let assembly = serving::assemble(&settings.models, serving::load_configured_pack(&settings.models)?, None)?;
    let texts: Vec<String> = assembly.pack.examples().map(|(text, _)| text.to_owned()).collect();
    let decided_by_rules = decided_by_rules(&assembly, &texts)?;
    let direct = direct_p50(&assembly, &texts)?;

    let server = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("http").build()?;
    let app = Arc::new({
        let _in_runtime = server.enter();
        App::new(settings, Authenticator::new(&settings.auth)?, None)?
    });
    app.start_serving(Serving::start(assembly, settings, app.flags.shared()));
    let engine = app.serving().expect("it was just started").engine();
    engine.replace_flags(without_cache());
    engine.replace_experiment(Experiment { share: 0.0, ..Experiment::default() });

    let (stop, stopped) = watch::channel(());
    let serve = |router: Router| serve_on_free_port(&server, &app, router, settings, stopped.clone());
    let (empty_at, service_at) = (serve(empty_router())?, serve(http::router(&app))?);

    let (all, bodies) = (bodies(&texts), bodies(&decided_by_rules));
    let empty_load = Load { address: empty_at, path: EMPTY, bodies: &bodies };
    let rules_load = Load { address: service_at, path: CLASSIFY, bodies: &bodies };
    let (mut empty, mut rules, mut unobserved) = (Vec::new(), Vec::new(), Vec::new());
    let observe = |is_on| {
        app.metrics.count(is_on);
        log(is_on);
    };
    let of_round = Limits { duration: limits.duration / 3, ..limits };
    for _ in 0..ROUNDS {
        empty.push(empty_load.run(of_round)?);
        rules.push(rules_load.run(of_round)?);
        observe(false);
        unobserved.push(rules_load.run(of_round)?);
        observe(true);
    }
    let rules_to_empty = typical_ratio(&rules, &empty);
    let observation_cost = 1.0 - typical_ratio(&rules, &unobserved);
    let (empty, rules, unobserved) = (Figures::best(empty), Figures::best(rules), Figures::best(unobserved));

    let most_accurate = match direct {
        None => None,
        Some((model, direct_p50)) => {
            engine.replace_routing(RoutingConfig { strategy: StrategyName::QualityFirst, ..RoutingConfig::default() });
            let load = Load { address: service_at, path: CLASSIFY, bodies: &all };
            let http = load.run(Limits { connections: 1, ..limits })?;
            let direct_p50_ms = direct_p50.as_secs_f64() * 1e3;
            Some(Overhead { model, direct_p50_ms, overhead_ms: http.p50_ms - direct_p50_ms, http })
        }
    };
    drop(stop);
    let own_process = process::measure(config, &all)?;
    let connections = limits.connections;
    Ok(Report { connections, empty, rules, unobserved, observation_cost, rules_to_empty, most_accurate, own_process })
}

/// Returns the median of the ratios of throughput, round by round.
fn typical_ratio(rounds: &[Figures], others: &[Figures]) -> f64 {
    let ratio = |(a, b): (&Figures, &Figures)| a.requests_per_second / b.requests_per_second;
    let mut ratios: Vec<f64> = rounds.iter().zip(others).map(ratio).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Returns the texts on which the rules are sure enough for every strategy.
fn decided_by_rules(assembly: &Assembly, texts: &[String]) -> anyhow::Result<Vec<String>> {
    let rules = assembly.catalog.get(ModelKind::Rules).context("the intent pack has no rules")?;
    let model = rules.backend.local().context("rules compute in this process")?;
    let threshold = RoutingConfig::default().threshold(ModelKind::Rules, rules);
    let mut decided = Vec::new();
    for text in texts {
        let scores = model.score(&[&Document::new(text.as_str())])?.remove(0);
        let prediction = rules.calibration.apply(&scores);
        if prediction.out_of_scope.is_none() && prediction.confidence() >= threshold {
            decided.push(text.clone());
        }
    }
    if decided.is_empty() {
        bail!("no example of the intent pack is decided by its rules");
    }
    Ok(decided)
}

/// Measures the most accurate model that computes on inference threads, one text at a time.
fn direct_p50(assembly: &Assembly, texts: &[String]) -> anyhow::Result<Option<(ModelKind, Duration)>> {
    let best = assembly.catalog.iter().max_by(|(_, a), (_, b)| a.accuracy.total_cmp(&b.accuracy));
    let Some((kind, loaded)) = best.filter(|(kind, _)| *kind != ModelKind::Rules) else { return Ok(None) };
    let Some(model) = loaded.backend.local() else { return Ok(None) };
    let mut took = Vec::with_capacity(texts.len());
    for text in texts {
        let document = Document::new(text.as_str());
        let began = std::time::Instant::now();
        model.score(&[&document])?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took.get(took.len() / 2).map(|p50| (kind, *p50)))
}

/// Answers from the cache would measure the cache.
fn without_cache() -> FlagSnapshot {
    let off = FlagChange { enabled: Some(false), ..FlagChange::default() };
    FlagSnapshot::resolve(1, &Overrides::new(), &Overrides::new(), &Overrides::from([(Flag::Caching, off)]))
}

fn bodies(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| json!({ "text": text }).to_string()).collect()
}

/// What axum can do at best: JSON in, JSON out, nothing in between.
fn empty_router() -> Router {
    async fn empty(Json(_): Json<Value>) -> Json<Value> {
        Json(json!({ "intent": "none" }))
    }
    Router::new().route(EMPTY, post(empty))
}

fn serve_on_free_port(
    runtime: &tokio::runtime::Runtime,
    app: &Arc<App>,
    router: Router,
    settings: &Settings,
    mut stopped: watch::Receiver<()>,
) -> anyhow::Result<SocketAddr> {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    let (app, settings) = (Arc::clone(app), settings.server.clone());
    runtime.spawn(async move {
        // It ends when the sender is dropped; nothing is ever sent.
        let stop = async move { while stopped.changed().await.is_ok() {} };
        serve::serve(listener, &app, router, &settings, stop).await;
    });
    Ok(address)
}
