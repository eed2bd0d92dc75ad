//! Who sent a request, and from where.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use axum::http::HeaderMap;

use crate::{
    auth::{Authenticated, Identity, Scope, Scopes},
    config::Network,
    limits::Source,
};

/// The other end of the connection; an extension of every request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who sent a request; an extension of every request that reaches a handler.
///
/// Shown (`Display`), it is what audit trails hold: `token:alice`, `api_key:desk (0199d2f4-…)` or
/// `anonymous@127.0.0.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    kind: CallerKind,
    scopes: Scopes,
    source: IpAddr,
}

/// How somebody was identified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallerKind {
    /// Not at all: authentication is off, or the path is open.
    Anonymous,
    /// By a token or an API key.
    Known(Identity),
}

/// The most addresses that are read of `X-Forwarded-For`.
const MAX_HOPS: usize = 32;

impl Caller {
    /// Makes a caller who showed nothing.
    pub(super) fn anonymous(source: IpAddr, scopes: Scopes) -> Self {
        Self { kind: CallerKind::Anonymous, scopes, source }
    }

    /// Makes a caller whose proof was good.
    pub(super) fn known(source: IpAddr, authenticated: Authenticated) -> Self {
        let Authenticated { identity, scopes } = authenticated;
        Self { kind: CallerKind::Known(identity), scopes, source }
    }

    /// Tells whether he may do something.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.scopes.permit(scope)
    }

    /// Returns where the request came from.
    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    /// Returns what his requests are counted as, when he showed who he is.
    pub(super) fn counted_as(&self) -> Option<Source> {
        match &self.kind {
            CallerKind::Anonymous => None,
            CallerKind::Known(Identity::Token { subject }) => Some(Source::User(String::from(&**subject))),
            CallerKind::Known(Identity::ApiKey { id, .. }) => Some(Source::ApiKey(id.to_string())),
        }
    }

    /// Returns whom the request is for: the subject of the token, else who the body says.
    pub(crate) fn user_id(&self, of_body: Option<String>) -> Option<String> {
        match &self.kind {
            CallerKind::Known(Identity::Token { subject }) => Some(String::from(&**subject)),
            // A key is a program's, which asks for many users.
            CallerKind::Known(Identity::ApiKey { .. }) | CallerKind::Anonymous => of_body,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            CallerKind::Anonymous => write!(f, "anonymous@{}", self.source),
            CallerKind::Known(Identity::Token { subject }) => write!(f, "token:{subject}"),
            CallerKind::Known(Identity::ApiKey { id, name }) => write!(f, "api_key:{name} ({id})"),
        }
    }
}

/// Returns where a request came from: the other end of the connection or, when that is a trusted proxy, the last address
/// in `X-Forwarded-For` that no trusted proxy has. What stands before it anybody can have written.
pub(super) fn source(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut source = peer.to_canonical();
    if !is_trusted(source) {
        return source;
    }
    let values: Vec<&str> =
        headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or_default()).collect();
    for hop in values.iter().rev().flat_map(|value| value.rsplit(',')).take(MAX_HOPS) {
        let Some(address) = parse(hop.trim()) else { break };
        source = address;
        if !is_trusted(source) {
            break;
        }
    }
    source
}

/// Reads an address with or without a port, as proxies write it.
fn parse(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse().ok().map(|address: SocketAddr| address.ip());
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    hop.parse().ok().or_else(with_port).or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn from(peer: &str, forwarded: &[&'static str]) -> String {
        let trusted = ["10.0.0.0/8".parse().expect("a network"), "fd00::/8".parse().expect("a network")];
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_static(value));
        }
        source(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            // What the client wrote itself stands first, and is not read.
            ("10.0.0.1", &["1.2.3.4, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["1.2.3.4", "198.51.100.7, 10.9.9.9"], "198.51.100.7"),
            ("10.0.0.1", &["1.2.3.4, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ("fd00::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("fd00::1", &["198.51.100.7:80"], "198.51.100.7"),
            ("fd00::1", &["[2001:db8::1]"], "2001:db8::1"),
        ] {
            assert_eq!(from(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
