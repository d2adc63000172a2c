//! Rows that many writes change at the same time.
//!
//! On PostgreSQL, two concurrent transactions that change the same row cannot both commit: one of them is retried. Writes that name
//! the same hot row are serialized instead, on all daemons. It is an optimization: a verb is correct without it.

use super::rates::RateKey;
use crate::id::{AccountId, InboxId};

#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "with SQLite, one thread writes"))]
pub(super) enum HotRow {
    /// The row of an inbox, with its counters, and those of its mailboxes, with their next UIDs.
    Inbox(InboxId),
    /// Counters of an account's queue, and when its next delivery is due.
    Queue(AccountId),
    /// Due deliveries of an account to webhooks, and its numbers of events.
    Webhooks(AccountId),
    /// Due jobs of a kind, which runners claim.
    Claims(&'static str),
    /// The counter of a rate limit.
    Rate(RateKey),
}

impl HotRow {
    /// The number of its advisory lock.
    #[cfg(feature = "cluster")]
    pub fn key(&self) -> i64 {
        let (kind, id) = match self {
            Self::Inbox(id) => ("inbox ", id.as_str().as_bytes()),
            Self::Queue(id) => ("queue ", id.as_str().as_bytes()),
            Self::Webhooks(id) => ("webhooks ", id.as_str().as_bytes()),
            Self::Claims(kind) => ("claims ", kind.as_bytes()),
            Self::Rate(key) => ("rate ", key.octets()),
        };
        lock_number(&[kind.as_bytes(), id].concat())
    }
}

/// The number of an advisory lock by its name.
#[cfg(feature = "cluster")]
pub(super) fn lock_number(name: &[u8]) -> i64 {
    i64::from_le_bytes(blake3::hash(name).as_bytes().first_chunk().copied().unwrap_or_default())
}
