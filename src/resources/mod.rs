//! Shared resources: places for work, memory and disk, and their shares by account and network.
//!
//! Invariant: a place is held by the work itself, never by the future that waits for its result, so a cancelled caller neither frees a
//! place in use nor keeps an unused one.

pub mod concurrency;
pub mod disk;
pub mod fair;
pub mod fair_map;
pub mod memory;
pub mod permits;
pub mod places;
pub mod rate;
pub mod reading;
pub mod spool;
pub mod uncancelled;
pub mod work;
pub mod write_timeout;

use crate::id::AccountId;
use crate::net::connections::network_of;
use std::net::IpAddr;
use std::sync::Arc;

/// On whose behalf a resource is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The daemon itself.
    System,
    /// A tenant.
    Account(AccountId),
    /// A client that is not logged in: an IPv4 address, or the first address of an IPv6 /64.
    Network(IpAddr),
}

/// A client: its network, and its account after log-in. Its use counts for both.
#[derive(Clone, Debug)]
pub struct Client(Arc<[Owner]>);

impl Client {
    /// Before log-in.
    pub fn new(address: IpAddr) -> Self {
        Self(Arc::new([Owner::Network(network_of(address))]))
    }

    /// An account without a connection.
    pub fn of_account(account: &AccountId) -> Self {
        Self(Arc::new([Owner::Account(account.clone())]))
    }

    /// The same after log-in.
    #[must_use]
    pub fn logged_in(&self, account: &AccountId) -> Self {
        let networks = self.0.iter().filter(|owner| matches!(owner, Owner::Network(_))).cloned();
        Self(networks.chain([Owner::Account(account.clone())]).collect())
    }

    /// The owner that its use counts for.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.0.iter()
    }
}
