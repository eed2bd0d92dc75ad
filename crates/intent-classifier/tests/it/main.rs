//! The program as its users meet it: the real binary, over HTTP and on the command line.

mod architecture;
mod bad_input;
mod classify;
mod commands;
mod configuration;
mod documents;
mod drain;
mod health;
mod program;
mod real;
mod server;
mod training;
