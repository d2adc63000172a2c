//! The configured recursive resolvers. Invariant: caches nothing; after an indefinite answer the next resolver is
//! queried.

use super::exchange::{QueryOptions, ask};
use super::query_limiter::{QueryLimiter, Role};
use crate::config;
use crate::id::AccountId;
use crate::net::ranges::AllowedNetworks;
use crate::resources::Owner;
use crate::verification::observed::{Answer, Indefinite, RecordType};
use futures_util::future::join_all;
use hickory_resolver::system_conf::read_system_conf;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    #[error("cannot read the system's resolvers ({0}): set [dns] resolvers")]
    System(String),
    #[error("the system has no resolvers configured: set [dns] resolvers")]
    None,
}

/// A client of the configured resolvers; clones share it.
#[derive(Clone, Debug)]
pub struct Resolver {
    inner: Arc<Inner>,
    limiter: QueryLimiter,
}

#[derive(Debug)]
struct Inner {
    servers: Vec<SocketAddr>,
    timeout: Duration,
    authoritative_port: u16,
    allowed: AllowedNetworks,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// At least one.
    Found(Vec<IpAddr>),
    /// It definitely has none.
    None { nxdomain: bool },
    /// Unknown.
    Indefinite(Indefinite),
}

impl Resolver {
    /// The configured resolvers, or else the system's.
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
        let inner = Arc::new(Inner {
            servers,
            timeout: config.timeout.0,
            authoritative_port: config.authoritative_port,
            allowed: config.allow_networks.clone(),
        });
        Ok(Self { inner, limiter: QueryLimiter::default() })
    }

    /// The same resolvers with queries charged to an account: accounts share the query limit of each server.
    pub fn on_behalf_of(&self, account: &AccountId) -> Self {
        let limiter = self.limiter.on_behalf_of(Owner::Account(account.clone()));
        Self { inner: Arc::clone(&self.inner), limiter }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.inner.servers
    }

    pub(super) fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    pub(super) fn authoritative_port(&self) -> u16 {
        self.inner.authoritative_port
    }

    pub(super) fn limiter(&self) -> &QueryLimiter {
        &self.limiter
    }

    pub(super) fn allowed(&self) -> &AllowedNetworks {
        &self.inner.allowed
    }

    /// The records of a type at a name, aliases followed: the first definite answer, resolvers in order.
    pub async fn lookup(&self, name: &str, record_type: RecordType) -> Answer {
        let mut last = Answer::indefinite(Indefinite::NoServer, None);
        for server in &self.inner.servers {
            last = ask(
                &self.limiter,
                *server,
                Role::Recursive,
                name,
                record_type,
                self.inner.timeout,
                &QueryOptions::default(),
            )
            .await;
            if last.is_definite() {
                break;
            }
        }
        last
    }

    /// Each resolver's answer for the root's NS records, which are signed: a validating resolver sets AD. Queried
    /// exactly as in a check.
    pub async fn of_the_root(&self) -> Vec<(SocketAddr, Answer)> {
        let Inner { servers, timeout, .. } = &*self.inner;
        let limiter = &self.limiter;
        join_all(servers.iter().map(|server| async move {
            let options = QueryOptions::default();
            let answer = ask(limiter, *server, Role::Recursive, ".", RecordType::Ns, *timeout, &options);
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
