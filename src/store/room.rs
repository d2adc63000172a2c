//! How much an inbox holds, and may.
//!
//! Invariant: the check is made in the transaction that stores, which is the only one that writes: nothing that happens at
//! the same time overfills an inbox. What it costs does not grow with the inbox: the store keeps a count, and adds
//! nothing up.

use super::{Store, StoreError, Transaction};
use crate::config::Limits;
use crate::id::InboxId;
use crate::store::engine::{Row, params};
use std::collections::BTreeMap;

/// Why a message was not put into an inbox.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// These inboxes have no room for it: temporary, since their owner may make some.
    #[error("the inbox is full")]
    Full(Vec<InboxId>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an inbox may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Octets of its messages, with [`ROW`] for each and its keywords.
    pub octets: u64,
    pub messages: u64,
}

impl From<&Limits> for Quota {
    fn from(limits: &Limits) -> Self {
        Self { octets: limits.inbox_size, messages: limits.messages }
    }
}

/// Octets that are counted for each message beside its own: its row and the row's place in the indexes.
pub const ROW: u64 = 256;

/// Whether an inbox takes one more message of `size` octets. True for one that does not exist: storing into it fails.
pub(super) fn has_room(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    size: u64,
    quota: Quota,
) -> Result<bool, StoreError> {
    has_room_for(connection, inbox, size.saturating_add(ROW), 1, quota)
}

/// Whether it takes so many messages, with so many octets counted for them.
pub(super) fn has_room_for(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    octets: u64,
    messages: u64,
    quota: Quota,
) -> Result<bool, StoreError> {
    let sql = "SELECT size, messages FROM inbox WHERE id = ?1";
    let row = |row: &Row<'_>| Ok((row.get::<i64>(0)?.unsigned_abs(), row.get::<i64>(1)?.unsigned_abs()));
    let held = connection.query_opt(sql, params![inbox], row)?;
    Ok(held.is_none_or(|(size, count)| {
        size.saturating_add(octets) <= quota.octets && count.saturating_add(messages) <= quota.messages
    }))
}

/// An error that names those of the inboxes that have no room for these messages: each is given with its octets.
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
        if !has_room_for(connection, inbox, octets, messages, quota)? {
            full.push(inbox.clone());
        }
    }
    if full.is_empty() { Ok(()) } else { Err(DeliverError::Full(full)) }
}

/// Octets of a message.
pub(super) fn octets(header: usize, body: usize) -> u64 {
    u64::try_from(header.saturating_add(body)).unwrap_or(u64::MAX)
}

impl Store {
    /// Whether an inbox takes a message of `size` octets now. Only the transaction that stores decides.
    pub async fn inbox_has_room(&self, inbox: &InboxId, size: u64, quota: Quota) -> Result<bool, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| has_room(connection, &inbox, size, quota)).await
    }
}

#[cfg(test)]
mod tests;
