//! What everybody shares: places to work in and memory, and how they are divided between accounts and networks.
//!
//! Invariant: a place is held by the work itself, never by the future that waits for its result, so a cancelled caller
//! neither frees a place that is in use nor keeps one that is not.

pub mod concurrency;
pub mod disk;
pub mod fair;
pub mod fair_map;
pub mod memory;
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

/// On whose behalf something is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// The daemon itself.
    System,
    /// A tenant.
    Account(AccountId),
    /// A client that is not logged in: an IPv4 address, or the first address of an IPv6 /64.
    Network(IpAddr),
}

/// A client: its network, and its account once it has logged in. What it uses counts for both.
#[derive(Clone, Debug)]
pub struct Client(Arc<[Owner]>);

impl Client {
    /// One that has not logged in.
    pub fn new(address: IpAddr) -> Self {
        Self(Arc::new([Owner::Network(network_of(address))]))
    }

    /// An account whose work is done without a connection.
    pub fn of_account(account: &AccountId) -> Self {
        Self(Arc::new([Owner::Account(account.clone())]))
    }

    /// The same after its log-in.
    #[must_use]
    pub fn logged_in(&self, account: &AccountId) -> Self {
        let networks = self.0.iter().filter(|owner| matches!(owner, Owner::Network(_))).cloned();
        Self(networks.chain([Owner::Account(account.clone())]).collect())
    }

    /// For whom its use is counted.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.0.iter()
    }
}
