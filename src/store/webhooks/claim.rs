//! Claims due deliveries, fairly between accounts.
//!
//! Invariant: the deliveries of one endpoint are leased by one runner at a time, at most [`PER_ENDPOINT`], first attempts in the order of
//! the event log.

use super::super::due::Kind;
use super::super::hot_rows::HotRow;
use super::super::jobs::{self, Claim, JobKey};
use super::super::{Store, StoreError, Transaction};
use super::body::StoredBody;
use super::{SealedSecrets, deliveries};
use crate::clock::Timestamp;
use crate::id::{AccountId, WebhookDeliveryId, WebhookId};
use crate::resources::Owner;
use crate::resources::places::Places;
use crate::store::engine::params;
use std::collections::{BTreeSet, HashSet, VecDeque};

/// Concurrent attempts to one endpoint.
const PER_ENDPOINT: usize = 8;
/// Those of them that its owner has asked for again.
const AGAIN_PER_ENDPOINT: usize = 4;

/// A leased delivery.
#[derive(Clone, Debug)]
pub struct DueWebhook {
    pub id: WebhookDeliveryId,
    pub webhook: WebhookId,
    pub account: AccountId,
    pub url: String,
    pub secrets: SealedSecrets,
    pub event_id: String,
    pub body: StoredBody,
    /// Attempts since it was recorded, or made due by its owner.
    pub retries: u32,
}

/// The result of a claim.
#[derive(Debug, Default)]
pub struct Claimed {
    /// In the order in which their attempts begin.
    pub due: Vec<DueWebhook>,
    /// Due deliveries were left, since their endpoints have as many attempts as they may have, or another daemon's.
    pub is_held_back: bool,
}

impl Store {
    /// Leases due deliveries for the free places.
    pub async fn webhook_claim(&self, claim: Claim) -> Result<Claimed, StoreError> {
        let (now, lease) = (claim.now, claim.lease.clone());
        let chosen = self.read(move |c| choose(c, &claim)).await?;
        if chosen.deliveries.is_empty() {
            return Ok(Claimed { due: Vec::new(), is_held_back: chosen.is_held_back });
        }
        let accounts = chosen.accounts.iter().cloned().map(HotRow::Webhooks);
        let hot_rows: Vec<HotRow> = accounts.chain([HotRow::Claims(Kind::Webhook.as_str())]).collect();
        let (ids, is_held_back) = (chosen.deliveries, chosen.is_held_back);
        let due = self.write_serialized(&hot_rows, move |c| deliveries::lease(c, now, &lease, &ids)).await?;
        Ok(Claimed { due, is_held_back })
    }

    /// When the next delivery is due for which there is a place.
    pub async fn webhook_next_due(&self, places: Places) -> Result<Option<Timestamp>, StoreError> {
        self.read(move |c| jobs::next_due(c, Kind::Webhook, &places)).await
    }
}

/// Deliveries that a claim is going to lease.
#[derive(Default)]
struct Chosen {
    deliveries: Vec<WebhookDeliveryId>,
    accounts: BTreeSet<AccountId>,
    is_held_back: bool,
}

fn choose(c: &Transaction<'_>, claim: &Claim) -> Result<Chosen, StoreError> {
    let mut line = jobs::line(c, Kind::Webhook, claim.now, claim.places.clone())?;
    let mut chosen = Chosen::default();
    let mut is_held_back = false;
    let mut accounts = BTreeSet::new();
    chosen.deliveries = jobs::choose(&mut line, usize::MAX, |owner| {
        let Owner::Account(account) = owner else { return Ok(VecDeque::new()) };
        accounts.insert(account.clone());
        let found = candidates(c, claim, account)?;
        is_held_back |= found.is_empty();
        Ok(found)
    })?;
    chosen.accounts = accounts;
    chosen.is_held_back = is_held_back;
    Ok(chosen)
}

const ENDPOINTS: &str = "SELECT s.id, EXISTS (SELECT 1 FROM webhook_delivery o
        WHERE o.webhook_id = s.id AND o.lease_until > ?2 AND o.lease_owner <> ?3)
    FROM webhook_subscription s WHERE s.account_id = ?1 AND s.is_active = 1 ORDER BY s.id";
/// Due first attempts of an endpoint, in the order of the log.
pub(super) const FIRST: &str = "SELECT id, next_attempt_at FROM webhook_delivery
    WHERE webhook_id = ?1 AND state = 'waiting' AND attempts = 0 AND ready_at <= ?2 ORDER BY position, number LIMIT ?3";
/// Those that its owner has asked for again, in the order of the log.
pub(super) const AGAIN: &str = "SELECT id, next_attempt_at FROM webhook_delivery
    WHERE webhook_id = ?1 AND state = 'waiting' AND retries = 0 AND attempts > 0 AND ready_at <= ?2
    ORDER BY position, number LIMIT ?3";
/// How many of them are running.
const AGAIN_RUNNING: &str = "SELECT count(*) FROM webhook_delivery
    WHERE webhook_id = ?1 AND lease_until > ?2 AND state = 'waiting' AND retries = 0 AND attempts > 0";
/// Its due retries, the longest waiting first.
pub(super) const RETRIED: &str = "SELECT id, next_attempt_at FROM webhook_delivery
    WHERE webhook_id = ?1 AND state = 'waiting' AND retries > 0 AND next_attempt_at <= ?2 AND ready_at <= ?2
    ORDER BY next_attempt_at LIMIT ?3";

/// The account's due deliveries within the limits of its endpoints: one of each endpoint in turn. What is sent again takes the places
/// that first attempts and retries leave.
fn candidates(
    c: &Transaction<'_>,
    claim: &Claim,
    account: &AccountId,
) -> Result<VecDeque<WebhookDeliveryId>, StoreError> {
    let endpoints: Vec<(WebhookId, bool)> =
        c.query(ENDPOINTS, params![account, claim.now, claim.lease.runner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut lists = Vec::new();
    for (endpoint, is_anothers) in endpoints {
        let running: HashSet<&WebhookDeliveryId> = claim
            .running
            .iter()
            .filter_map(|key| match key {
                JobKey::Webhook(of, id) if *of == endpoint => Some(id),
                _ => None,
            })
            .collect();
        let free = PER_ENDPOINT.saturating_sub(running.len());
        if is_anothers || free == 0 {
            continue;
        }
        let limit = i64::try_from(PER_ENDPOINT).unwrap_or(i64::MAX);
        let due = |sql: &str| {
            let rows = c.query(sql, params![endpoint, claim.now, limit], |row| {
                Ok((row.get::<WebhookDeliveryId>(0)?, row.get::<Timestamp>(1)?))
            })?;
            Ok::<VecDeque<_>, StoreError>(rows.into_iter().filter(|(id, _)| !running.contains(id)).collect())
        };
        let mut list: VecDeque<_> = merged(due(FIRST)?, due(RETRIED)?).take(free).collect();
        let again_running: u32 = c.query_row(AGAIN_RUNNING, params![endpoint, claim.now], |row| row.get(0))?;
        let again_free = AGAIN_PER_ENDPOINT.saturating_sub(again_running as usize).min(free - list.len());
        list.extend(due(AGAIN)?.into_iter().take(again_free).map(|(id, _)| id));
        lists.push(list);
    }
    let mut all = VecDeque::new();
    while lists.iter().any(|list| !list.is_empty()) {
        all.extend(lists.iter_mut().filter_map(VecDeque::pop_front));
    }
    Ok(all)
}

/// First attempts in their order, and retries in theirs; of both, the longer waiting one first.
fn merged(
    mut first: VecDeque<(WebhookDeliveryId, Timestamp)>,
    mut retried: VecDeque<(WebhookDeliveryId, Timestamp)>,
) -> impl Iterator<Item = WebhookDeliveryId> {
    std::iter::from_fn(move || {
        let is_retry = match (first.front(), retried.front()) {
            (Some((_, first)), Some((_, retried))) => retried < first,
            (first, _) => first.is_none(),
        };
        let next = if is_retry { &mut retried } else { &mut first };
        next.pop_front().map(|(id, _)| id)
    })
}

pub(super) fn due(c: &Transaction<'_>, id: &WebhookDeliveryId, now: Timestamp) -> Result<DueWebhook, StoreError> {
    let sql = "SELECT d.webhook_id, d.account_id, s.url, s.secret, CASE WHEN s.previous_until > ?2 THEN s.previous_secret END,
            e.id, d.retries, e.body, e.is_packed, e.sequence
        FROM webhook_delivery d JOIN webhook_subscription s ON s.id = d.webhook_id
            JOIN webhook_event e ON e.account_id = d.account_id AND e.position = d.position AND e.number = d.number
        WHERE d.id = ?1";
    c.query_row(sql, params![id, now], |row| {
        Ok(DueWebhook {
            id: id.clone(),
            webhook: row.get(0)?,
            account: row.get(1)?,
            url: row.get(2)?,
            secrets: SealedSecrets { current: row.get(3)?, previous: row.get(4)? },
            event_id: row.get(5)?,
            retries: row.get(6)?,
            body: StoredBody::from_columns(row, 7)?,
        })
    })
}
