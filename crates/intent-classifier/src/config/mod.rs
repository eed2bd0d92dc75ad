//! Settings: one struct per concern, read once at start.
//!
//! Later wins: default, file, `.env`, environment, command line. Names, defaults and descriptions are written down once,
//! on the fields; [`mod@reference`] makes the documents from them.

mod auth;
mod cache;
mod database;
mod feedback;
mod flags;
mod health;
mod input;
mod limits;
mod log;
mod models;
mod network;
mod origin;
mod redis;
pub(crate) mod reference;
mod remote;
mod routing;
mod secret;
mod server;
mod sources;
mod tls;
mod trace;

use std::path::PathBuf;

use confique::Config;

use crate::flags::VariableError;

pub(crate) use self::{
    auth::{AuthSettings, OpenHealth},
    cache::CacheSettings,
    database::{DatabaseChoice, DatabaseSettings},
    feedback::FeedbackSettings,
    flags::FlagSettings,
    health::HealthSettings,
    input::InputSettings,
    limits::LimitSettings,
    log::{LogFormat, LogLevel, LogSettings},
    models::ModelSettings,
    network::Network,
    origin::Origin,
    redis::RedisSettings,
    remote::{RemoteProtocol, RemoteSettings},
    routing::{LATENCY_ORDER, RoutingSettings, is_experiment_name, treatments_problem},
    secret::Secret,
    server::ServerSettings,
    sources::Sources,
    tls::{TlsSettings, TlsVersion},
    trace::TraceSettings,
};

/// All settings.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct Settings {
    /// Where the server listens, and how it starts and stops.
    #[config(nested)]
    pub(crate) server: ServerSettings,

    /// What a request may hold.
    #[config(nested)]
    pub(crate) input: InputSettings,

    /// Who may call. `docs/security.md` tells how to choose.
    #[config(nested)]
    pub(crate) auth: AuthSettings,

    /// How much anybody may ask, counted in texts: a batch of 10 counts 10.
    #[config(nested)]
    pub(crate) rate_limit: LimitSettings,

    /// Encryption on the way. Without a certificate the server speaks plain HTTP, for a proxy in front of it to encrypt.
    #[config(nested)]
    pub(crate) tls: TlsSettings,

    /// Which models answer, and with what resources.
    #[config(nested)]
    pub(crate) models: ModelSettings,

    /// How the model router decides, until it is told otherwise over HTTP; see [routing.md](routing.md).
    #[config(nested)]
    pub(crate) routing: RoutingSettings,

    /// The cache of answers in this process.
    #[config(nested)]
    pub(crate) cache: CacheSettings,

    /// Where state is kept: feedback, flags, the router's settings, experiments, API keys. SQLite in `DATA_DIR` unless
    /// Postgres is named by `DATABASE_URL` or `POSTGRES_HOST`.
    #[config(nested)]
    pub(crate) database: DatabaseSettings,

    /// How feedback is kept, and for how long.
    #[config(nested)]
    pub(crate) feedback: FeedbackSettings,

    /// Where feature flags come from.
    #[config(nested)]
    pub(crate) flags: FlagSettings,

    /// How often the parts of the service are checked. Health endpoints answer from the latest check.
    #[config(nested)]
    pub(crate) health: HealthSettings,

    /// The model server that computes `distilbert` in place of this process: TorchServe, or any that speaks the Open
    /// Inference Protocol.
    #[config(nested)]
    pub(crate) remote: RemoteSettings,

    /// Redis, the cache that all replicas share. Unset `url` and `host`: each process has its own cache only.
    #[config(nested)]
    pub(crate) redis: RedisSettings,

    /// What is logged.
    #[config(nested)]
    pub(crate) log: LogSettings,

    /// Where traces go. Requests that come with a W3C `traceparent` become part of their caller's trace.
    #[config(nested)]
    pub(crate) trace: TraceSettings,
}

/// All settings where any may be missing; one per source.
pub(crate) type SettingsLayer = <Settings as Config>::Layer;

/// The configuration cannot be used. Found before a port is bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A value or a file does not parse.
    #[error("{0:#}")]
    Unreadable(confique::Error),
    /// The `.env` file does not parse.
    #[error("cannot read `{}`: {reason}", path.display())]
    DotEnv {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A variable of a feature flag cannot be understood.
    #[error(transparent)]
    Flags(#[from] VariableError),
    /// Values parse but cannot be used, alone or together.
    #[error("`{variable}`: {reason}")]
    Invalid {
        /// The environment variable that sets it.
        variable: &'static str,
        /// What was found and what was expected.
        reason: String,
    },
}

impl Settings {
    /// Checks what no field can check alone.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with the variable to change.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.auth.check()?;
        self.tls.check()?;
        self.models.check()?;
        self.routing.check()?;
        self.cache.check()?;
        self.database.check()?;
        self.flags.check()?;
        self.remote.check()?;
        self.flags.check()?;
        self.redis.client().map(drop)
    }

    /// Returns the settings of a server that is told nothing.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn defaults() -> Self {
        use confique::Layer;
        Self::from_layer(SettingsLayer::default_values()).expect("every setting that is needed has a default")
    }
}
