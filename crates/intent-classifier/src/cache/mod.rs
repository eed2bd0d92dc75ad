//! The cache that all replicas share, in Redis.
//!
//! ```text
//! {intent-classifier:1}:answers:<digest of the text>   hash: digest of everything else an answer depends on -> answer
//! {intent-classifier:1}:corrections                    stream: digests of texts whose answers are to be forgotten
//! ```
//!
//! Texts themselves never go to Redis. All answers to one text are in one hash, so that a correction deletes one key; the
//! time to live is that of the hash and runs from its first answer. The number is the version of this layout.

mod answer;
mod answers;
mod check;
mod connection;
mod corrections;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    answers::RedisCache,
    check::RedisCheck,
    connection::{RedisConnection, once as ping},
    corrections::Corrections,
};

use intent_engine::TextDigest;

/// The braces keep the keys of a cluster together.
const PREFIX: &str = "{intent-classifier:1}";

/// Writes bytes as hexadecimal digits.
fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        use std::fmt::Write;
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}

fn answers_key(text: &TextDigest) -> String {
    format!("{PREFIX}:answers:{}", hexadecimal(text.as_bytes()))
}

fn corrections_key() -> String {
    format!("{PREFIX}:corrections")
}
