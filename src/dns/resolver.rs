//! The configured recursive resolvers.
//!
//! Invariant: caches nothing; a resolver that gives no definite answer is passed over for the next one.

use super::exchange::{Manner, Role, ask};
use super::politeness::Politeness;
use crate::config;
use crate::domain::observed::{Answer, Indefinite, RecordType};
use crate::net::ranges::AllowedNetworks;
use futures_util::future::join_all;
use hickory_resolver::system_conf::read_system_conf;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// The system's resolvers could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// The system's configuration could not be read.
    #[error("the system's resolvers could not be read ({0}): name some under [dns] resolvers")]
    System(String),
    /// It names none.
    #[error("the system names no resolver: name some under [dns] resolvers")]
    None,
}

/// Asks the configured resolvers; clones share them.
#[derive(Clone, Debug)]
pub struct Resolver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    authoritative_port: u16,
    allowed: AllowedNetworks,
    politeness: Politeness,
}

/// The addresses of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// At least one.
    Found(Vec<IpAddr>),
    /// It definitely has none.
    None {
        /// The name does not exist at all.
        nxdomain: bool,
    },
    /// Nobody could say.
    Indefinite(Indefinite),
}

impl Resolver {
    /// The resolvers of the configuration, or else the system's.
    pub fn new(config: &config::Dns) -> Result<Self, ResolverError> {
        let mut servers = config.resolvers.clone();
        if servers.is_empty() {
            let (system, _) = read_system_conf().map_err(|e| ResolverError::System(e.to_string()))?;
            servers.extend(system.name_servers().iter().map(|server| {
                let port = server.connections.first().map_or(53, |connection| connection.port);
                SocketAddr::new(server.ip, port)
            }));
        }
        if servers.is_empty() {
            return Err(ResolverError::None);
        }
        Ok(Self(Arc::new(Inner {
            servers,
            timeout: config.timeout.0,
            authoritative_port: config.authoritative_port,
            allowed: config.allow_networks.clone(),
            politeness: Politeness::default(),
        })))
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.0.servers
    }

    pub(super) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(super) fn authoritative_port(&self) -> u16 {
        self.0.authoritative_port
    }

    pub(super) fn politeness(&self) -> &Politeness {
        &self.0.politeness
    }

    pub(super) fn allowed(&self) -> &AllowedNetworks {
        &self.0.allowed
    }

    /// The records of a type at a name, aliases followed: the first definite answer, the resolvers asked in order.
    pub async fn lookup(&self, name: &str, record_type: RecordType) -> Answer {
        let mut last = Answer::indefinite(Indefinite::NoServer, None);
        for server in &self.0.servers {
            last = ask(
                &self.0.politeness,
                *server,
                Role::Recursive,
                name,
                record_type,
                self.0.timeout,
                &Manner::default(),
            )
            .await;
            if last.is_definite() {
                break;
            }
        }
        last
    }

    /// What each resolver says, within the time-out, of a record that is signed: the root's name servers. One that validates
    /// vouches for it (the AD bit), asked just as it is in a check.
    pub async fn of_the_root(&self) -> Vec<(SocketAddr, Answer)> {
        let Inner { servers, timeout, politeness, .. } = &*self.0;
        join_all(servers.iter().map(|server| async move {
            let manner = Manner::default();
            let answer = ask(politeness, *server, Role::Recursive, ".", RecordType::Ns, *timeout, &manner);
            let late = |_| Answer::indefinite(Indefinite::Timeout, Some(*server));
            (*server, tokio::time::timeout(*timeout, answer).await.unwrap_or_else(late))
        }))
        .await
    }

    /// The addresses of a host, IPv4 before IPv6.
    pub async fn addresses(&self, host: &str) -> Addresses {
        let (v4, v6) = tokio::join!(self.lookup(host, RecordType::A), self.lookup(host, RecordType::Aaaa));
        let found: Vec<IpAddr> = [&v4, &v6].into_iter().flat_map(|a| a.records()).filter_map(|r| r.address()).collect();
        match (v4, v6) {
            _ if !found.is_empty() => Addresses::Found(found),
            (Answer::Indefinite { reason, .. }, _) | (_, Answer::Indefinite { reason, .. }) => {
                Addresses::Indefinite(reason)
            }
            (Answer::NoRecord { nxdomain, .. }, _) => Addresses::None { nxdomain },
            (Answer::Found { .. }, _) => Addresses::None { nxdomain: false },
        }
    }
}
