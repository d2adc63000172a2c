//! Lists of messages over all mailboxes of inboxes, the newest first.
//!
//! Invariant: one call looks at [`SCANNED`] messages of an inbox at most; where it stops before the end, the answer says from where to go on.
//! Ids rise with time, so the order, the cursor and the bounds of time are all ranges of ids.

use super::{Store, StoreError, Transaction};
use crate::id::{AccountId, InboxId, MessageId, ThreadId};
use crate::store::engine::{Row, params};
use crate::store::mailboxes::MailboxKind;
use crate::store::messages::Flags;
use std::collections::BTreeSet;

/// Messages that one call looks at.
pub const SCANNED: usize = 10_000;
/// Messages of an inbox that are looked at together, where there are many inboxes.
const FEWEST: usize = 20;

/// Which messages are wanted. What is not given is not asked for.
#[derive(Clone, Debug, Default)]
pub struct EmailFilter {
    pub mailboxes: Vec<MailboxKind>,
    pub thread: Option<ThreadId>,
    /// Flags that are set.
    pub set: Flags,
    /// Flags that are not set.
    pub unset: Flags,
    /// In lower case.
    pub keywords: Vec<String>,
    /// From this id on.
    pub from: Option<MessageId>,
    /// Below this id.
    pub below: Option<MessageId>,
}

impl EmailFilter {
    /// True if any message is wanted, but for its id.
    fn is_open(&self) -> bool {
        self.mailboxes.is_empty() && self.set.is_empty() && self.unset.is_empty() && self.keywords.is_empty()
    }
}

/// Some of the messages that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The newest first.
    pub ids: Vec<MessageId>,
    /// There may be more below this id.
    pub rest: Option<MessageId>,
}

impl Store {
    /// The newest messages of the inboxes that are wanted, `limit` at most.
    pub async fn emails(&self, inboxes: Vec<InboxId>, filter: EmailFilter, limit: usize) -> Result<Found, StoreError> {
        self.read(move |connection| {
            let scanned = (SCANNED / inboxes.len().max(1)).max(FEWEST);
            let mut found = Vec::with_capacity(inboxes.len());
            for inbox in &inboxes {
                found.push(of_inbox(connection, inbox, &filter, limit, scanned)?);
            }
            Ok(merged(found, limit))
        })
        .await
    }

    /// The inboxes of an account.
    pub async fn inbox_ids(&self, account: &AccountId) -> Result<Vec<InboxId>, StoreError> {
        let account = account.clone();
        self.read(move |connection| {
            let sql = "SELECT id FROM inbox WHERE account_id = ?1 ORDER BY id";
            connection.query(sql, params![account], |row| row.get(0))
        })
        .await
    }
}

/// Joins what was found in each inbox. What is older than the point where some inbox was left is left too.
fn merged(found: Vec<Found>, limit: usize) -> Found {
    let rest = found.iter().filter_map(|of_inbox| of_inbox.rest.clone()).max();
    let all: BTreeSet<MessageId> = found.into_iter().flat_map(|of_inbox| of_inbox.ids).collect();
    let mut ids: Vec<MessageId> =
        all.into_iter().rev().filter(|id| rest.as_ref().is_none_or(|rest| id >= rest)).collect();
    if ids.len() > limit {
        ids.truncate(limit);
        return Found { rest: ids.last().cloned(), ids };
    }
    Found { ids, rest }
}

fn of_inbox(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    filter: &EmailFilter,
    limit: usize,
    scanned: usize,
) -> Result<Found, StoreError> {
    let from = filter.from.as_ref().map_or("", MessageId::as_str);
    // `~` sorts after every id.
    let below = filter.below.as_ref().map_or("~", MessageId::as_str);
    let scanned = if filter.is_open() { limit.saturating_add(1) } else { scanned };
    let scanned = i64::try_from(scanned).unwrap_or(i64::MAX);
    // A thread has an index of its own.
    let thread = if filter.thread.is_some() { "AND thread_id = ?5" } else { "AND CAST(?5 AS TEXT) IS NULL" };
    let range = format!(
        "SELECT id, mailbox_id, flags, keywords FROM message
         WHERE inbox_id = ?1 AND id >= ?2 AND id < ?3 {thread} ORDER BY id DESC LIMIT ?4"
    );
    let sql = format!("SELECT count(*), min(id) FROM ({range}) AS scanned");
    let row = |row: &Row<'_>| Ok((row.get::<i64>(0)?, row.get::<Option<MessageId>>(1)?));
    let (count, last) = connection.query_row(&sql, params![inbox, from, below, scanned, filter.thread], row)?;
    let rest = last.filter(|_| count == scanned);
    let sql = format!(
        "SELECT m.id FROM ({range}) AS m JOIN mailbox p ON p.id = m.mailbox_id
             JOIN mailbox b ON b.id = CASE p.is_hidden WHEN 0 THEN p.id ELSE p.part_of END
         WHERE m.flags & ?6 = ?6 AND m.flags & ?7 = 0 {} {} ORDER BY m.id DESC LIMIT ?8",
        mailboxes(&filter.mailboxes),
        keywords(&filter.keywords),
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let values = params![inbox, from, below, scanned, filter.thread, filter.set, filter.unset, limit];
    let all: Vec<&dyn super::engine::ToValue> = values
        .iter()
        .copied()
        .chain(filter.keywords.iter().map(|keyword| keyword as &dyn super::engine::ToValue))
        .collect();
    let mut ids: Vec<MessageId> = connection.query(&sql, &all, |row| row.get(0))?;
    if i64::try_from(ids.len()).unwrap_or(i64::MAX) == limit {
        ids.pop();
        return Ok(Found { rest: ids.last().cloned(), ids });
    }
    Ok(Found { ids, rest })
}

/// A condition for each of the mailboxes: the one with the special use, or with the name where that has none.
fn mailboxes(kinds: &[MailboxKind]) -> String {
    let of = |kind: &MailboxKind| {
        let (name, special_use) = (kind.name(), kind.special_use());
        format!("AND (b.special_use = '{special_use}' OR (b.special_use IS NULL AND b.name = '{name}'))")
    };
    kinds.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// A condition for each of the keywords, which are the values from the ninth on.
fn keywords(keywords: &[String]) -> String {
    let of = |(at, _): (usize, &String)| {
        let value = at + 9;
        format!(
            "AND replace(' ' || lower(m.keywords) || ' ', ' ' || CAST(?{value} AS TEXT) || ' ', '') <> ' ' || lower(m.keywords) || ' '"
        )
    };
    keywords.iter().enumerate().map(of).collect::<Vec<_>>().join(" ")
}
