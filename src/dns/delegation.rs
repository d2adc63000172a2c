//! Who is responsible for a name: the delegation, as the zone above has it and as the zone itself has it.
//!
//! Invariant: tenants choose their name servers, so only those are asked whose addresses are public or allowed. What the
//! two sides say may differ, since an old provider is often left behind at the registrar; resolvers use either, so both
//! are asked. RFC 1034 §4.2 (zone cuts and glue), §4.3.1; RFC 2181 §5.4.1 (what a referral is worth).

use super::asked::Asked;
use super::exchange::Referral;
use crate::domain::observed::{Answer, RecordData, RecordType};
use futures_util::future::join_all;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Name servers of one zone that are asked; more are rare, and add nothing.
const SERVERS: usize = 8;
/// Of each, addresses: one or two per family.
const ADDRESSES: usize = 4;
/// Servers of the zone above that are asked for the delegation, one after another, until one says.
const ABOVE: usize = 2;

/// A server that is responsible for a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Responsible {
    /// Where it is asked.
    pub(super) server: SocketAddr,
    /// The name of the host.
    pub(super) name: String,
}

impl Asked<'_> {
    /// The servers of the zone a name is in. None where the delegation cannot be followed: the resolvers' word has to do
    /// then. `registered` is where that zone begins at the latest.
    pub(super) async fn responsible(&self, name: &str, record_type: RecordType, registered: &str) -> Vec<Responsible> {
        // A CNAME cannot stand where a zone begins (RFC 1034 §3.6.2). And a top-level domain's servers hold nothing of
        // what we ask.
        let first = usize::from(record_type == RecordType::Cname);
        let candidates: Vec<&str> = suffixes(name).skip(first).filter(|zone| zone.contains('.')).collect();
        let found = join_all(candidates.iter().map(|zone| async move { (*zone, self.name_servers(zone).await) })).await;
        let cut = found.into_iter().find(|(_, hosts)| !hosts.is_empty());
        let (zone, hosts) = cut.unwrap_or((registered, Vec::new()));
        let mut all: BTreeMap<String, Vec<IpAddr>> = hosts.into_iter().map(|host| (host, Vec::new())).collect();
        for Referral { host, glue } in self.delegated(zone).await {
            all.entry(host).or_default().extend(glue);
        }
        let servers = all.into_iter().take(SERVERS).map(|(host, glue)| self.at(host, glue));
        let mut servers: Vec<Responsible> = join_all(servers).await.into_iter().flatten().collect();
        servers.sort();
        servers.dedup_by(|a, b| a.server == b.server);
        servers
    }

    /// The hosts that the zone itself names, when a zone begins at this name.
    async fn name_servers(&self, zone: &str) -> Vec<String> {
        let answer = self.find_out(zone, RecordType::Ns).await;
        let host = |record: &RecordData| match record {
            RecordData::Ns(host) => Some(host.clone()),
            _ => None,
        };
        match &answer {
            Answer::Found { records, aliases, .. } if aliases.is_empty() => records.iter().filter_map(host).collect(),
            _ => Vec::new(),
        }
    }

    /// Where the zone above sends those who ask for a zone.
    async fn delegated(&self, zone: &str) -> Vec<Referral> {
        for above in suffixes(zone).skip(1) {
            let hosts = self.name_servers(above).await;
            if hosts.is_empty() {
                continue;
            }
            for host in hosts.into_iter().take(ABOVE) {
                for Responsible { server, .. } in self.at(host, Vec::new()).await.into_iter().take(1) {
                    let referrals = self.refer(server, zone).await;
                    if !referrals.is_empty() {
                        return referrals;
                    }
                }
            }
            break;
        }
        Vec::new()
    }

    /// A host at each of its addresses where it may be asked. Glue serves where nothing else is known.
    async fn at(&self, host: String, glue: Vec<IpAddr>) -> Vec<Responsible> {
        let (v4, v6) = tokio::join!(self.find_out(&host, RecordType::A), self.find_out(&host, RecordType::Aaaa));
        let mut found: Vec<IpAddr> =
            [&v4, &v6].into_iter().flat_map(|answer| answer.records()).filter_map(RecordData::address).collect();
        if found.is_empty() {
            found = glue;
        }
        let allowed = self.resolver.allowed();
        let (open, inside): (Vec<_>, Vec<_>) = found.into_iter().take(ADDRESSES).partition(|ip| allowed.allows(*ip));
        if !inside.is_empty() {
            tracing::debug!(host, ?inside, "a name server is not asked: its address is not public");
        }
        let port = self.resolver.authoritative_port();
        open.into_iter().map(|ip| Responsible { server: (ip, port).into(), name: host.clone() }).collect()
    }
}

/// A name and all that it is in, but for the root.
fn suffixes(name: &str) -> impl Iterator<Item = &str> {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    starts.filter_map(move |at| name.get(at..))
}
