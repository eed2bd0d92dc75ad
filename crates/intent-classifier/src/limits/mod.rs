//! How much anybody may ask, counted in texts.
//!
//! Every process keeps its own count, and with Redis all replicas keep one together. Where Redis does not answer, the
//! own count decides: a lost Redis opens no gate. Knows callers and numbers, but no HTTP.

mod quota;
mod shared;
mod table;

use std::{net::IpAddr, sync::Arc, time::Duration};

use self::shared::SharedTable;
pub(crate) use self::{
    quota::{Exhausted, Quota, Standing},
    table::Table,
};
use crate::{cache::RedisConnection, config::LimitSettings};

/// Counts what everybody asks.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    of_caller: Option<Quota>,
    of_address: Option<Quota>,
    table: Table,
    shared: Option<SharedTable>,
}

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// All requests with tokens of one user.
    User(String),
    /// All requests with one API key.
    ApiKey(String),
    /// All requests from one address, of IPv6 from one /64.
    Address(IpAddr),
}

/// A limit that a request is under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    /// What is counted together.
    pub(crate) source: Source,
    /// How much of it there may be.
    pub(crate) quota: Quota,
}

/// A limit was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which.
    pub(crate) limit: Limit,
    /// How long to wait, and what is left.
    pub(crate) exhausted: Exhausted,
}

impl Source {
    /// Counts an address; those of one IPv6 network together, for one machine has all of them.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
            v4 => v4,
        })
    }

    /// Returns what is counted together, in words that begin a sentence.
    pub(crate) fn counted(&self) -> &'static str {
        match self {
            Self::User(_) => "a user",
            Self::ApiKey(_) => "an API key",
            Self::Address(_) => "an address",
        }
    }

    /// Returns the name of the limit in headers and metrics.
    pub(crate) fn scope(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::ApiKey(_) => "api_key",
            Self::Address(_) => "ip",
        }
    }
}

impl RateLimiter {
    /// Prepares for the settings.
    pub(crate) fn new(settings: &LimitSettings) -> Self {
        Self {
            of_caller: settings.per_minute.map(Quota::new),
            of_address: settings.ip_per_minute.map(Quota::new),
            table: Table::new(),
            shared: None,
        }
    }

    /// Counts together with all who use the same Redis.
    pub(crate) fn share_by(&mut self, redis: Arc<RedisConnection>, time_limit: Duration) {
        self.shared = Some(SharedTable::new(redis, time_limit));
    }

    /// Lists the limits that requests of a caller are under: his own, and that of his address.
    pub(crate) fn limits(&self, caller: Option<Source>, address: IpAddr) -> Vec<Limit> {
        let of_address = match &caller {
            Some(_) => self.of_address,
            None => self.of_address.or(self.of_caller),
        };
        let of_address = of_address.map(|quota| Limit { source: Source::address(address), quota });
        let of_caller = caller.zip(self.of_caller).map(|(source, quota)| Limit { source, quota });
        of_caller.into_iter().chain(of_address).collect()
    }

    /// Takes `texts` from each limit; returns what is left of each.
    ///
    /// # Errors
    /// [`Refused`] by the first limit that has not enough left.
    pub(crate) async fn take(&self, limits: &[Limit], texts: u32) -> Result<Vec<Standing>, Refused> {
        let mut standings = Vec::with_capacity(limits.len());
        for limit in limits {
            let taken = self.take_one(limit, texts).await;
            standings.push(taken.map_err(|exhausted| Refused { limit: limit.clone(), exhausted })?);
        }
        Ok(standings)
    }

    /// Asks the own count first: what it refuses, all together would refuse, too.
    async fn take_one(&self, limit: &Limit, texts: u32) -> Result<Standing, Exhausted> {
        let standing = self.table.take(&limit.source, limit.quota, texts)?;
        match &self.shared {
            None => Ok(standing),
            Some(shared) => shared.take(&limit.source, limit.quota, texts).await.unwrap_or(Ok(standing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(per_minute: Option<u32>, ip_per_minute: Option<u32>) -> RateLimiter {
        RateLimiter::new(&LimitSettings { per_minute, ip_per_minute })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        assert_eq!(Source::address(ip("2001:db8:0:1::1")), Source::address(ip("2001:db8:0:1:ffff::2")));
        assert_ne!(Source::address(ip("2001:db8:0:1::1")), Source::address(ip("2001:db8:0:2::1")));
        assert_eq!(Source::address(ip("::ffff:192.0.2.1")), Source::address(ip("192.0.2.1")));
        assert_ne!(Source::address(ip("192.0.2.1")), Source::address(ip("192.0.2.2")));
    }

    #[tokio::test]
    async fn a_user_has_one_allowance_from_everywhere_and_an_address_one_for_all_its_users() {
        let limiter = limiter(Some(10), Some(15));
        let of = |user: &str, address| limiter.limits(Some(Source::User(user.to_owned())), ip(address));
        assert!(limiter.take(&of("alice", "192.0.2.1"), 10).await.is_ok());
        let refused = limiter.take(&of("alice", "192.0.2.2"), 1).await.expect_err("alice has used hers up");
        assert_eq!(refused.limit.source.scope(), "user");
        assert!(limiter.take(&of("bob", "192.0.2.1"), 5).await.is_ok());
        let refused = limiter.take(&of("carol", "192.0.2.1"), 1).await.expect_err("the address has used its own up");
        assert_eq!(refused.limit.source.scope(), "ip");
    }

    #[test]
    fn who_shows_nothing_is_counted_by_address_and_without_limits_nobody_is() {
        let limiter_of_callers = limiter(Some(10), None);
        assert_eq!(limiter_of_callers.limits(None, ip("192.0.2.1")).len(), 1);
        assert!(limiter(None, None).limits(None, ip("192.0.2.1")).is_empty());
    }
}
