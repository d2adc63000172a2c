//! Lists of messages over all mailboxes of inboxes, the newest first.
//!
//! Invariant: one call scans at most [`SCANNED`] messages; if it stops before the end, the result has the ID to continue from.
//! IDs ascend with time, so the order, the cursor and time bounds are ranges of IDs.

use super::{Store, StoreError, Transaction, messages};
use crate::id::{AccountId, InboxId, MessageId, ThreadId};
use crate::store::engine::{Row, params};
use crate::store::mailboxes::MailboxKind;
use crate::store::messages::{Flags, MessageSummary};
use std::collections::BTreeSet;

/// Messages scanned by one call.
pub const SCANNED: usize = 10_000;
/// The minimum of messages scanned per inbox, with many inboxes.
const MIN_SCANNED: usize = 20;

/// Conditions on messages; empty ones match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailFilter {
    pub mailboxes: Vec<MailboxKind>,
    pub thread: Option<ThreadId>,
    pub set: Flags,
    pub unset: Flags,
    /// In lower case.
    pub keywords: Vec<String>,
    /// The lowest ID, inclusive.
    pub from: Option<MessageId>,
    /// The highest ID, exclusive.
    pub below: Option<MessageId>,
}

impl EmailFilter {
    /// True if every message in the range of IDs matches.
    fn matches_all(&self) -> bool {
        self.mailboxes.is_empty() && self.set.is_empty() && self.unset.is_empty() && self.keywords.is_empty()
    }
}

/// A page of matching messages.
#[derive(Debug)]
pub struct EmailPage {
    /// The newest first.
    pub rows: Vec<MessageSummary>,
    /// If set, there may be more matches with lower IDs.
    pub rest: Option<MessageId>,
}

impl EmailPage {
    pub(super) fn read(c: &Transaction<'_>, found: Found) -> Result<Self, StoreError> {
        Ok(Self { rows: messages::newest_first(c, &found.ids)?, rest: found.rest })
    }
}

/// The same, as IDs.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) ids: Vec<MessageId>,
    pub(super) rest: Option<MessageId>,
}

impl Store {
    /// Up to `limit` matching messages of the inboxes, the newest first.
    pub async fn emails(
        &self,
        inboxes: Vec<InboxId>,
        filter: EmailFilter,
        limit: usize,
    ) -> Result<EmailPage, StoreError> {
        self.read(move |connection| {
            let scanned = (SCANNED / inboxes.len().max(1)).max(MIN_SCANNED);
            let mut found = Vec::with_capacity(inboxes.len());
            for inbox in &inboxes {
                found.push(of_inbox(connection, inbox, &filter, limit, scanned)?);
            }
            EmailPage::read(connection, merged(found, limit))
        })
        .await
    }

    pub async fn inbox_ids(&self, account: &AccountId) -> Result<Vec<InboxId>, StoreError> {
        let account = account.clone();
        self.read(move |connection| {
            let sql = "SELECT id FROM inbox WHERE account_id = ?1 ORDER BY id";
            connection.query(sql, params![account], |row| row.get(0))
        })
        .await
    }
}

/// Merges the pages of inboxes. Messages older than the end of an incomplete page are left for the next call.
pub(super) fn merged(found: Vec<Found>, limit: usize) -> Found {
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
    let scanned = if filter.matches_all() { limit.saturating_add(1) } else { scanned };
    let scanned = i64::try_from(scanned).unwrap_or(i64::MAX);
    // There is an index by thread.
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
        keywords(&filter.keywords, 9),
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

/// Conditions on the mailbox: its special use, or its name if it has none.
pub(super) fn mailboxes(kinds: &[MailboxKind]) -> String {
    let of = |kind: &MailboxKind| {
        let (name, special_use) = (kind.name(), kind.special_use());
        format!("AND (b.special_use = '{special_use}' OR (b.special_use IS NULL AND b.name = '{name}'))")
    };
    kinds.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// Conditions on keywords, which are the parameters from `first` on.
pub(super) fn keywords(keywords: &[String], first: usize) -> String {
    let of = |(at, _): (usize, &String)| {
        let value = first + at;
        format!(
            "AND replace(' ' || lower(m.keywords) || ' ', ' ' || CAST(?{value} AS TEXT) || ' ', '') <> ' ' || lower(m.keywords) || ' '"
        )
    };
    keywords.iter().enumerate().map(of).collect::<Vec<_>>().join(" ")
}
