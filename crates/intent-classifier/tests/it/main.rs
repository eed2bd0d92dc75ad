//! The program as its users meet it: the real binary, over HTTP and on the command line.

mod alerts;
mod architecture;
mod authentication;
mod bad_input;
mod classify;
mod commands;
mod configuration;
mod dashboards;
mod documents;
mod drain;
mod exposition;
mod health;
mod metrics;
mod program;
mod prometheus;
mod promql;
mod rate_limits;
mod real;
mod server;
mod suspicious_inputs;
mod token;
mod training;
mod transport;
