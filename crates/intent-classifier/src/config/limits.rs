//! How much anybody may ask.

use confique::Config;

/// How much anybody may ask, counted in texts: a batch of 10 counts 10.
#[derive(Clone, Debug, Config)]
#[config(layer_attr(derive(Clone, Debug, serde::Serialize)))]
#[config(layer_attr(serde(deny_unknown_fields)))]
pub(crate) struct LimitSettings {
    /// Texts a minute of one user (token), one API key or, of callers who show neither, one address. Unset: no limit.
    #[config(env = "RATE_LIMIT_PER_MINUTE")]
    #[config(validate((1..=60_000_000).contains(per_minute), "the limit must be 1 to 60000000; unset it for none"))]
    pub(crate) per_minute: Option<u32>,

    /// Texts a minute of one address, whoever asks from there; IPv6 addresses count by /64. Unset: no limit but the one
    /// above.
    #[config(env = "RATE_LIMIT_IP_PER_MINUTE")]
    #[config(validate((1..=60_000_000).contains(ip_per_minute), "the limit must be 1 to 60000000; unset it for none"))]
    pub(crate) ip_per_minute: Option<u32>,
}
