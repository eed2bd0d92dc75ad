//! Models on a model server: one client, two protocols.
//!
//! [`RemoteClassifier`] is what the engine's router asks. It bounds each call in time and number, calls again only where
//! that is safe, and maps the answer to the intents by their names. What the bytes look like is the business of a
//! [`protocol::Protocol`].

mod archive;
mod check;
mod classifier;
mod client;
mod open_inference;
mod protocol;
#[cfg(test)]
mod tests;
mod token;
mod torchserve;
mod trace;

pub(crate) use self::{archive::Archive, check::ModelServerCheck, classifier::RemoteClassifier, client::RemoteClient};
