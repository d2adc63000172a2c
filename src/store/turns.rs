//! What many writes change at the same time.
//!
//! On an engine where writes run side by side, two that change the same row cannot both be committed: one of them is run again. Those that
//! name the same turn run one after the other instead, on all daemons. It is no promise: a verb is right without it.

use super::rates::RateKey;
use crate::id::{AccountId, InboxId};

/// What a write waits for its turn at.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "with SQLite, one thread writes"))]
pub(super) enum Turn {
    /// The row of an inbox, which counts its messages, and those of its mailboxes, with their next UIDs.
    Inbox(InboxId),
    /// What an account has in the queue, and when it is due.
    Queue(AccountId),
    /// Jobs of a kind that runners claim.
    Claims(&'static str),
    /// What is spent of a limit.
    Rate(RateKey),
}

impl Turn {
    /// The number of the lock that the database knows it by.
    #[cfg(feature = "cluster")]
    pub fn key(&self) -> i64 {
        let (kind, id) = match self {
            Self::Inbox(id) => ("inbox ", id.as_str().as_bytes()),
            Self::Queue(id) => ("queue ", id.as_str().as_bytes()),
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
