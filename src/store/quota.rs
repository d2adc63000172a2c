//! Quotas of inboxes.
//!
//! Invariant: the quota is checked in the transaction that stores, so concurrent writes cannot exceed it. The check takes
//! constant time, since the store maintains the counts.

use super::{Store, StoreError, Transaction};
use crate::config::Limits;
use crate::id::InboxId;
use crate::store::engine::{Row, params};
use std::collections::BTreeMap;

#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The message would exceed the quota of these inboxes. Temporary, since their users may delete messages.
    #[error("the inbox is full")]
    Full(Vec<InboxId>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Octets of all messages, each with [`ROW`] and its keywords.
    pub octets: u64,
    pub messages: u64,
}

impl From<&Limits> for Quota {
    fn from(limits: &Limits) -> Self {
        Self { octets: limits.inbox_size, messages: limits.messages }
    }
}

/// Octets counted per message in addition to its size, for its row and index entries.
pub const ROW: u64 = 256;

/// Whether a message of `size` octets is within the quota. True if the inbox does not exist; storing into it fails anyway.
pub(super) fn allows(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    size: u64,
    quota: Quota,
) -> Result<bool, StoreError> {
    allows_messages(connection, inbox, size.saturating_add(ROW), 1, quota)
}

/// Whether this many more messages, counted with `octets` in total, are within the quota.
pub(super) fn allows_messages(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    octets: u64,
    messages: u64,
    quota: Quota,
) -> Result<bool, StoreError> {
    Ok(used(connection, inbox)?.is_none_or(|used| {
        used.octets.saturating_add(octets) <= quota.octets && used.messages.saturating_add(messages) <= quota.messages
    }))
}

/// What is counted of an inbox; `None` if it does not exist.
fn used(connection: &Transaction<'_>, inbox: &InboxId) -> Result<Option<Quota>, StoreError> {
    let sql = "SELECT size, messages FROM inbox WHERE id = ?1";
    let row = |row: &Row<'_>| {
        Ok(Quota { octets: row.get::<i64>(0)?.unsigned_abs(), messages: row.get::<i64>(1)?.unsigned_abs() })
    };
    connection.query_opt(sql, params![inbox], row)
}

/// Fails with the inboxes whose quota these messages would exceed. Each message is given with its octets.
pub(super) fn check<'a>(
    connection: &Transaction<'_>,
    messages: impl Iterator<Item = (&'a InboxId, u64)>,
    quota: Quota,
) -> Result<(), DeliverError> {
    let mut added = BTreeMap::<_, (u64, u64)>::new();
    for (inbox, octets) in messages {
        let (size, count) = added.entry(inbox).or_default();
        *size = size.saturating_add(octets).saturating_add(ROW);
        *count += 1;
    }
    let mut full = Vec::new();
    for (inbox, (octets, messages)) in added {
        if !allows_messages(connection, inbox, octets, messages, quota)? {
            full.push(inbox.clone());
        }
    }
    if full.is_empty() { Ok(()) } else { Err(DeliverError::Full(full)) }
}

/// The size of a message, in octets.
pub(super) fn octets(header: usize, body: usize) -> u64 {
    u64::try_from(header.saturating_add(body)).unwrap_or(u64::MAX)
}

/// What an inbox uses of its quota: QUOTA (RFC 9208) shows `octets` in units of 1024 as STORAGE, and `messages` as MESSAGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: Quota,
    pub limit: Quota,
}

impl Store {
    /// `None` if there is no such inbox.
    pub async fn inbox_usage(&self, inbox: &InboxId, limit: Quota) -> Result<Option<Usage>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| Ok(used(connection, &inbox)?.map(|used| Usage { used, limit }))).await
    }

    /// Whether a message of `size` octets is currently within the quota. The transaction that stores checks again.
    pub async fn inbox_allows(&self, inbox: &InboxId, size: u64, quota: Quota) -> Result<bool, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| allows(connection, &inbox, size, quota)).await
    }
}

#[cfg(test)]
mod tests;
