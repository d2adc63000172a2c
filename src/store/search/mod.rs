//! The search index: the candidates of a search, and how messages are added to the index.
//!
//! Invariant: a message is either indexed (`search_document`) or in the tail (`search_tail`), and one transaction moves it from the tail
//! to the index. Within an account, the numbers of documents increase with the ids of their messages; a message with a lower id than the
//! last indexed one stays in the tail (`is_left_out`), like one that cannot be read or has too many trigrams. Only this folder
//! changes these tables.

pub(crate) mod candidates;
mod indexing;
mod of_mailbox;
#[cfg(test)]
mod steps_tests;
#[cfg(test)]
mod tests;

pub use indexing::{Indexed, Outcome, Unindexed};
pub(super) use indexing::{end_leases, renew};

use super::inboxes::DELETED;
use super::{StoreError, Transaction, overviews};
use crate::clock::Timestamp;
use crate::id::{AccountId, InboxId, MessageId};
use crate::store::engine::{List, params};
use serde_json::json;
use std::ops::Range;

/// Milliseconds from the arrival of a message until it is indexed, at least: by then all that arrived before it is committed.
const SETTLED: i64 = 10_000;
/// Bits of a document's number below those of its account.
const BITS: u32 = 36;

/// The state of an account in the index.
struct Indexing {
    number: i64,
    last_number: i64,
    last_id: Option<MessageId>,
}

impl Indexing {
    /// None if no message of the account has been indexed yet.
    fn of(c: &Transaction<'_>, account: &AccountId) -> Result<Option<Self>, StoreError> {
        let sql = "SELECT number, last_number, last_id FROM search_account WHERE account_id = ?1";
        c.query_opt(sql, params![account], |row| {
            Ok(Self { number: row.get(0)?, last_number: row.get(1)?, last_id: row.get(2)? })
        })
    }

    /// The range of its document numbers.
    const fn documents(&self) -> Range<i64> {
        let first = self.number << BITS;
        first..if self.last_number < first { first } else { self.last_number + 1 }
    }
}

/// A number that is indexed as one more trigram of each message of the inbox. It may collide with a trigram's.
fn gram_of(inbox: &InboxId) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(inbox.as_str().as_bytes()).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn rows(messages: &[MessageId]) -> List {
    messages.iter().map(|id| json!([id])).collect()
}

/// Adds new messages of an inbox to the tail.
pub(super) fn added(c: &Transaction<'_>, inbox: &InboxId, messages: &[MessageId]) -> Result<(), StoreError> {
    if let [message] = messages {
        let sql = "INSERT INTO search_tail (is_left_out, account_id, message_id)
                   SELECT 0, account_id, CAST(?2 AS TEXT) FROM inbox WHERE id = ?1";
        c.execute(sql, params![inbox, message])?;
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO search_tail (is_left_out, account_id, message_id)
         SELECT 0, i.account_id, value ->> 0 FROM {}, inbox i WHERE i.id = ?1",
        c.items(2)
    );
    c.execute(&sql, params![inbox, rows(messages)])?;
    Ok(())
}

/// Removes deleted messages from the index and the tail. If the inbox has been deleted, its account is unknown and rows stay in the tail:
/// the next batch of the account removes them, or a reindex if they are left out.
pub(super) fn removed(c: &Transaction<'_>, inbox: &InboxId, messages: &[MessageId]) -> Result<(), StoreError> {
    c.index_remove(messages)?;
    let sql = "SELECT account_id FROM inbox WHERE id = ?1";
    let account: AccountId = c.query_row(sql, params![inbox], |row| row.get(0))?;
    // With all columns of the key in the list, PostgreSQL joins from the list by index, whatever its statistics.
    let keys = messages.iter().flat_map(|id| [json!([0, account, id]), json!([1, account, id])]);
    let sql = format!(
        "DELETE FROM search_tail WHERE (is_left_out, account_id, message_id) IN
             (SELECT CAST(value ->> 0 AS BIGINT), value ->> 1, value ->> 2 FROM {})",
        c.items(1)
    );
    c.execute(&sql, params![keys.collect::<List>()])?;
    Ok(())
}

/// Empties the index, without overviews too, and puts all messages into the tail.
pub(super) fn clear(c: &Transaction<'_>) -> Result<(), StoreError> {
    c.index_clear()?;
    overviews::clear(c)?;
    c.execute("DELETE FROM search_account", params![])?;
    c.execute("DELETE FROM search_tail", params![])?;
    let sql = "INSERT INTO search_tail (is_left_out, account_id, message_id)
               SELECT 0, i.account_id, m.id FROM message m JOIN inbox i ON i.id = m.inbox_id WHERE i.account_id <> ?1";
    c.execute(sql, params![DELETED])?;
    Ok(())
}

/// Messages with lower ids may be indexed at `now`.
fn settled_at(now: Timestamp) -> MessageId {
    MessageId::first_at(Timestamp::from_millis(now.millis().saturating_sub(SETTLED)))
}
