//! What everybody shares: places to work in and memory, and how they are divided between accounts and networks.
//!
//! Invariant: a place is held by the work itself, never by the future that waits for its result, so a cancelled caller
//! neither frees a place that is in use nor keeps one that is not.

pub mod fair;
pub mod fair_map;
pub mod reading;
pub mod work;

use crate::id::AccountId;
use std::net::IpAddr;

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
