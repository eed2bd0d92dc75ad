//! Where the server listens, and how it starts and stops.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use confique::Config;

use super::{Network, Origin};

/// Where the server listens, and how it starts and stops.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct ServerSettings {
    /// Address to listen on. `0.0.0.0` or `::` for every interface.
    #[config(env = "HOST", default = "127.0.0.1")]
    pub(crate) host: IpAddr,

    /// Port to listen on. 0 takes any free one; the log says which.
    #[config(env = "PORT", default = 8001)]
    pub(crate) port: u16,

    /// Proxies that are believed when they say in `X-Forwarded-For` who asks: networks such as `10.0.0.0/8` or addresses,
    /// in the variable separated by commas.
    #[config(env = "TRUSTED_PROXIES", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub(crate) trusted_proxies: Vec<Network>,

    /// Origins whose pages may call from a browser, such as `https://console.example`; in the variable separated by
    /// commas. None by default; `*` for any.
    #[config(env = "CORS_ALLOWED_ORIGINS", default = [], parse_env = confique::env::parse::list_by_comma)]
    pub(crate) cors_allowed_origins: Vec<Origin>,

    /// Most connections at a time; more wait to be taken.
    #[config(env = "MAX_CONNECTIONS", default = 10000)]
    #[config(validate((1..=1_000_000).contains(max_connections), "there must be 1 to 1000000 connections"))]
    pub(crate) max_connections: usize,

    /// How long a connection may be without a request, in milliseconds: before its first, within the head of one, or
    /// between two. Set it above the idle time of a proxy in front.
    #[config(env = "IDLE_TIMEOUT_MS", default = 75000)]
    #[config(validate(*idle_timeout_ms > 0, "the idle time must be above 0"))]
    pub(crate) idle_timeout_ms: u64,

    /// How long a request may take, in milliseconds, from its first byte to its answer.
    #[config(env = "REQUEST_TIMEOUT_MS", default = 10000)]
    #[config(validate(*request_timeout_ms > 0, "the time limit of a request must be above 0"))]
    pub(crate) request_timeout_ms: u64,

    /// How long after the stop signal new connections are still taken, in milliseconds, while `/health/ready` already
    /// answers 503. Set it to a few seconds behind a load balancer.
    #[config(env = "DRAIN_DELAY_MS", default = 0)]
    pub(crate) drain_delay_ms: u64,

    /// How long requests in flight may take to finish, in milliseconds, before the process ends without them.
    #[config(env = "DRAIN_TIMEOUT_MS", default = 20000)]
    pub(crate) drain_timeout_ms: u64,
}

impl ServerSettings {
    /// Returns where to listen.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }

    /// Returns how long a request may take.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// Returns how long a connection may be without a request.
    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms)
    }

    /// Returns how long new connections are taken while draining.
    pub(crate) fn drain_delay(&self) -> Duration {
        Duration::from_millis(self.drain_delay_ms)
    }

    /// Returns how long requests in flight may take to finish.
    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}
