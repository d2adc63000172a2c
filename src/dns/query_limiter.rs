//! Limits concurrent queries to a name server over all domains: many customers use the same few providers.
//!
//! Invariant: concurrent queries to one address are limited by its role and shared by account, and one account leaves
//! capacity at a resolver to others; waiting counts against the deadline of the observation, so that an overloaded
//! server yields no answer rather than a wrong one.

use crate::resources::Owner;
use crate::resources::fair::Permit;
use crate::resources::fair_map::FairSemaphores;
use std::net::IpAddr;
use std::sync::Arc;

/// Concurrent queries to an authoritative server.
const AUTHORITATIVE: usize = 8;
/// Concurrent queries to a resolver, which is ours, and slowed by others' broken zones.
const RECURSIVE: usize = 256;
/// The part of these available to one account.
const RECURSIVE_PER_ACCOUNT: usize = 128;

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Role {
    /// A recursive resolver (RD set).
    Recursive,
    /// A recursive resolver with checking disabled (CD set, RFC 4035 §3.2.2).
    Unvalidated,
    /// An authoritative server of the name (RD clear, AA required).
    Authoritative,
}

/// Query permits for all servers, on behalf of an owner.
#[derive(Clone, Debug)]
pub(super) struct QueryLimiter {
    owner: Owner,
    semaphores: Arc<Semaphores>,
}

#[derive(Debug)]
struct Semaphores {
    authoritative: FairSemaphores<IpAddr, Owner>,
    recursive: FairSemaphores<IpAddr, Owner>,
    unvalidated: FairSemaphores<IpAddr, Owner>,
}

impl Default for QueryLimiter {
    fn default() -> Self {
        let recursive = || FairSemaphores::new(RECURSIVE, RECURSIVE_PER_ACCOUNT);
        let semaphores = Semaphores {
            authoritative: FairSemaphores::new(AUTHORITATIVE, AUTHORITATIVE),
            recursive: recursive(),
            unvalidated: recursive(),
        };
        Self { owner: Owner::System, semaphores: Arc::new(semaphores) }
    }
}

impl QueryLimiter {
    /// The same permits on behalf of another owner.
    pub(super) fn on_behalf_of(&self, owner: Owner) -> Self {
        Self { owner, semaphores: Arc::clone(&self.semaphores) }
    }

    /// Waits for a permit, which is held until dropped.
    pub(super) async fn acquire(&self, server: IpAddr, role: Role) -> Option<Permit<Owner>> {
        let semaphores = match role {
            Role::Authoritative => &self.semaphores.authoritative,
            Role::Recursive => &self.semaphores.recursive,
            Role::Unvalidated => &self.semaphores.unvalidated,
        };
        // Never closed.
        semaphores.acquire(server.to_canonical(), self.owner.clone()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::exchange::{QueryOptions, ask};
    use crate::id::AccountId;
    use crate::verification::observed::RecordType;
    use futures_util::FutureExt;
    use hickory_resolver::proto::op::{Message, MessageType};
    use std::net::Ipv4Addr;
    use std::time::Duration;
    use tokio::net::UdpSocket;

    #[tokio::test]
    async fn concurrent_queries_to_a_server_are_limited() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = socket.local_addr().unwrap();
        // It holds queries until no more arrive, and only then answers them.
        let keeper = tokio::spawn(async move {
            let (mut waiting, mut peak, mut answered) = (Vec::new(), 0, 0);
            let mut buffer = [0; 512];
            while answered < 40 {
                let quiet = Duration::from_millis(200);
                match tokio::time::timeout(quiet, socket.recv_from(&mut buffer)).await {
                    Ok(received) => {
                        let (length, peer) = received.unwrap();
                        waiting.push((Message::from_vec(&buffer[..length]).unwrap(), peer));
                        peak = peak.max(waiting.len());
                    }
                    Err(_) => {
                        for (mut message, peer) in waiting.drain(..) {
                            message.metadata.message_type = MessageType::Response;
                            message.metadata.authoritative = true;
                            socket.send_to(&message.to_vec().unwrap(), peer).await.unwrap();
                            answered += 1;
                        }
                    }
                }
            }
            peak
        });
        let limiter = QueryLimiter::default();
        let questions = (0..40).map(|i| {
            let (limiter, timeout) = (&limiter, Duration::from_secs(30));
            let name = format!("d{i}.test");
            async move {
                ask(limiter, server, Role::Authoritative, &name, RecordType::Txt, timeout, &QueryOptions::default())
                    .await
            }
        });
        let answers = futures_util::future::join_all(questions).await;
        assert!(answers.iter().all(|answer| answer.is_definite()), "{answers:?}");
        let peak = keeper.await.unwrap();
        assert!((2..=AUTHORITATIVE).contains(&peak), "{peak} at once");
    }

    #[tokio::test]
    async fn an_account_with_unanswered_queries_leaves_resolver_permits_to_others() {
        let limiter = QueryLimiter::default();
        let account = || limiter.on_behalf_of(Owner::Account(AccountId::new()));
        let (slow, other, third) = (account(), account(), account());
        let resolver = Ipv4Addr::LOCALHOST.into();
        // More than the limit; those beyond its share wait.
        let mut requests: Vec<_> =
            (0..2 * RECURSIVE).map(|_| Box::pin(slow.acquire(resolver, Role::Recursive))).collect();
        let mut held: Vec<_> = requests.iter_mut().filter_map(|permit| permit.now_or_never()).collect();
        assert_eq!(held.len(), RECURSIVE_PER_ACCOUNT);
        for _ in 0..RECURSIVE - RECURSIVE_PER_ACCOUNT {
            held.push(other.acquire(resolver, Role::Recursive).now_or_never().expect("a free permit"));
        }
        // With all permits in use, the next goes to the account that has none.
        let mut next = Box::pin(third.acquire(resolver, Role::Recursive));
        assert!((&mut next).now_or_never().is_none());
        drop(held.pop());
        assert!(next.now_or_never().is_some());
    }
}
