//! Which hosts take mail for a domain, and which of their addresses may be dialled.
//!
//! Invariant: we never dial ourselves, nor an address outside the public ranges that the configuration does not allow.
//! RFC 5321 §5.1 (order, implicit MX, a host among its own MXs), RFC 7505 (null MX).

use super::outcome::Outcome;
use crate::config::Config;
use crate::dns::{Addresses, Resolver};
use crate::envelope::EnhancedCode;
use crate::net::ranges::is_own;
use crate::verification::observed::{Answer, RecordData, RecordType};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, SocketAddr};

/// Hosts of one domain that are tried at most.
const HOSTS: usize = 5;
/// Addresses of one host that are tried at most.
const ADDRESSES: usize = 3;

/// The hosts that take mail for `domain`, the preferred first; or what that means for the message.
pub(super) async fn hosts(resolver: &Resolver, config: &Config, domain: &str) -> Result<Vec<String>, Outcome> {
    let answer = resolver.lookup(domain, RecordType::Mx).await;
    plan(&answer, domain, &[config.platform.hostname.as_str(), config.records.mx_host.as_str()])
}

fn plan(answer: &Answer, domain: &str, ourselves: &[&str]) -> Result<Vec<String>, Outcome> {
    let records = match answer {
        Answer::Found { records, .. } => records,
        Answer::NoRecord { nxdomain: true, .. } => {
            return Err(Outcome::bounced(EnhancedCode(5, 1, 2), format!("the domain {domain} does not exist")));
        }
        Answer::NoRecord { nxdomain: false, .. } if ourselves.contains(&domain) => return Err(loops_back(domain)),
        Answer::NoRecord { nxdomain: false, .. } => return Ok(vec![domain.to_owned()]),
        Answer::Indefinite { reason, .. } => {
            let text = format!("the DNS could not say which hosts take mail for {domain}: {reason}");
            return Err(Outcome::deferred(EnhancedCode(4, 4, 3), text));
        }
    };
    let mut hosts: Vec<(u16, &str)> = records
        .iter()
        .filter_map(|record| match record {
            RecordData::Mx { preference, exchange } => Some((*preference, exchange.as_str())),
            _ => None,
        })
        .collect();
    if hosts.iter().all(|(_, host)| *host == ".") {
        return Err(Outcome::bounced(EnhancedCode(5, 1, 10), format!("the domain {domain} takes no mail (null MX)")));
    }
    hosts.retain(|(_, host)| *host != ".");
    // Going to a host that is no better than ourselves would make a loop.
    if let Some(ours) = hosts.iter().filter(|(_, host)| ourselves.contains(host)).map(|(p, _)| *p).min() {
        hosts.retain(|(preference, _)| *preference < ours);
        if hosts.is_empty() {
            return Err(loops_back(domain));
        }
    }
    // Hosts of one preference share the load.
    let random = RandomState::new();
    hosts.sort_by_cached_key(|(preference, host)| (*preference, random.hash_one(host)));
    Ok(hosts.into_iter().take(HOSTS).map(|(_, host)| host.to_owned()).collect())
}

/// The domain's mail leads here, and we do not take it (yet).
fn loops_back(domain: &str) -> Outcome {
    let text = format!("the MX of {domain} is this host, which does not take its mail: is the domain verified?");
    Outcome::deferred(EnhancedCode(4, 4, 6), text)
}

/// The addresses of a host that may be dialled; or why none may.
pub(super) async fn addresses(resolver: &Resolver, config: &Config, host: &str) -> Result<Vec<SocketAddr>, Outcome> {
    let found = match resolver.addresses(host).await {
        Addresses::Found(found) => found,
        Addresses::None { .. } => {
            return Err(Outcome::bounced(EnhancedCode(5, 4, 4), format!("the host {host} has no address")));
        }
        Addresses::Indefinite(reason) => {
            let text = format!("the DNS could not say which addresses {host} has: {reason}");
            return Err(Outcome::deferred(EnhancedCode(4, 4, 3), text));
        }
    };
    let sockets = found.into_iter().map(|ip| SocketAddr::new(ip, config.queue.smtp_port));
    let (allowed, refused): (Vec<_>, Vec<_>) = sockets.partition(|socket| may_be_dialled(config, *socket));
    match refused.first() {
        Some(socket) if allowed.is_empty() => Err(if leads_here(config, *socket) || is_own(socket.ip()) {
            loops_back(host)
        } else {
            let text = format!("the host {host} has an address that is not on the internet: {}", socket.ip());
            Outcome::deferred(EnhancedCode(4, 4, 4), text)
        }),
        _ => Ok(allowed.into_iter().take(ADDRESSES).collect()),
    }
}

fn may_be_dialled(config: &Config, socket: SocketAddr) -> bool {
    config.queue.allow_networks.allows(socket.ip()) && !leads_here(config, socket)
}

/// True for the very socket our own MX server listens at.
fn leads_here(config: &Config, socket: SocketAddr) -> bool {
    let ip = socket.ip().to_canonical();
    config.smtp.mx.is_some_and(|server| {
        let same = |server: IpAddr| if server.is_unspecified() { is_own(ip) } else { server.to_canonical() == ip };
        server.port() == socket.port() && same(server.ip())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ranges::AllowedNetworks;
    use crate::verification::observed::Indefinite;
    use std::time::Duration;

    fn found(records: &[(u16, &str)]) -> Answer {
        Answer::Found {
            records: records
                .iter()
                .map(|(p, host)| RecordData::Mx { preference: *p, exchange: (*host).into() })
                .collect(),
            aliases: Vec::new(),
            ttl: Duration::ZERO,
            server: ([127, 0, 0, 1], 53).into(),
            authenticated: false,
        }
    }

    fn none(nxdomain: bool) -> Answer {
        let server = ([127, 0, 0, 1], 53).into();
        Answer::NoRecord { nxdomain, aliases: Vec::new(), negative_ttl: None, server }
    }

    fn planned(answer: &Answer) -> String {
        match plan(answer, "example.org", &["smtp.inboxlayer.dev"]) {
            Ok(hosts) => hosts.join(" "),
            Err(outcome) => format!("{} {}", outcome.word(), outcome.reply().status),
        }
    }

    #[test]
    fn mx_records_become_hosts_in_order() {
        assert_eq!(planned(&found(&[(20, "b"), (10, "a"), (30, "c")])), "a b c");
        assert_eq!(planned(&none(false)), "example.org", "implicit MX");
        assert_eq!(planned(&none(true)), "bounced 5.1.2");
        assert_eq!(planned(&found(&[(0, ".")])), "bounced 5.1.10");
        assert_eq!(planned(&found(&[(0, "."), (10, "a")])), "a", "not a null MX, and no host");
        assert_eq!(planned(&Answer::indefinite(Indefinite::ServFail, None)), "deferred 4.4.3");
        let many: Vec<_> = (1..=9).map(|p| (p, "x")).collect();
        assert_eq!(planned(&found(&many)), "x x x x x");
    }

    #[test]
    fn nobody_no_better_than_ourselves_is_tried() {
        assert_eq!(planned(&found(&[(10, "smtp.inboxlayer.dev")])), "deferred 4.4.6");
        assert_eq!(planned(&found(&[(10, "smtp.inboxlayer.dev"), (10, "b"), (20, "c")])), "deferred 4.4.6");
        assert!(plan(&none(false), "smtp.inboxlayer.dev", &["smtp.inboxlayer.dev"]).is_err(), "implicit MX");
        assert_eq!(planned(&found(&[(5, "a"), (10, "smtp.inboxlayer.dev"), (20, "c")])), "a");
    }

    #[test]
    fn hosts_of_one_preference_share_the_load() {
        let answer = found(&[(10, "a"), (10, "b")]);
        let seen: std::collections::HashSet<_> = (0..200).map(|_| planned(&answer)).collect();
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn our_own_door_is_never_dialled_and_private_addresses_only_when_allowed() {
        let mut config = Config::default();
        config.smtp.mx = Some(([127, 0, 0, 1], 2525).into());
        let dial = |config: &Config, text: &str| may_be_dialled(config, text.parse().unwrap());
        assert!(!dial(&config, "127.0.0.1:25") && !dial(&config, "10.0.0.1:25") && !dial(&config, "[::1]:25"));
        assert!(dial(&config, "8.8.8.8:25"));
        config.queue.allow_networks = AllowedNetworks::loopback();
        assert!(dial(&config, "127.0.0.1:25") && !dial(&config, "127.0.0.1:2525"));
        config.smtp.mx = Some(([0, 0, 0, 0], 25).into());
        assert!(!dial(&config, "127.0.0.1:25") && dial(&config, "127.0.0.1:26"));
    }
}
