//! Reads the event log for webhooks, and records what is to be sent.
//!
//! Invariant: an account's cursor moves in the transaction that records the deliveries of the events it passes, and only from where
//! their reader has begun: two daemons that read the same events record them once. So each event after a subscription's creation
//! gets one delivery, and the events of an inbox are numbered without gaps in the order of the log.

use super::super::due::{self, Kind};
use super::super::events::EventPage;
use super::super::hot_rows::HotRow;
use super::super::{Store, StoreError, Transaction, events};
use super::body::Body;
use super::capacity::{self, Capacity, Limits, ROWS};
use super::types;
use crate::clock::Timestamp;
use crate::events::{Cursor, PublicType};
use crate::id::{AccountId, InboxId, WebhookDeliveryId, WebhookId};
use crate::resources::Owner;
use crate::resources::places::Waiting;
use crate::store::engine::{List, params};
use std::collections::BTreeMap;

/// A feed with events that have not been read for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    pub account: AccountId,
    /// Some of the events can be read: no transaction can still commit one before them.
    pub is_settled: bool,
}

impl Behind {
    pub fn waiting(&self) -> Waiting {
        let epoch = Timestamp::from_millis(0);
        Waiting { owner: Owner::Account(self.account.clone()), served_at: epoch, due_at: epoch }
    }
}

/// Which events an active subscription gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub id: WebhookId,
    /// Events after this place.
    pub since: Cursor,
    /// Places of transactions before it that were open when the subscription was made: their events are after it, too.
    pub open: Vec<i64>,
    pub events: Vec<PublicType>,
}

impl Wanted {
    pub fn includes(&self, at: Cursor, kind: PublicType) -> bool {
        self.is_after_creation(at) && self.events.contains(&kind)
    }

    fn is_after_creation(&self, at: Cursor) -> bool {
        at > self.since || self.open.contains(&at.position)
    }
}

/// The next events of an account.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// Where its reader is.
    pub from: Cursor,
    pub page: EventPage,
    pub wanted: Vec<Wanted>,
}

/// A public event that a reader has come to.
#[derive(Clone, Debug)]
pub struct Read {
    pub at: Cursor,
    pub id: String,
    pub kind: PublicType,
    pub inbox: Option<InboxId>,
    /// `None` if no subscription gets it.
    pub body: Option<Body>,
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Deliveries that may not wait beside the others of their subscriptions.
    pub not_sent: usize,
    /// Ended deliveries that were removed, since the account's limit was reached.
    pub removed: usize,
}

/// A feed, whether an event after its cursor can be read, and whether there is one at all. ?1 is the end of the log's settled part.
const BEHIND: &str = "SELECT f.account_id,
        EXISTS (SELECT 1 FROM event e WHERE e.account_id = f.account_id AND e.position = f.position AND e.number > f.number)
            OR EXISTS (SELECT 1 FROM event e WHERE e.account_id = f.account_id AND e.position > f.position AND e.position <= ?1),
        EXISTS (SELECT 1 FROM event e WHERE e.account_id = f.account_id AND e.position > f.position)
    FROM webhook_feed f";

impl Store {
    /// The accounts with feeds.
    pub async fn webhook_feeds(&self) -> Result<Vec<AccountId>, StoreError> {
        self.read(|c| c.query("SELECT account_id FROM webhook_feed ORDER BY account_id", params![], |row| row.get(0)))
            .await
    }

    /// Those of the accounts, or of all, whose feeds are behind the log.
    pub async fn webhook_feeds_behind(&self, of: Option<Vec<AccountId>>) -> Result<Vec<Behind>, StoreError> {
        self.read(move |c| {
            let end = c.log_end()?;
            let (sql, accounts) = match &of {
                Some(of) => {
                    let items = c.items(2);
                    let ids: List = of.iter().map(|id| vec![id.as_str()]).collect();
                    (format!("{BEHIND} WHERE f.account_id IN (SELECT value ->> 0 FROM {items})"), Some(ids))
                }
                None => (BEHIND.to_owned(), None),
            };
            let row = |row: &super::super::engine::Row<'_>| {
                let (account, is_settled, has_any): (_, bool, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((is_settled || has_any).then_some(Behind { account, is_settled }))
            };
            let found = match &accounts {
                Some(accounts) => c.query(&sql, params![end.position, accounts], row)?,
                None => c.query(&sql, params![end.position], row)?,
            };
            Ok(found.into_iter().flatten().collect())
        })
        .await
    }

    /// Moves the cursors of accounts without new events to the settled end of the log.
    pub async fn webhook_feeds_advance(&self) -> Result<(), StoreError> {
        self.write(|c| {
            let end = c.log_end()?;
            let sql = "UPDATE webhook_feed SET position = ?1, number = ?2
                WHERE (position, number) < (?1, ?2) AND NOT EXISTS (SELECT 1 FROM event e WHERE e.account_id = webhook_feed.account_id
                    AND e.position = webhook_feed.position AND e.number > webhook_feed.number)
                AND NOT EXISTS (SELECT 1 FROM event e WHERE e.account_id = webhook_feed.account_id
                    AND e.position > webhook_feed.position AND e.position <= ?1)";
            c.execute(sql, params![end.position, end.number])?;
            Ok(())
        })
        .await
    }

    /// The next events of an account, up to `limit`. `None` if it has no feed.
    pub async fn webhook_feed_page(&self, account: &AccountId, limit: u32) -> Result<Option<FeedPage>, StoreError> {
        let account = account.clone();
        self.read(move |c| {
            let Some(from) = cursor(c, &account)? else { return Ok(None) };
            let page = events::page(c, &account, None, from, limit)?;
            Ok(Some(FeedPage { from, page, wanted: wanted(c, &account)? }))
        })
        .await
    }

    /// Records the deliveries of public events and moves the cursor from `from` to `to`. `None` if another reader has moved it, or the
    /// feed was removed: then nothing is recorded. Deliveries beyond what may wait are recorded as failed.
    pub async fn webhook_fan_out(
        &self,
        account: &AccountId,
        (from, to): (Cursor, Cursor),
        events: Vec<Read>,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Option<Recorded>, StoreError> {
        let account = account.clone();
        let hot_rows = [HotRow::Webhooks(account.clone())];
        self.write_serialized(&hot_rows, move |c| {
            let sql = "UPDATE webhook_feed SET position = ?4, number = ?5 WHERE account_id = ?1 AND position = ?2 AND number = ?3";
            let values = params![account, from.position, from.number, to.position, to.number];
            if c.execute(sql, values)? == 0 {
                return Ok(None);
            }
            if events.is_empty() {
                return Ok(Some(Recorded::default()));
            }
            let not_sent = record(c, &account, &events, limits, now)?;
            Ok(Some(Recorded { not_sent, removed: capacity::keep_within(c, &account, limits.octets)? }))
        })
        .await
    }
}

fn cursor(c: &Transaction<'_>, account: &AccountId) -> Result<Option<Cursor>, StoreError> {
    let sql = "SELECT position, number FROM webhook_feed WHERE account_id = ?1";
    c.query_opt(sql, params![account], |row| Ok(Cursor { position: row.get(0)?, number: row.get(1)? }))
}

fn wanted(c: &Transaction<'_>, account: &AccountId) -> Result<Vec<Wanted>, StoreError> {
    let sql = "SELECT id, since_position, since_number, since_open, events FROM webhook_subscription
               WHERE account_id = ?1 AND is_active = 1 ORDER BY id";
    c.query(sql, params![account], |row| {
        let since = Cursor { position: row.get(1)?, number: row.get(2)? };
        let open = row.text(3)?.split_ascii_whitespace().filter_map(|position| position.parse().ok()).collect();
        Ok(Wanted { id: row.get(0)?, since, open, events: types(&row.text(4)?) })
    })
}

/// Returns how many deliveries were recorded as failed.
fn record(
    c: &Transaction<'_>,
    account: &AccountId,
    events: &[Read],
    limits: Limits,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let wanted = wanted(c, account)?;
    let (mut capacities, active) = (BTreeMap::new(), i64::try_from(wanted.len()).unwrap_or(i64::MAX));
    for Wanted { id, .. } in &wanted {
        capacities.insert(id, Capacity::of(c, id, active, limits)?);
    }
    let (mut is_due, mut not_sent, mut kept) = (false, 0, 0);
    for event in events {
        let inbox = event.inbox.as_ref().map_or("", InboxId::as_str);
        // On PostgreSQL a new feed begins at the settled end of the log, which can be before events that were committed before
        // every subscription.
        let is_counted = wanted.iter().any(|wanted| wanted.is_after_creation(event.at));
        let sequence = if is_counted { Some(next_number(c, account, inbox)?) } else { None };
        if event.kind == PublicType::InboxDeleted {
            c.execute("DELETE FROM webhook_sequence WHERE account_id = ?1 AND inbox_id = ?2", params![account, inbox])?;
        }
        let Some(sequence) = sequence else { continue };
        let receivers: Vec<_> = wanted.iter().filter(|wanted| wanted.includes(event.at, event.kind)).collect();
        // No body: a subscription was changed after the events were read for those before.
        let Some(body) = event.body.as_ref().filter(|_| !receivers.is_empty()) else { continue };
        let (Cursor { position, number }, kind) = (event.at, <&'static str>::from(&event.kind));
        let size = i64::try_from(body.octets().len()).unwrap_or(i64::MAX);
        let octets = i64::try_from(receivers.len()).unwrap_or(i64::MAX).saturating_mul(ROWS).saturating_add(size);
        kept += octets;
        let sql = "INSERT INTO webhook_event (account_id, position, number, id, type, inbox_id, sequence, body, is_packed, octets, created_at)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9, ?10)";
        let values =
            params![account, position, number, event.id, kind, event.inbox, sequence, body.octets(), octets, now];
        c.execute(sql, values)?;
        for Wanted { id, .. } in receivers {
            let (delivery, size) = (WebhookDeliveryId::new(), size.saturating_add(ROWS));
            let Some(capacity) = capacities.get_mut(id) else { continue };
            if let Some(fault) = capacity.fault() {
                not_sent += 1;
                let sql = "INSERT INTO webhook_delivery (id, webhook_id, account_id, position, number, octets, state, attempts, ended_at)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'failed', 1, ?7)";
                c.execute(sql, params![delivery, id, account, position, number, size, now])?;
                let sql =
                    "INSERT INTO webhook_attempt (delivery_id, number, at, error, millis) VALUES (?1, 1, ?2, ?3, 0)";
                c.execute(sql, params![delivery, now, fault])?;
            } else {
                capacity.take(size);
                is_due = true;
                let sql = "INSERT INTO webhook_delivery (id, webhook_id, account_id, position, number, octets, state, next_attempt_at)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'waiting', ?7)";
                c.execute(sql, params![delivery, id, account, position, number, size, now])?;
            }
        }
    }
    capacity::add(c, account, kept)?;
    if is_due {
        due::added(c, Kind::Webhook, account, now)?;
    }
    Ok(not_sent)
}

fn next_number(c: &Transaction<'_>, account: &AccountId, inbox: &str) -> Result<i64, StoreError> {
    let sql = "INSERT INTO webhook_sequence (account_id, inbox_id, last) VALUES (?1, ?2, 1)
               ON CONFLICT (account_id, inbox_id) DO UPDATE SET last = webhook_sequence.last + 1 RETURNING last";
    c.query_row(sql, params![account, inbox], |row| row.get(0))
}
