//! Lists deliveries with their attempts.

use super::super::{Store, StoreError, Transaction};
use super::deliveries::{Attempt, State};
use crate::clock::Timestamp;
use crate::events::Cursor;
use crate::id::{AccountId, InboxId, WebhookDeliveryId, WebhookId};
use crate::store::engine::{List, Row, params};
use std::collections::BTreeMap;
use std::time::Duration;

/// A delivery in a list.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: WebhookDeliveryId,
    /// The place of its event in the log.
    pub at: Cursor,
    pub event_id: String,
    pub event_type: String,
    pub inbox: Option<InboxId>,
    pub sequence: i64,
    pub state: State,
    pub created_at: Timestamp,
    pub next_attempt_at: Option<Timestamp>,
    pub attempts: Vec<Attempt>,
}

/// Deliveries of a subscription before a place of the log, with a condition.
macro_rules! listed {
    ($condition:literal) => {
        concat!(
            "SELECT d.id, d.position, d.number, e.id, e.type, e.inbox_id, e.sequence, d.state, e.created_at, d.next_attempt_at
             FROM webhook_delivery d JOIN webhook_event e
                 ON e.account_id = d.account_id AND e.position = d.position AND e.number = d.number
             WHERE d.webhook_id = ?1 AND (d.position, d.number) < (?3, ?4)
                 AND ?2 = (SELECT s.account_id FROM webhook_subscription s WHERE s.id = ?1) ",
            $condition,
            " ORDER BY d.position DESC, d.number DESC LIMIT ?5"
        )
    };
}
pub(super) const LISTED: &str = listed!("");
pub(super) const LISTED_BY_STATE: &str = listed!("AND d.state = ?6");

impl Store {
    /// Deliveries of a subscription from the one before `before` in the event log, the newest first.
    pub async fn webhook_deliveries(
        &self,
        account: &AccountId,
        webhook: &WebhookId,
        state: Option<State>,
        before: Option<Cursor>,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let (account, webhook) = (account.clone(), webhook.clone());
        let Cursor { position, number } = before.unwrap_or(Cursor { position: i64::MAX, number: i64::MAX });
        self.read(move |c| {
            let mut found = match state {
                None => c.query(LISTED, params![webhook, account, position, number, limit], delivery)?,
                Some(state) => {
                    let values = params![webhook, account, position, number, limit, state.to_string()];
                    c.query(LISTED_BY_STATE, values, delivery)?
                }
            };
            let mut attempts = attempts_of(c, &found)?;
            for delivery in &mut found {
                delivery.attempts = attempts.remove(&delivery.id).unwrap_or_default();
            }
            Ok(found)
        })
        .await
    }
}

fn delivery(row: &Row<'_>) -> Result<Delivery, StoreError> {
    let state = row.text(7)?.parse().map_err(|error| StoreError::Corrupt(format!("state of a delivery: {error}")))?;
    Ok(Delivery {
        id: row.get(0)?,
        at: Cursor { position: row.get(1)?, number: row.get(2)? },
        event_id: row.get(3)?,
        event_type: row.get(4)?,
        inbox: row.get(5)?,
        sequence: row.get(6)?,
        state,
        created_at: row.get(8)?,
        next_attempt_at: row.get(9)?,
        attempts: Vec::new(),
    })
}

fn attempts_of(
    c: &Transaction<'_>,
    deliveries: &[Delivery],
) -> Result<BTreeMap<WebhookDeliveryId, Vec<Attempt>>, StoreError> {
    let ids: List = deliveries.iter().map(|delivery| vec![delivery.id.as_str()]).collect();
    let items = c.items(1);
    let sql = format!(
        "SELECT delivery_id, at, status, error, millis FROM webhook_attempt
         WHERE delivery_id IN (SELECT value ->> 0 FROM {items}) ORDER BY delivery_id, number"
    );
    let mut attempts: BTreeMap<_, Vec<Attempt>> = BTreeMap::new();
    let rows = c.query(&sql, params![ids], |row| {
        let duration = Duration::from_millis(row.get::<i64>(4)?.unsigned_abs());
        Ok((row.get(0)?, Attempt { at: row.get(1)?, status: row.get(2)?, error: row.get(3)?, duration }))
    })?;
    for (id, attempt) in rows {
        attempts.entry(id).or_default().push(attempt);
    }
    Ok(attempts)
}
