//! Lists of messages over all mailboxes of inboxes, the newest first.
//!
//! Invariant: one call scans at most [`SCANNED`] messages; if it stops before the end, the result has the ID to continue from.
//! IDs ascend with time, so the order, the cursor and time bounds are ranges of IDs.

use super::{Store, StoreError, Transaction, messages};
use crate::id::{AccountId, InboxId, MessageId, ThreadId};
use crate::store::engine::{Row, ToValue, params};
use crate::store::mailboxes::MailboxKind;
use crate::store::messages::{Flags, Headed, HeaderBlock, HeaderColumns, ListedHeader};
use std::collections::BTreeSet;

/// Messages scanned by one call.
pub const SCANNED: usize = 10_000;
/// The minimum of messages scanned per inbox, with many inboxes.
const MIN_SCANNED: usize = 20;
/// A filtered page scans this many times as many messages as it wants, then each time this many times more.
const WINDOW: usize = 4;

/// Conditions on messages; empty ones match all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailFilter {
    pub mailboxes: Vec<MailboxKind>,
    /// Of the mailbox with this name, in UTF-8.
    pub mailbox: Option<String>,
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
        self.mailboxes.is_empty()
            && self.mailbox.is_none()
            && self.set.is_empty()
            && self.unset.is_empty()
            && self.keywords.is_empty()
    }
}

/// A page of matching messages.
#[derive(Debug)]
pub struct EmailPage<H> {
    /// The newest first.
    pub rows: Vec<Headed<H>>,
    /// If set, there may be more matches with lower IDs.
    pub rest: Option<MessageId>,
}

/// The page of messages that were found.
pub(super) fn page<H: HeaderColumns>(c: &Transaction<'_>, found: &Found) -> Result<EmailPage<H>, StoreError> {
    Ok(EmailPage { rows: messages::newest_first(c, &found.ids)?, rest: found.rest.clone() })
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
    ) -> Result<EmailPage<ListedHeader>, StoreError> {
        self.page_of(inboxes, filter, limit).await
    }

    /// The same with their headers as they are.
    pub async fn emails_with_headers(
        &self,
        inboxes: Vec<InboxId>,
        filter: EmailFilter,
        limit: usize,
    ) -> Result<EmailPage<HeaderBlock>, StoreError> {
        self.page_of(inboxes, filter, limit).await
    }

    async fn page_of<H: HeaderColumns + Send + 'static>(
        &self,
        inboxes: Vec<InboxId>,
        filter: EmailFilter,
        limit: usize,
    ) -> Result<EmailPage<H>, StoreError> {
        self.read(move |connection| {
            let scanned = (SCANNED / inboxes.len().max(1)).max(MIN_SCANNED);
            let mut found = Vec::with_capacity(inboxes.len());
            for inbox in &inboxes {
                found.push(of_inbox(connection, inbox, &filter, limit, scanned)?);
            }
            page(connection, &merged(found, limit))
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
    c: &Transaction<'_>,
    inbox: &InboxId,
    filter: &EmailFilter,
    limit: usize,
    scanned: usize,
) -> Result<Found, StoreError> {
    // One more than asked for, to see whether there are more.
    let wanted = limit.saturating_add(1);
    let mut left = if filter.matches_all() { wanted } else { scanned };
    let mut window = if filter.matches_all() { wanted } else { wanted.saturating_mul(WINDOW) };
    let (mut ids, mut below) = (Vec::new(), filter.below.clone());
    loop {
        window = window.min(left);
        let range = Range { inbox, filter, below: below.as_ref(), window };
        ids.extend(range.matching(c, wanted.saturating_sub(ids.len()))?);
        if ids.len() >= wanted {
            ids.truncate(limit);
            return Ok(Found { rest: ids.last().cloned(), ids });
        }
        below = range.end(c)?;
        left = left.saturating_sub(window);
        if below.is_none() || left == 0 {
            return Ok(Found { ids, rest: below });
        }
        window = window.saturating_mul(WINDOW);
    }
}

/// The newest messages of an inbox below an ID, whether they match or not.
struct Range<'a> {
    inbox: &'a InboxId,
    filter: &'a EmailFilter,
    below: Option<&'a MessageId>,
    /// Their number at most.
    window: usize,
}

impl Range<'_> {
    /// The parameters of [`Self::ids`], and more.
    fn query<T>(
        &self,
        c: &Transaction<'_>,
        sql: &str,
        more: &[&dyn ToValue],
        read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let from = self.filter.from.as_ref().map_or("", MessageId::as_str);
        // `~` sorts after every id.
        let below = self.below.map_or("~", MessageId::as_str);
        let values: [&dyn ToValue; 4] = [self.inbox, &from, &below, &self.filter.thread];
        let all: Vec<&dyn ToValue> = values.into_iter().chain(more.iter().copied()).collect();
        c.query(sql, &all, read)
    }

    fn ids(&self, columns: &str) -> String {
        // There is an index by thread.
        let thread = if self.filter.thread.is_some() { "AND thread_id = ?4" } else { "AND CAST(?4 AS TEXT) IS NULL" };
        format!("SELECT {columns} FROM message WHERE inbox_id = ?1 AND id >= ?2 AND id < ?3 {thread} ORDER BY id DESC")
    }

    /// The last of them, if there are as many as the window has.
    fn end(&self, c: &Transaction<'_>) -> Result<Option<MessageId>, StoreError> {
        let sql = format!("{} LIMIT 1 OFFSET ?5", self.ids("id"));
        let before = i64::try_from(self.window.saturating_sub(1)).unwrap_or(i64::MAX);
        Ok(self.query(c, &sql, &[&before], |row| row.get(0))?.pop())
    }

    /// The first that match.
    fn matching(&self, c: &Transaction<'_>, limit: usize) -> Result<Vec<MessageId>, StoreError> {
        let filter = self.filter;
        let (named, names) = named(filter, 9);
        let sql = format!(
            "SELECT m.id FROM ({} LIMIT ?5) AS m JOIN mailbox p ON p.id = m.mailbox_id
                 JOIN mailbox b ON b.id = CASE p.is_hidden WHEN 0 THEN p.id ELSE p.part_of END
             WHERE m.flags & ?6 = ?6 AND m.flags & ?7 = 0 {} {named} ORDER BY m.id DESC LIMIT ?8",
            self.ids("id, mailbox_id, flags, keywords"),
            mailboxes(&filter.mailboxes),
        );
        let [window, limit] = [self.window, limit].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
        let values: [&dyn ToValue; 4] = [&window, &filter.set, &filter.unset, &limit];
        let more: Vec<&dyn ToValue> = values.into_iter().chain(names).collect();
        self.query(c, &sql, &more, |row| row.get(0))
    }
}

/// Conditions on the mailbox: its special use, or its name if it has none.
pub(super) fn mailboxes(kinds: &[MailboxKind]) -> String {
    let of = |kind: &MailboxKind| {
        let (name, special_use) = (kind.name(), kind.special_use());
        format!("AND (b.special_use = '{special_use}' OR (b.special_use IS NULL AND b.name = '{name}'))")
    };
    kinds.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// Conditions on the name of the mailbox and on keywords, and their parameters, which are those from `first` on.
pub(super) fn named(filter: &EmailFilter, first: usize) -> (String, Vec<&dyn ToValue>) {
    let name = filter.mailbox.as_ref().map(|_| format!("AND b.name = ?{first}")).unwrap_or_default();
    let after = first + filter.mailbox.iter().len();
    let values = filter.mailbox.iter().chain(&filter.keywords).map(|text| text as &dyn ToValue);
    (format!("{name} {}", keywords(&filter.keywords, after)), values.collect())
}

fn keywords(keywords: &[String], first: usize) -> String {
    let of = |(at, _): (usize, &String)| {
        let value = first + at;
        format!(
            "AND replace(' ' || lower(m.keywords) || ' ', ' ' || CAST(?{value} AS TEXT) || ' ', '') <> ' ' || lower(m.keywords) || ' '"
        )
    };
    keywords.iter().enumerate().map(of).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::deliver::inbox_mailbox;
    use crate::store::testing::{fill, inbox, put, store_with_account};

    #[tokio::test]
    async fn pages_of_rare_messages_are_complete_and_in_order() {
        let (_dir, store, account) = store_with_account().await;
        let inbox = inbox(&store, &account, "one").await;
        put(&store, &inbox, b"Subject: x\r\n\r\n").await;
        let of = inbox.clone();
        let mailbox = store.read(move |c| inbox_mailbox(c, &of)).await.unwrap();
        for (count, flags) in
            [(1, Flags::FLAGGED), (70, Flags::SEEN), (2, Flags::FLAGGED), (300, Flags::SEEN), (1, Flags::FLAGGED)]
        {
            fill(&store, &inbox, mailbox, count, flags).await;
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let all = async |filter: &EmailFilter, limit| {
            let (mut found, mut filter) = (Vec::new(), filter.clone());
            loop {
                let page = store.emails(vec![inbox.clone()], filter.clone(), limit).await.unwrap();
                assert!(page.rows.len() <= limit);
                found.extend(page.rows.into_iter().map(|row| row.message.id));
                filter.below = page.rest;
                if filter.below.is_none() {
                    return found;
                }
            }
        };
        for filter in [EmailFilter::default(), EmailFilter { set: Flags::FLAGGED, ..EmailFilter::default() }] {
            let whole = all(&filter, 1000).await;
            assert_eq!(whole.len(), if filter.set.is_empty() { 375 } else { 4 });
            assert!(whole.is_sorted_by(|newer, older| newer > older));
            for limit in [1, 2, 3, 100] {
                assert_eq!(all(&filter, limit).await, whole, "{limit}");
            }
        }
    }
}
