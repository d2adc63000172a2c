//! How many connections one remote address gets at once, for any number of domains.
//!
//! Invariant: at most [`CONNECTIONS_PER_ADDRESS`] to one address (an IPv6 /64 counts as one), shared out by account.
//! A delivery waiting for one holds a slot of the queue, so waits are short.

use crate::id::AccountId;
use crate::net::connections::network_of;
use crate::resources::fair::Permit;
use crate::resources::fair_map::FairSemaphores;
use crate::smtp_client::CONNECTIONS_PER_ADDRESS;
use std::net::IpAddr;
use std::time::Duration;

/// How long an attempt waits for one.
const WAIT: Duration = Duration::from_secs(5);

/// The places for connections to all addresses.
#[derive(Debug)]
pub(super) struct AddressLimits(FairSemaphores<IpAddr, AccountId>);

impl Default for AddressLimits {
    fn default() -> Self {
        Self(FairSemaphores::new(CONNECTIONS_PER_ADDRESS, CONNECTIONS_PER_ADDRESS))
    }
}

impl AddressLimits {
    /// A place for a connection, for as long as it is held; none where others keep them all.
    pub async fn to(&self, address: IpAddr, account: &AccountId) -> Option<Permit<AccountId>> {
        let place = self.0.acquire(network_of(address), account.clone());
        tokio::time::timeout(WAIT, place).await.ok().flatten()
    }
}
