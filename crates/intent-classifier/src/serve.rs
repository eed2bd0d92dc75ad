//! The life of the server: bind, serve, drain. What goes on in one connection is in `connection.rs`.

use std::{
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::Router;
use intent_engine::DecisionCache;
use intent_model::pack::Pack;
use tokio::{
    net::TcpListener,
    runtime::{self, Handle},
    signal::unix::{Signal, SignalKind, signal},
    time::{sleep, timeout},
};
use tracing::{error, info, warn};

use crate::{
    auth::Authenticator,
    cache::{RedisCheck, RedisConnection},
    config::{ServerSettings, Settings},
    connection::Connections,
    experiments, feedback,
    health::{self, Dependencies},
    http::{self, App, Phase},
    memory,
    remote::{ModelServerCheck, RemoteClient},
    serving::{
        self, Availability, Serving,
        warming::{self, Warmed},
    },
    tls::Tls,
};

/// How long a server that stops may take to store what its experiment has shown.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How many rounds of health checks pass between two looks at the sizes of the experiment's groups, which adds up all of it.
const SAMPLE_RATIO_EVERY: u32 = 6;
/// How long to wait when the process has no file descriptor left for a new connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// What a process gets that writes beyond its limit of a file's size; the number is the same on Linux and macOS.
const SIGXFSZ: i32 = 25;

/// Serves until a stop signal arrives and requests in flight are answered.
///
/// # Errors
/// When the port cannot be bound or the async runtime cannot start.
pub(crate) fn run(
    settings: Settings,
    authenticator: Authenticator,
    tls: Option<Arc<Tls>>,
    pack: Option<Pack>,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().thread_name("http").build()?;
    runtime.block_on(async {
        let (stop, hangup) = (stop_signal()?, signal(SignalKind::hangup())?);
        // Whoever has listened once is not killed by it: a limit (`ulimit -f`, `LimitFSIZE=`) is then a full disk.
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        let address = settings.server.address();
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        info!(
            address = %listener.local_addr()?,
            version = env!("CARGO_PKG_VERSION"),
            encrypted = tls.is_some(),
            "listening"
        );
        if let Some(tls) = &tls {
            tokio::spawn(Arc::clone(tls).watch());
        }
        let mut app = App::new(&settings, authenticator, tls)?;
        let peers = Peers::connect(&settings, &mut app.health.dependencies)?;
        if let Some((redis, _)) = &peers.redis {
            app.limiter.share_by(Arc::clone(redis), settings.redis.timeout());
        }
        let app = Arc::new(app);
        app.storage.start();
        app.flags.follow(settings.flags.poll_interval());
        tokio::spawn(Arc::clone(&app.routing).follow({
            let app = Arc::clone(&app);
            move |routing| app.serving().into_iter().for_each(|serving| routing.apply(serving.engine()))
        }));
        if let Some(api_keys) = app.authenticator.api_keys() {
            tokio::spawn(api_keys.follow());
        }
        tokio::spawn(Arc::clone(&app.rollouts).run({
            let app = Arc::clone(&app);
            move |violation| app.metrics.guard_violated(violation)
        }));
        tokio::spawn(feedback::replay_spool(app.feedback.clone()));
        tokio::spawn(feedback::keep_retention(app.storage.clone(), settings.feedback.clone()));
        tokio::spawn(feedback::complete_feedback(app.storage.clone(), {
            let app = Arc::clone(&app);
            move |request_id| app.known_decisions.of(request_id)
        }));
        tokio::spawn(feedback::follow_corrections(app.storage.clone(), {
            let app = Arc::clone(&app);
            // Whoever took a correction has told the other replicas already.
            move |act: &dyn Fn(&DecisionCache)| {
                app.serving().into_iter().for_each(|serving| act(serving.engine().cache()))
            }
        }));
        let loading = tokio::task::spawn_blocking({
            let (app, settings) = (Arc::clone(&app), settings.clone());
            move || memory::giving_back(|| load_models(&app, &settings, pack, peers))
        });
        health::watch(&app);
        tokio::spawn(experiments::watch(Arc::clone(&app), SAMPLE_RATIO_EVERY * settings.health.interval()));
        tokio::spawn(reload_on_hangup(Arc::clone(&app), hangup));
        tokio::select! {
            () = serve(listener, &app, http::router(&app), &settings.server, stop) => Ok(()),
            Err(error) = async { loading.await? } => Err(error),
        }
    })
}

/// The other processes that classification uses.
struct Peers {
    remote: Option<Arc<RemoteClient>>,
    redis: Option<(Arc<RedisConnection>, Arc<RedisCheck>)>,
}

impl Peers {
    /// Connects in the background to what is configured, and has it checked.
    fn connect(settings: &Settings, dependencies: &mut Dependencies) -> anyhow::Result<Self> {
        let remote = RemoteClient::configured(&settings.remote)?;
        if let Some(client) = &remote {
            dependencies.add(ModelServerCheck(Arc::clone(client)));
        }
        let redis = settings.redis.client()?.map(|client| {
            let redis = Arc::new(RedisConnection::start(client));
            let check = Arc::new(RedisCheck::new(Arc::clone(&redis)));
            dependencies.add(Arc::clone(&check));
            (redis, check)
        });
        Ok(Self { remote, redis })
    }
}

fn load_models(app: &Arc<App>, settings: &Settings, pack: Option<Pack>, peers: Peers) -> anyhow::Result<()> {
    let began = Instant::now();
    let assembly = serving::assemble(&settings.models, pack, peers.remote.as_ref())?;
    for (model, availability) in &assembly.availability {
        match availability {
            Availability::Broken(reason) => error!(%model, reason, "a model cannot be used"),
            other => info!(%model, status = %other, reason = other.reason(), "model"),
        }
    }
    let mut serving = Serving::start(assembly, settings, app.flags.shared());
    if let Some((redis, check)) = peers.redis {
        serving = serving.share_by(redis, settings.redis.timeout(), settings.cache.options().time_to_live);
        check.watch(serving.engine().cache());
    }
    // The first answers of a model are slow; users should not get them.
    Handle::current().block_on(app.health.models.run(&serving));
    let version = serving.engine().catalog().version().to_string();
    app.start_serving(serving);
    app.promotions.serves(&version, "start");
    info!(duration_ms = began.elapsed().as_millis() as u64, "ready");
    if let Some(path) = &settings.cache.warm_file {
        match warming::read_texts(path, settings.input.max_text_chars) {
            Ok((texts, skipped)) => drop(tokio::spawn(warm(Arc::clone(app), texts, skipped))),
            Err(error) => error!(file = %path.display(), %error, "the cache cannot be warmed"),
        }
    }
    Ok(())
}

/// Answers expected texts beside the requests of callers.
async fn warm(app: Arc<App>, texts: Vec<String>, unreadable: usize) {
    let Ok(serving) = app.serving() else { return };
    let began = Instant::now();
    let Warmed { answered, skipped } = warming::warm(serving.engine(), &texts).await;
    let duration_ms = began.elapsed().as_millis() as u64;
    info!(answered, skipped = skipped + unreadable, duration_ms, "the cache is warm");
}

/// Accepts connections until `stop` resolves, then drains: readiness fails first, then no more connections are taken,
/// then requests in flight finish, each step within its time limit.
pub(crate) async fn serve(
    listener: TcpListener,
    app: &App,
    router: Router,
    settings: &ServerSettings,
    stop: impl Future<Output = ()>,
) {
    let connections = Connections::new(settings, app.tls.clone());

    accept_until(stop, &listener, app, &router, &connections).await;
    app.phase.advance(Phase::Draining);
    info!(delay_ms = settings.drain_delay_ms, timeout_ms = settings.drain_timeout_ms, "draining");
    accept_until(sleep(settings.drain_delay()), &listener, app, &router, &connections).await;
    drop(listener);

    let open_connections = connections.count();
    match timeout(settings.drain_timeout(), connections.shutdown()).await {
        Ok(()) => info!("stopped"),
        Err(_) => warn!(open_connections, "stopped with requests unanswered: the time limit for draining has passed"),
    }
    app.exposures.flush(FLUSH_TIMEOUT).await;
    app.rollouts.stop(FLUSH_TIMEOUT).await;
}

async fn accept_until(
    end: impl Future<Output = ()>,
    listener: &TcpListener,
    app: &App,
    router: &Router,
    connections: &Connections,
) {
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return,
            (slot, accepted) = async { (connections.slot().await, listener.accept().await) } => match accepted {
                Ok((stream, peer)) => {
                    let open = app.metrics.connection_opened();
                    connections.spawn(stream, peer, router.clone(), (slot, open));
                }
                Err(error) => {
                    if !is_of_one_connection(&error) {
                        warn!(%error, "cannot accept connections");
                        sleep(ACCEPT_BACKOFF).await;
                    }
                }
            }
        }
    }
}

/// Reloads the certificate and the models at every SIGHUP.
async fn reload_on_hangup(app: Arc<App>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        // What came of it is logged.
        if let Some(tls) = &app.tls {
            tls.reload();
        }
        let _ = http::reload_now(Arc::clone(&app), "SIGHUP").await;
    }
}

/// Tells whether only the connection that was being accepted is lost.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once, as if nobody listened.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
