//! The candidates of a search: the messages that it has to read and compare, newest first.
//!
//! Invariant: every message that matches is a candidate, and every candidate belongs to the account and the inboxes that are searched. One
//! call examines at most [`SCANNED`] messages each of the index and of the tail.

use super::{Indexing, gram_of, rows};
use crate::id::{AccountId, InboxId, MessageId};
use crate::message::grams::Grams;
use crate::store::emails::{self, EmailFilter, EmailPage, Found, SCANNED};
use crate::store::engine::{List, ToValue, params};
use crate::store::messages::HeaderBlock;
use crate::store::{Store, StoreError, Transaction};
use serde_json::json;

/// Messages per query at most: as many as are wanted at first, then twice as many each time.
const CHUNK: usize = 250;

/// The scope of a search.
#[derive(Clone, Debug)]
pub struct SearchIn {
    pub account: AccountId,
    /// None: all of the account.
    pub inboxes: Option<Vec<InboxId>>,
}

/// A part of the candidates, before the filter is applied.
struct Chunk {
    /// Newest first; deleted messages are left out.
    ids: Vec<MessageId>,
    /// How many were looked at.
    looked_at: usize,
    /// There may be more below this id.
    rest: Option<MessageId>,
}

impl Store {
    /// The newest messages that may contain all of the trigrams and match the filter, at most `limit`. Without trigrams, those that match
    /// the filter.
    pub async fn candidates(
        &self,
        of: SearchIn,
        grams: Grams,
        filter: EmailFilter,
        limit: usize,
    ) -> Result<EmailPage<HeaderBlock>, StoreError> {
        if grams.is_empty() {
            let inboxes = match of.inboxes {
                Some(inboxes) => inboxes,
                None => self.inbox_ids(&of.account).await?,
            };
            return self.emails_with_headers(inboxes, filter, limit).await;
        }
        self.read(move |c| {
            let mut wanted: Vec<u32> = grams.iter().collect();
            if let Some([inbox]) = of.inboxes.as_deref() {
                wanted.push(gram_of(inbox));
            }
            let tail = gather(c, &of, &filter, limit, |below, chunk| tail(c, &of.account, &filter, below, chunk))?;
            let mut found = vec![tail];
            if let Some(known) = Indexing::of(c, &of.account)? {
                let next = |below: Option<&MessageId>, chunk| indexed(c, &known, &wanted, &filter, below, chunk);
                found.push(gather(c, &of, &filter, limit, next)?);
            }
            emails::page(c, &emails::merged(found, limit))
        })
        .await
    }
}

/// Reads chunks until `limit` messages match the filter.
fn gather(
    c: &Transaction<'_>,
    of: &SearchIn,
    filter: &EmailFilter,
    limit: usize,
    next: impl Fn(Option<&MessageId>, usize) -> Result<Chunk, StoreError>,
) -> Result<Found, StoreError> {
    let mut found = Found { ids: Vec::new(), rest: filter.below.clone() };
    // One more than wanted, to see whether there are more.
    let (mut looked_at, mut size) = (0, limit.saturating_add(1).min(CHUNK));
    loop {
        let chunk = next(found.rest.as_ref(), size)?;
        size = (2 * size).min(CHUNK);
        found.ids.extend(fitting(c, of, filter, &chunk.ids)?);
        found.rest = chunk.rest;
        looked_at += chunk.looked_at;
        if found.ids.len() > limit {
            found.ids.truncate(limit);
            found.rest = found.ids.last().cloned();
        }
        if found.rest.is_none() || found.ids.len() >= limit || looked_at >= SCANNED {
            return Ok(found);
        }
    }
}

/// Messages in the tail.
fn tail(
    c: &Transaction<'_>,
    account: &AccountId,
    filter: &EmailFilter,
    below: Option<&MessageId>,
    chunk: usize,
) -> Result<Chunk, StoreError> {
    let part = |is_left_out: u8| {
        format!(
            "SELECT message_id FROM (SELECT message_id FROM search_tail WHERE is_left_out = {is_left_out}
                 AND account_id = ?1 AND message_id >= ?2 AND message_id < ?3 ORDER BY message_id DESC LIMIT ?4) AS part_{is_left_out}"
        )
    };
    let sql = format!("{} UNION ALL {} ORDER BY 1 DESC LIMIT ?4", part(0), part(1));
    // `~` sorts after every id.
    let (from, below) = (filter.from.as_ref().map_or("", MessageId::as_str), below.map_or("~", MessageId::as_str));
    let rows = i64::try_from(chunk).unwrap_or(i64::MAX);
    let ids: Vec<MessageId> = c.query(&sql, params![account, from, below, rows], |row| row.get(0))?;
    let rest = if ids.len() < chunk { None } else { ids.last().cloned() };
    Ok(Chunk { looked_at: ids.len(), ids, rest })
}

/// Indexed messages that contain the trigrams.
fn indexed(
    c: &Transaction<'_>,
    known: &Indexing,
    wanted: &[u32],
    filter: &EmailFilter,
    below: Option<&MessageId>,
    chunk: usize,
) -> Result<Chunk, StoreError> {
    let mut within = known.documents();
    if let Some(below) = below {
        within.end = first_from(c, known, below)?;
    }
    if let Some(from) = &filter.from {
        within.start = first_from(c, known, from)?;
    }
    let documents = c.index_find(wanted, within, chunk)?;
    // An incomplete answer counts as a chunk even if it is empty, so that the number of queries is bounded.
    let looked_at = documents.numbers.len().max(if documents.rest.is_some() { chunk } else { 0 });
    let sql = format!(
        "SELECT d.message_id FROM {} JOIN search_document d ON d.number = CAST(value AS BIGINT) ORDER BY d.number DESC",
        c.items(1)
    );
    let ids = c.query(&sql, params![documents.numbers.iter().copied().collect::<List>()], |row| row.get(0))?;
    let rest = match documents.rest {
        None => None,
        Some(number) => message_from(c, known, number)?.map(|(_, id)| id).or_else(|| known.last_id.clone()),
    };
    Ok(Chunk { ids, looked_at, rest })
}

/// The number of the account's first document whose id is not below `id`, or the end of the range. A binary search: numbers increase
/// with ids.
fn first_from(c: &Transaction<'_>, known: &Indexing, id: &MessageId) -> Result<i64, StoreError> {
    let documents = known.documents();
    let sql = "SELECT number FROM search_document WHERE message_id = ?1 AND number >= ?2 AND number < ?3";
    // Usually it is the message at the end of the previous page.
    let exact = c.query_opt(sql, params![id, documents.start, documents.end], |row| row.get(0))?;
    if let Some(number) = exact {
        return Ok(number);
    }
    let (mut low, mut high) = (documents.start, documents.end);
    while low < high {
        let middle = low + (high - low) / 2;
        match message_from(c, known, middle)? {
            Some((number, found)) if found < *id => low = number + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The account's first document from a number on.
fn message_from(c: &Transaction<'_>, known: &Indexing, number: i64) -> Result<Option<(i64, MessageId)>, StoreError> {
    let sql =
        "SELECT number, message_id FROM search_document WHERE number >= ?1 AND number < ?2 ORDER BY number LIMIT 1";
    c.query_opt(sql, params![number, known.documents().end], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// The messages within the scope that match the filter, newest first. The bounds of ids have been applied before.
fn fitting(
    c: &Transaction<'_>,
    of: &SearchIn,
    filter: &EmailFilter,
    ids: &[MessageId],
) -> Result<Vec<MessageId>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let inboxes: List = of.inboxes.iter().flatten().map(|id| json!([id])).collect();
    let (named, names) = emails::named(filter, 8);
    let sql = format!(
        "SELECT m.id FROM {} AS item JOIN message m ON m.id = item.value ->> 0
             JOIN inbox i ON i.id = m.inbox_id JOIN mailbox p ON p.id = m.mailbox_id
             JOIN mailbox b ON b.id = CASE p.is_hidden WHEN 0 THEN p.id ELSE p.part_of END
         WHERE i.account_id = ?2 AND (?3 = 0 OR m.inbox_id IN (SELECT o.value ->> 0 FROM {} AS o))
             AND (CAST(?5 AS TEXT) IS NULL OR m.thread_id = ?5) AND m.flags & ?6 = ?6 AND m.flags & ?7 = 0 {} {named}
         ORDER BY m.id DESC",
        c.items(1),
        c.items(4),
        emails::mailboxes(&filter.mailboxes),
    );
    let (ids, has_inboxes) = (rows(ids), i64::from(of.inboxes.is_some()));
    let values = params![ids, of.account, has_inboxes, inboxes, filter.thread, filter.set, filter.unset];
    let all: Vec<&dyn ToValue> = values.iter().copied().chain(names).collect();
    c.query(&sql, &all, |row| row.get(0))
}
