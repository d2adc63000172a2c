//! How far an observation is: for people who wait for it. It decides nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Counts of one observation, which its queries add to. Bounded like the queries.
#[derive(Debug, Default)]
pub struct Progress {
    name_servers: Mutex<BTreeSet<SocketAddr>>,
    queries: AtomicU32,
    answers: AtomicU32,
}

/// What [`Progress`] has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Authoritative servers that were queried.
    pub name_servers: u32,
    /// Queries that were sent.
    pub queries: u32,
    /// Those that have an answer, or timed out.
    pub answers: u32,
}

impl Progress {
    pub fn counts(&self) -> Counts {
        let name_servers = self.name_servers.lock().unwrap_or_else(PoisonError::into_inner).len();
        // First, so that there are never more answers than queries.
        let answers = self.answers.load(Ordering::Acquire);
        Counts {
            name_servers: u32::try_from(name_servers).unwrap_or(u32::MAX),
            queries: self.queries.load(Ordering::Acquire),
            answers,
        }
    }

    pub(super) fn sent(&self, to_name_server: Option<SocketAddr>) {
        self.queries.fetch_add(1, Ordering::AcqRel);
        if let Some(server) = to_name_server {
            self.name_servers.lock().unwrap_or_else(PoisonError::into_inner).insert(server);
        }
    }

    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::AcqRel);
    }
}
