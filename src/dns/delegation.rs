//! The name servers of a zone: the delegation as the parent zone and the zone itself have it. Invariant: tenants
//! choose their name servers, so only public or allowed addresses are queried. The two sides may differ, since an old
//! provider is often left at the registrar; resolvers use either, so both are queried. If a zone's own servers are
//! dead, only the parent has the delegation, and it is used. RFC 1034 §4.2 (zone cuts and glue), §4.3.1; RFC 2181
//! §5.4.1 (the rank of a referral).

use super::exchange::{Delegate, Referral};
use super::queries::Queries;
use crate::verification::bounds::{ADDRESSES, SERVERS};
use crate::verification::judge::ZoneCut;
use crate::verification::observed::{Answer, RecordData, RecordType};
use futures_util::future::join_all;
use std::net::{IpAddr, SocketAddr};

/// Servers of the parent zone queried for the delegation, one after another, until one answers.
const ABOVE: usize = 2;

/// A name server of a zone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Responsible {
    pub(super) server: SocketAddr,
    /// The host name.
    pub(super) name: String,
}

/// A zone and its name servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Zone {
    /// Its apex and its parent; `None` if unknown.
    pub(super) cut: Option<ZoneCut>,
    /// Its servers; empty if the delegation cannot be followed, and only the resolvers' answers are left.
    pub(super) servers: Vec<Responsible>,
    /// Its hosts without an address that may be queried.
    pub(super) unheard: Vec<String>,
}

/// The NS records of a name, which make it a zone apex.
enum Hosts {
    Found(Vec<String>),
    /// Not a zone apex.
    None,
    /// Unknown: often a zone with dead servers.
    Indefinite,
}

impl Queries<'_> {
    /// The zone of a name and its servers. `registered` is the lowest possible apex above the name, unless the zone
    /// definitely does not exist.
    pub(super) async fn zone(&self, name: &str, record_type: RecordType, registered: &str) -> Zone {
        // A CNAME cannot exist at a zone apex (RFC 1034 §3.6.2), and the servers of a top-level domain have none of
        // the records we need.
        let first = usize::from(record_type == RecordType::Cname);
        let candidates: Vec<&str> = suffixes(name).skip(first).filter(|zone| zone.contains('.')).collect();
        let found = join_all(candidates.iter().map(|zone| async move { (*zone, self.name_servers(zone).await) })).await;
        // If it is unknown whether a zone begins here, the search stops: the parent has no records of it.
        match found.into_iter().find(|(_, hosts)| !matches!(hosts, Hosts::None)) {
            Some((zone, Hosts::Found(hosts))) => {
                let (above, referral) = self.delegated(zone).await;
                let referred = referral.to.into_iter().filter(|_| referral.zone == zone);
                self.zone_of(zone.to_owned(), above, hosts, referred.collect()).await
            }
            Some((zone, _)) => self.handed_on(zone, registered).await,
            None => {
                let (above, referral) = self.delegated(registered).await;
                let referred = referral.to.into_iter().filter(|_| referral.zone == registered);
                self.zone_of(registered.to_owned(), above, Vec::new(), referred.collect()).await
            }
        }
    }

    /// The zone of a name whose own servers do not answer, from the parent's delegation.
    async fn handed_on(&self, name: &str, registered: &str) -> Zone {
        let (above, Referral { zone, to, within }) = self.delegated(name).await;
        match above {
            Some(above) if !to.is_empty() => self.zone_of(zone, Some(above), Vec::new(), to).await,
            // Not delegated: the parent is the zone.
            Some(above) if within && above.len() >= registered.len() && above.contains('.') => {
                match self.name_servers(&above).await {
                    Hosts::Found(hosts) => self.zone_of(above, None, hosts, Vec::new()).await,
                    Hosts::None | Hosts::Indefinite => Zone::default(),
                }
            }
            _ => Zone::default(),
        }
    }

    /// A zone cut created since the resolvers' answer, from a referral by a server of the old zone.
    pub(super) async fn below(&self, name: &str, zone: &Zone, server: SocketAddr) -> Option<Zone> {
        let above = &zone.cut.as_ref()?.zone;
        let referral = self.refer(server, name).await;
        let lower = referral.zone.strip_suffix(above.as_str()).is_some_and(|rest| rest.ends_with('.'));
        if !lower || referral.to.is_empty() {
            return None;
        }
        Some(self.zone_of(referral.zone, Some(above.clone()), Vec::new(), referral.to).await)
    }

    /// Merges the servers of the parent's delegation and of the zone's own NS records.
    async fn zone_of(&self, zone: String, above: Option<String>, hosts: Vec<String>, to: Vec<Delegate>) -> Zone {
        // The parent's first, since resolvers start with them.
        let own = hosts.into_iter().map(|host| Delegate { host, glue: Vec::new() });
        let mut all: Vec<Delegate> = Vec::new();
        for one in to.into_iter().chain(own) {
            match all.iter_mut().find(|known| known.host == one.host) {
                Some(known) => known.glue.extend(one.glue),
                None => all.push(one),
            }
        }
        all.truncate(SERVERS);
        let at =
            all.into_iter().map(|Delegate { host, glue }| async move { (self.at(host.clone(), glue).await, host) });
        let at = join_all(at).await;
        let unheard = at.iter().filter(|(found, _)| found.is_empty()).map(|(_, host)| host.clone()).collect();
        // One address of each host before a second of any, so that every host is queried.
        let mut servers: Vec<Responsible> = Vec::new();
        for round in 0..ADDRESSES {
            for one in at.iter().filter_map(|(found, _)| found.get(round)) {
                if servers.len() < SERVERS && !servers.iter().any(|known| known.server == one.server) {
                    servers.push(one.clone());
                }
            }
        }
        servers.sort();
        Zone { cut: Some(ZoneCut { zone, above }), servers, unheard }
    }

    /// The NS records at the name, if it is a zone apex.
    async fn name_servers(&self, zone: &str) -> Hosts {
        let host = |record: &RecordData| match record {
            RecordData::Ns(host) => Some(host.clone()),
            _ => None,
        };
        match &self.find_out(zone, RecordType::Ns).await {
            Answer::Found { records, aliases, .. } if aliases.is_empty() => {
                Hosts::Found(records.iter().filter_map(host).collect())
            }
            Answer::Found { .. } | Answer::NoRecord { .. } => Hosts::None,
            Answer::Indefinite { .. } => Hosts::Indefinite,
        }
    }

    /// The closest enclosing zone with name servers, and their referral for `zone`.
    async fn delegated(&self, zone: &str) -> (Option<String>, Referral) {
        for above in suffixes(zone).skip(1) {
            let Hosts::Found(hosts) = self.name_servers(above).await else { continue };
            for host in hosts.into_iter().take(ABOVE) {
                for Responsible { server, .. } in self.at(host, Vec::new()).await.into_iter().take(1) {
                    let referral = self.refer(server, zone).await;
                    if referral.within || !referral.to.is_empty() {
                        return (Some(above.to_owned()), referral);
                    }
                }
            }
            return (Some(above.to_owned()), Referral::default());
        }
        (None, Referral::default())
    }

    /// A host with each address that may be queried. Glue is used only if nothing else is known.
    async fn at(&self, host: String, glue: Vec<IpAddr>) -> Vec<Responsible> {
        let (v4, v6) = tokio::join!(self.find_out(&host, RecordType::A), self.find_out(&host, RecordType::Aaaa));
        let addresses = |answer: &Answer| answer.records().iter().filter_map(RecordData::address).collect::<Vec<_>>();
        // Alternate between the address families.
        let mut found = in_turn(addresses(&v4), addresses(&v6));
        if found.is_empty() {
            found = in_turn(glue.iter().copied().filter(IpAddr::is_ipv4), glue.iter().copied().filter(IpAddr::is_ipv6));
        }
        let allowed = self.resolver.allowed();
        let (open, inside): (Vec<_>, Vec<_>) = found.into_iter().partition(|ip| allowed.allows(*ip));
        if !inside.is_empty() {
            tracing::debug!(host, inside = inside.len(), "name server not queried: its address is not public");
        }
        let port = self.resolver.authoritative_port();
        open.into_iter()
            .take(ADDRESSES)
            .map(|ip| Responsible { server: (ip, port).into(), name: host.clone() })
            .collect()
    }
}

/// Interleaves two lists, then appends the rest of the longer one.
fn in_turn<T>(one: impl IntoIterator<Item = T>, other: impl IntoIterator<Item = T>) -> Vec<T> {
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    std::iter::from_fn(|| match (one.next(), other.next()) {
        (None, None) => None,
        pair => Some([pair.0, pair.1].into_iter().flatten()),
    })
    .flatten()
    .collect()
}

/// A name and its parents, without the root.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    starts.filter_map(move |at| name.get(at..))
}
