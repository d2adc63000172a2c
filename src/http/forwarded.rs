//! The client of a request behind a reverse proxy. Invariant: `X-Forwarded-For` is trusted only as far as trusted
//! proxies wrote it. Each proxy appends the address of its own peer, so anything before the last address that is not a
//! proxy's may be forged.

use crate::net::ranges::{Networks, is_public};
use axum::http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client of a request on a connection from `peer`.
pub(super) fn client_of(peer: IpAddr, headers: &HeaderMap, proxies: &Networks) -> IpAddr {
    if !proxies.contains(peer) {
        if headers.contains_key(FORWARDED_FOR) && !is_public(peer) {
            warn_once(peer);
        }
        return peer;
    }
    let mut client = peer;
    let values = headers.get_all(FORWARDED_FOR).iter().rev().map(|value| value.to_str().unwrap_or_default());
    for address in values.flat_map(|list| list.rsplit(',')).map(|text| address(text.trim())) {
        // An unreadable entry did not come from a well-configured proxy: its peer is the last address that is known.
        let Some(address) = address else { return client };
        client = address.to_canonical();
        if !proxies.contains(client) {
            return client;
        }
    }
    client
}

/// Some proxies append the port.
fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// Logs once the likely reason why all requests seem to come from one address.
fn warn_once(peer: IpAddr) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if !WARNED.swap(true, Ordering::Relaxed) {
        tracing::warn!(%peer, "X-Forwarded-For ignored: if {peer} is your proxy, add it to trusted_proxies");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_last_address_that_is_not_a_proxys() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let proxies = Networks::try_from(vec!["127.0.0.1".to_owned(), "10.0.0.0/8".to_owned()]).unwrap();
        for (peer, fields, client) in [
            ("127.0.0.1", &["203.0.113.9", "203.0.113.9, 192.0.2.1"][..], "192.0.2.1"),
            ("127.0.0.1", &["203.0.113.9,192.0.2.1, 10.1.1.1", "10.2.2.2"], "192.0.2.1"),
            ("::ffff:10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            // Nothing before an unreadable entry is trusted.
            ("127.0.0.1", &["192.0.2.1, garbage, 10.1.1.1"], "10.1.1.1"),
            ("127.0.0.1", &["192.0.2.1, "], "127.0.0.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["10.1.1.1"], "10.1.1.1"),
            // A peer that is not a proxy can claim anything.
            ("198.51.100.1", &["192.0.2.1"], "198.51.100.1"),
            ("127.0.0.2", &["192.0.2.1"], "127.0.0.2"),
        ] {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(FORWARDED_FOR, field.parse().unwrap());
            }
            assert_eq!(client_of(ip(peer), &headers, &proxies), ip(client), "{peer} {fields:?}");
        }
    }
}
