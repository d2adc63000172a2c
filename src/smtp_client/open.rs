//! The number of open connections to each network, including idle ones.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connection counts by network ([`network_of`](crate::net::connections::network_of)); clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenConnections(Arc<Mutex<HashMap<IpAddr, Count>>>);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub all: usize,
    /// Those after EHLO.
    pub established: usize,
}

/// A connection counted until it is dropped.
#[derive(Debug)]
pub(super) struct OpenConnection {
    all: OpenConnections,
    network: IpAddr,
    is_established: bool,
}

impl OpenConnections {
    pub fn count(&self, network: IpAddr) -> Count {
        self.lock().get(&network).copied().unwrap_or_default()
    }

    pub fn add(&self, network: IpAddr) -> OpenConnection {
        self.lock().entry(network).or_default().all += 1;
        OpenConnection { all: self.clone(), network, is_established: false }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnection {
    pub fn established(mut self) -> Self {
        self.all.lock().entry(self.network).or_default().established += 1;
        self.is_established = true;
        self
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut all = self.all.lock();
        if let Some(count) = all.get_mut(&self.network) {
            count.all = count.all.saturating_sub(1);
            count.established = count.established.saturating_sub(usize::from(self.is_established));
            if count.all == 0 {
                all.remove(&self.network);
            }
        }
    }
}
