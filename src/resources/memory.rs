//! A budget of octets with shares by account and network: memory for messages, commands, bodies and responses, and disk for the
//! spool.
//!
//! Invariant: claims never exceed the budget, nor an account's or a network's share; large claims leave the reserve to small ones. A
//! claim is held by its data ([`Buffer`], and the [`Bytes`] made from it), so it is released with the octets.

use super::{Client, Owner};
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Uncounted octets of a claim, which every connection needs. The number of connections is limited.
pub const UNCOUNTED: usize = 8 * 1024;
/// A claim of up to this many octets may use the reserve.
pub const SMALL: usize = 256 * 1024;

/// The size of a budget, and the shares of one client.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// A quarter is the reserve for small claims.
    pub total: usize,
    /// For one account.
    pub per_account: usize,
    /// For one network.
    pub per_network: usize,
    /// The configuration keys of these three, for error texts.
    pub keys: [&'static str; 3],
}

/// The budget or a share is exhausted; temporary. 452 4.3.1, `NO [UNAVAILABLE]`, 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is used up")]
pub struct NoRoom(
    /// The key of the limit.
    pub &'static str,
);

/// A budget; clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shares: Shares,
    used: Mutex<Used>,
    given_back: Notify,
}

#[derive(Debug, Default)]
struct Used {
    total: usize,
    by_owner: HashMap<Owner, usize>,
}

impl MemoryBudget {
    pub fn new(shares: Shares) -> Self {
        Self(Arc::new(Inner { shares, used: Mutex::default(), given_back: Notify::new() }))
    }

    /// An empty claim.
    pub fn claim(&self, client: &Client) -> Claim {
        Claim { budget: self.clone(), client: client.clone(), counted: 0 }
    }

    /// True if a claim of this size would be granted now.
    pub fn has_capacity(&self, client: &Client, octets: usize) -> Result<(), NoRoom> {
        self.lock().check(&self.0.shares, client, octets, octets.saturating_sub(UNCOUNTED))
    }

    /// True if a claim of this size is granted while there are no others.
    pub fn could_hold(&self, client: &Client, octets: usize) -> bool {
        let alone = Used::default();
        alone.check(&self.0.shares, client, octets, octets.saturating_sub(UNCOUNTED)).is_ok()
    }

    /// Claimed octets.
    pub fn used(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        // No foreign code runs while it is locked.
        self.0.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    /// Fails if a claim may not grow by `more` to `octets`.
    fn check(&self, shares: &Shares, client: &Client, octets: usize, more: usize) -> Result<(), NoRoom> {
        let reserve = if octets <= SMALL { 0 } else { shares.total / 4 };
        let [key, key_of_account, key_of_network] = shares.keys;
        if self.total.saturating_add(more) > shares.total.saturating_sub(reserve) {
            return Err(NoRoom(key));
        }
        for owner in client.owners() {
            let (share, key) = match owner {
                Owner::System => (shares.total, key),
                Owner::Account(_) => (shares.per_account, key_of_account),
                Owner::Network(_) => (shares.per_network, key_of_network),
            };
            if self.by_owner.get(owner).copied().unwrap_or(0).saturating_add(more) > share {
                return Err(NoRoom(key));
            }
        }
        Ok(())
    }
}

/// Octets claimed for a client. Dropping it releases them.
#[derive(Debug)]
pub struct Claim {
    budget: MemoryBudget,
    client: Client,
    counted: usize,
}

impl Claim {
    /// Grows to `octets`; unchanged on error.
    pub fn grow_to(&mut self, octets: usize) -> Result<(), NoRoom> {
        let more = octets.saturating_sub(UNCOUNTED).saturating_sub(self.counted);
        if more == 0 {
            return Ok(());
        }
        let mut used = self.budget.lock();
        used.check(&self.budget.0.shares, &self.client, octets, more)?;
        used.total += more;
        for owner in self.client.owners() {
            *used.by_owner.entry(owner.clone()).or_default() += more;
        }
        self.counted += more;
        Ok(())
    }

    /// The same, but waits for room, for short work. A waiter should hold little. Cancel safe.
    pub async fn wait_to_grow(&mut self, octets: usize, time_limit: Duration) -> Result<(), NoRoom> {
        let budget = self.budget.clone();
        // Do not wait for a claim that would not fit even alone.
        Used::default().check(&budget.0.shares, &self.client, octets, octets.saturating_sub(UNCOUNTED))?;
        let deadline = Instant::now() + time_limit;
        loop {
            let mut given_back = pin!(budget.0.given_back.notified());
            given_back.as_mut().enable();
            let Err(full) = self.grow_to(octets) else { return Ok(()) };
            if timeout_at(deadline, given_back).await.is_err() {
                return Err(full);
            }
        }
    }

    /// Shrinks to `octets`.
    pub fn shrink_to(&mut self, octets: usize) {
        let less = self.counted.saturating_sub(octets.saturating_sub(UNCOUNTED));
        if less == 0 {
            return;
        }
        self.counted -= less;
        let mut used = self.budget.lock();
        used.total = used.total.saturating_sub(less);
        for owner in self.client.owners() {
            if let Entry::Occupied(mut entry) = used.by_owner.entry(owner.clone()) {
                *entry.get_mut() = entry.get().saturating_sub(less);
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
        drop(used);
        self.budget.0.given_back.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Octets in memory, with their claim.
#[derive(Debug)]
pub struct Buffer {
    octets: Vec<u8>,
    claim: Claim,
}

impl Buffer {
    pub fn new(claim: Claim) -> Self {
        Self { octets: Vec::new(), claim }
    }

    /// `length` zeros, which are already claimed.
    pub fn zeroed(claim: Claim, octets: usize) -> Self {
        Self { octets: vec![0; octets], claim }
    }

    /// Claims room for this many octets in total, in advance.
    pub fn reserve(&mut self, octets: usize) -> Result<(), NoRoom> {
        self.claim.grow_to(octets)
    }

    /// Adds octets; unchanged on error.
    pub fn extend(&mut self, octets: &[u8]) -> Result<(), NoRoom> {
        let needed = self.octets.len().saturating_add(octets.len());
        if needed > self.octets.capacity() {
            // Doubles, unless that would turn a small claim into a large one.
            let doubled = self.octets.capacity().saturating_mul(2).min(SMALL).max(needed);
            self.claim.grow_to(doubled)?;
            self.octets.reserve_exact(doubled - self.octets.len());
        }
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    /// Drops the octets and keeps their claim.
    pub fn empty(&mut self) {
        self.octets.clear();
    }

    /// Drops the octets and their claim.
    pub fn clear(&mut self) {
        self.octets = Vec::new();
        self.claim.shrink_to(0);
    }

    /// For writing in place.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.octets
    }

    /// Shared octets; the claim ends with the last clone or slice.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.octets
    }
}

#[cfg(test)]
mod tests;
