//! HTTP: one file per resource with its wire types, which go no further than this module.

mod access;
mod api_keys;
mod batch;
mod body;
mod browser;
mod caller;
mod classify;
mod conditional;
mod console;
mod docs;
mod error;
mod experiments;
mod feedback;
mod flags;
mod health;
mod history;
mod intents;
mod layers;
mod low_confidence;
mod metering;
mod metrics;
mod models;
mod ofrep;
mod parameters;
mod request_id;
mod rollouts;
mod routes;
mod routing;
mod suspicions;
mod time;
mod user_id;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use self::{
    access::AccessPolicy,
    error::{Kind, Problem},
};
pub(crate) use self::{
    caller::Peer,
    classify::ClassifyAnswer,
    models::reload_now,
    request_id::RequestId,
    routes::{Operation, openapi, operations, router},
};

use crate::{
    auth::Authenticator,
    config::{ConfigError, InputSettings, Network, Origin, Settings},
    experiments::{ExposureRecorder, SampleRatio},
    feedback::{Intake, KnownDecisions},
    flags::FeatureFlags,
    health::Health,
    limits::RateLimiter,
    promotions::Promotions,
    rollouts::Rollouts,
    routing::Routing,
    screening::Screening,
    serving::Serving,
    storage::Storage,
    telemetry::{low_confidence::LowConfidence, metrics::Metrics},
    tls::Tls,
};

/// What every handler sees.
#[derive(Debug)]
pub(crate) struct App {
    /// What a request may hold.
    pub(crate) input: InputSettings,
    /// How long a request's body may take to arrive.
    pub(crate) request_timeout: Duration,
    /// Who is believed about where a request came from.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Tells who calls.
    pub(crate) authenticator: Authenticator,
    /// Which paths need no authentication.
    pub(crate) access_policy: AccessPolicy,
    /// Counts what everybody asks.
    pub(crate) limiter: RateLimiter,
    /// Looks at texts.
    pub(crate) screening: Screening,
    /// Whose pages may call from a browser.
    pub(crate) cors_allowed_origins: Vec<Origin>,
    /// The certificate, when connections are encrypted here.
    pub(crate) tls: Option<Arc<Tls>>,
    /// The feature flags.
    pub(crate) flags: Arc<FeatureFlags>,
    /// The guarded rollouts of flags.
    pub(crate) rollouts: Arc<Rollouts>,
    /// The settings of the router and of its experiment.
    pub(crate) routing: Arc<Routing>,
    /// Stores what the experiment shows.
    pub(crate) exposures: ExposureRecorder,
    /// Whether its groups have the sizes they should.
    pub(crate) sample_ratio: SampleRatio,
    /// Everything that is counted.
    pub(crate) metrics: Metrics,
    /// What background checks have found.
    pub(crate) health: Health,
    /// Whether the process is starting, serving or draining.
    pub(crate) phase: PhaseCell,
    /// The database.
    pub(crate) storage: Storage,
    /// Which model version served from when on.
    pub(crate) promotions: Promotions,
    /// Where feedback goes.
    pub(crate) feedback: Intake,
    /// What was decided lately.
    pub(crate) known_decisions: KnownDecisions,
    /// What no model was sure of lately.
    pub(crate) low_confidence: LowConfidence,
    serving: OnceLock<Serving>,
}

impl App {
    /// Makes the state of a server that is starting. Call it in an async runtime.
    ///
    /// # Errors
    /// [`ConfigError`] when the settings name no database, or flags that cannot be understood.
    pub(crate) fn new(
        settings: &Settings,
        authenticator: Authenticator,
        tls: Option<Arc<Tls>>,
    ) -> Result<Self, ConfigError> {
        let storage = Storage::new(&settings.database)?;
        let flags = Arc::new(FeatureFlags::new(settings, storage.clone())?);
        let mut health = Health::new(&settings.health);
        if storage.is_remote() {
            health.dependencies.add(storage.clone());
        }
        Ok(Self {
            input: settings.input.clone(),
            request_timeout: settings.server.request_timeout(),
            rollouts: Arc::new(Rollouts::new(
                storage.clone(),
                Arc::clone(&flags),
                settings.flags.rollout_check_interval(),
            )),
            flags,
            routing: Arc::new(Routing::new(
                settings.routing.routing(),
                settings.routing.experiment(settings.flags.experiment_share.unwrap_or(0.0)),
                storage.clone(),
            )),
            exposures: ExposureRecorder::start(storage.clone()),
            sample_ratio: SampleRatio::default(),
            metrics: Metrics::new(&operations()),
            health,
            trusted_proxies: settings.server.trusted_proxies.clone(),
            authenticator: authenticator.with_api_keys(storage.clone()),
            access_policy: AccessPolicy::new(&settings.auth),
            limiter: RateLimiter::new(&settings.rate_limit),
            screening: Screening::new(&settings.input.refuse_suspicious),
            cors_allowed_origins: settings.server.cors_allowed_origins.clone(),
            tls,
            phase: PhaseCell::default(),
            feedback: Intake::new(settings, storage.clone()),
            promotions: Promotions::start(storage.clone()),
            storage,
            known_decisions: KnownDecisions::default(),
            low_confidence: LowConfidence::default(),
            serving: OnceLock::new(),
        })
    }

    /// Lets requests be answered from now on.
    pub(crate) fn start_serving(&self, serving: Serving) {
        self.expect_intents(&serving);
        assert!(self.serving.set(serving).is_ok(), "a server starts once");
        self.routing.apply(self.serving.get().expect("it was just set").engine());
        self.phase.advance(Phase::Serving);
    }

    /// Lets what the models can answer be counted from zero.
    fn expect_intents(&self, serving: &Serving) {
        let catalog = serving.engine().catalog();
        self.metrics.expect_intents(catalog.intents(), catalog.iter().map(|(kind, _)| kind));
    }

    /// Forgets the cached answers to a text, in every replica, because it was corrected here.
    pub(crate) fn forget_text(&self, text: &str) {
        if let Some(serving) = self.serving.get() {
            serving.forget_text(text);
        }
    }

    /// Returns what answers, once it is there.
    pub(crate) fn serving(&self) -> Result<&Serving, Problem> {
        self.serving.get().ok_or_else(|| {
            Problem::new(Kind::NotReady, "the models are being loaded").retry_after(Duration::from_secs(1))
        })
    }
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Models are being loaded.
    Starting,
    /// Requests are answered.
    Serving,
    /// Requests are still answered, but no more should be sent.
    Draining,
}

/// The phase that all threads see.
#[derive(Debug, Default)]
pub(crate) struct PhaseCell(AtomicU8);

impl PhaseCell {
    /// Returns the phase.
    pub(crate) fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Goes on to a later phase; a process that drains never serves again.
    pub(crate) fn advance(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::AcqRel);
    }
}
