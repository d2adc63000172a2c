//! Webhook subscriptions.
//!
//! Invariant: an account with an active subscription has a row in `webhook_feed`, up to which the event log has been read for it
//! ([`feed`]); an account without one has none. What is recorded for a subscription is in [`deliveries`]. No attempt is made for one
//! that is deactivated, disabled or deleted; its waiting deliveries end ([`ending`]). A deleted one is invisible; its rows are removed in batches.

pub(crate) mod body;
pub(crate) mod capacity;
pub(crate) mod claim;
pub(crate) mod deliveries;
mod ending;
pub(crate) mod expiry;
pub(crate) mod feed;
pub(crate) mod listing;
#[cfg(test)]
mod tests;

use super::hot_rows::HotRow;
use super::version::{self, Versions};
use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::events::{Cursor, Event, PublicType};
use crate::id::{AccountId, WebhookId};
use crate::store::engine::{Row, params};

/// A subscription, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    pub id: WebhookId,
    pub account: AccountId,
    pub url: String,
    pub events: Vec<PublicType>,
    pub is_active: bool,
    /// Until then, deliveries are signed with the previous secret too.
    pub previous_until: Option<Timestamp>,
    /// The first failed attempt after the last success.
    pub failing_since: Option<Timestamp>,
    pub disabled: Option<Disabled>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Why deliveries to an endpoint have stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    pub at: Timestamp,
    pub reason: String,
}

#[derive(Clone, Debug)]
pub struct NewWebhook {
    pub id: WebhookId,
    pub account: AccountId,
    pub url: String,
    pub events: Vec<PublicType>,
    pub is_active: bool,
    /// Sealed.
    pub secret: Vec<u8>,
}

/// `None` leaves a value unchanged.
#[derive(Clone, Debug, Default)]
pub struct WebhookPatch {
    pub url: Option<String>,
    pub events: Option<Vec<PublicType>>,
    pub is_active: Option<bool>,
    /// The versions (`updated_at`) that the change applies to.
    pub versions: Versions,
}

/// The sealed secrets of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedSecrets {
    pub current: Vec<u8>,
    /// While it signs too.
    pub previous: Option<Vec<u8>>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateWebhookError {
    #[error("the account has reached its limit of {0} webhook subscriptions")]
    LimitReached(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeWebhookError {
    #[error("the account has no such webhook subscription")]
    NotFound,
    /// Its version is not one of [`WebhookPatch::versions`].
    #[error("the webhook subscription has changed")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

const COLUMNS: &str = "id, account_id, url, events, is_active, previous_until, failing_since, disabled_at, disabled_reason, created_at, updated_at";

fn webhook(row: &Row<'_>) -> Result<Webhook, StoreError> {
    let disabled = match (row.get(7)?, row.get(8)?) {
        (Some(at), Some(reason)) => Some(Disabled { at, reason }),
        _ => None,
    };
    Ok(Webhook {
        id: row.get(0)?,
        account: row.get(1)?,
        url: row.get(2)?,
        events: types(&row.text(3)?),
        is_active: row.get(4)?,
        previous_until: row.get(5)?,
        failing_since: row.get(6)?,
        disabled,
        created_at: row.get(9)?,
        updated_at: row.get(10)?,
    })
}

/// Skips types of a later version.
fn types(text: &str) -> Vec<PublicType> {
    text.split(' ').filter_map(|word| word.parse().ok()).collect()
}

fn types_text(events: &[PublicType]) -> String {
    events.iter().map(<&'static str>::from).collect::<Vec<_>>().join(" ")
}

fn get(c: &Transaction<'_>, account: &AccountId, id: &WebhookId) -> Result<Option<Webhook>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM webhook_subscription WHERE account_id = ?1 AND id = ?2 AND deleted_at IS NULL");
    c.query_opt(&sql, params![account, id], webhook)
}

/// The subscription, if it has one of the versions.
fn to_change(
    c: &Transaction<'_>,
    account: &AccountId,
    id: &WebhookId,
    versions: &Versions,
) -> Result<Webhook, ChangeWebhookError> {
    let found = get(c, account, id)?.ok_or(ChangeWebhookError::NotFound)?;
    if versions.has(found.updated_at) { Ok(found) } else { Err(ChangeWebhookError::Changed) }
}

/// The place in the log after which events are later than this transaction, and earlier places that are, too, separated by spaces.
fn seen(c: &Transaction<'_>) -> Result<(Cursor, String), StoreError> {
    let (cursor, open) = c.log_seen()?;
    Ok((cursor, open.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
}

/// Inserts or removes the account's feed, after a subscription was changed.
fn update_feed(c: &Transaction<'_>, account: &AccountId) -> Result<(), StoreError> {
    let sql = "SELECT 1 FROM webhook_subscription WHERE account_id = ?1 AND is_active = 1";
    if !c.exists(sql, params![account])? {
        c.execute("DELETE FROM webhook_feed WHERE account_id = ?1", params![account])?;
        return Ok(());
    }
    let Cursor { position, number } = c.log_end()?;
    let sql = "INSERT INTO webhook_feed (account_id, position, number) VALUES (?1, ?2, ?3)
               ON CONFLICT (account_id) DO NOTHING";
    c.execute(sql, params![account, position, number])?;
    Ok(())
}

/// Stops deliveries to an endpoint, and publishes that. What waits ends after the commit ([`ending`]).
fn disable(
    c: &Transaction<'_>,
    account: &AccountId,
    id: &WebhookId,
    reason: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE webhook_subscription SET is_active = 0, disabled_at = ?2, disabled_reason = ?3, updated_at = ?2
               WHERE id = ?1 AND is_active = 1";
    if c.execute(sql, params![id, now, reason])? == 0 {
        return Ok(());
    }
    c.publish(account, Event::WebhookDisabled { subscription_id: id.clone(), reason: reason.to_owned() })?;
    update_feed(c, account)
}

impl Store {
    /// Creates a subscription, unless the account has `limit`. It gets events from now on.
    pub async fn webhook_create(
        &self,
        new: NewWebhook,
        limit: u32,
        now: Timestamp,
    ) -> Result<Webhook, CreateWebhookError> {
        self.write(move |c| {
            let NewWebhook { id, account, url, events, is_active, secret } = &new;
            let sql = "SELECT count(*) FROM webhook_subscription WHERE account_id = ?1 AND deleted_at IS NULL";
            if c.query_row(sql, params![account], |row| row.get::<u32>(0))? >= limit {
                return Err(CreateWebhookError::LimitReached(limit));
            }
            let (Cursor { position, number }, open) = seen(c)?;
            let sql = "INSERT INTO webhook_subscription (id, account_id, url, events, is_active, secret, since_position, since_number,
                           since_open, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)";
            let types = types_text(events);
            c.execute(sql, params![id, account, url, types, is_active, secret, position, number, open, now])?;
            update_feed(c, account)?;
            get(c, account, id)?.ok_or_else(|| StoreError::NoRow("webhook_subscription".to_owned()).into())
        })
        .await
    }

    pub async fn webhook_get(&self, account: &AccountId, id: &WebhookId) -> Result<Option<Webhook>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.read(move |c| get(c, &account, &id)).await
    }

    /// Subscriptions of an account by ID, from the one after `after`.
    pub async fn webhook_list(
        &self,
        account: &AccountId,
        after: Option<&WebhookId>,
        limit: u32,
    ) -> Result<Vec<Webhook>, StoreError> {
        let account = account.clone();
        let after = after.map_or(String::new(), ToString::to_string);
        self.read(move |c| {
            let sql = format!(
                "SELECT {COLUMNS} FROM webhook_subscription WHERE account_id = ?1 AND id > ?2 AND deleted_at IS NULL
                 ORDER BY id LIMIT ?3"
            );
            c.query(&sql, params![account, after, limit], webhook)
        })
        .await
    }

    /// The account that a subscription belongs to.
    pub async fn account_of_webhook(&self, id: &WebhookId) -> Result<Option<AccountId>, StoreError> {
        let id = id.clone();
        self.read(move |c| {
            let sql = "SELECT account_id FROM webhook_subscription WHERE id = ?1 AND deleted_at IS NULL";
            c.query_opt(sql, params![id], |row| row.get(0))
        })
        .await
    }

    /// Changes a subscription. One that is activated gets events from now on.
    pub async fn webhook_change(
        &self,
        account: &AccountId,
        id: &WebhookId,
        patch: WebhookPatch,
        now: Timestamp,
    ) -> Result<Webhook, ChangeWebhookError> {
        let (of, webhook, versions) = (account.clone(), id.clone(), patch.versions.clone());
        self.read(move |c| to_change(c, &of, &webhook, &versions).map(|_| ())).await?;
        if patch.is_active == Some(true) {
            // What it left when it was deactivated is not sent.
            self.webhook_end_waiting(account, id, now).await?;
        }
        let (of, webhook) = (account.clone(), id.clone());
        let hot_rows = [HotRow::Webhooks(account.clone())];
        let changed = self.write_serialized(&hot_rows, move |c| {
            let (account, id) = (&of, &webhook);
            let before = to_change(c, account, id, &patch.versions)?;
            let url = patch.url.as_ref().unwrap_or(&before.url);
            let events = types_text(patch.events.as_ref().unwrap_or(&before.events));
            let is_active = patch.is_active.unwrap_or(before.is_active);
            let sql =
                "UPDATE webhook_subscription SET url = ?2, events = ?3, is_active = ?4, updated_at = ?5 WHERE id = ?1";
            c.execute(sql, params![id, url, events, is_active, version::next(before.updated_at, now)])?;
            if is_active && !before.is_active {
                let (Cursor { position, number }, open) = seen(c)?;
                let sql = "UPDATE webhook_subscription SET since_position = ?2, since_number = ?3, since_open = ?4,
                               failing_since = NULL, disabled_at = NULL, disabled_reason = NULL WHERE id = ?1";
                c.execute(sql, params![id, position, number, open])?;
            }
            update_feed(c, account)?;
            get(c, account, id)?.ok_or(ChangeWebhookError::NotFound)
        });
        let changed = changed.await?;
        self.webhook_end_waiting(account, id, now).await?;
        Ok(changed)
    }

    /// False if there is none with this ID.
    pub async fn webhook_delete(
        &self,
        account: &AccountId,
        id: &WebhookId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (of, webhook) = (account.clone(), id.clone());
        let hot_rows = [HotRow::Webhooks(account.clone())];
        let deleted = self.write_serialized(&hot_rows, move |c| {
            let sql = "UPDATE webhook_subscription SET is_active = 0, deleted_at = ?3
                       WHERE account_id = ?1 AND id = ?2 AND deleted_at IS NULL";
            if c.execute(sql, params![of, webhook, now])? == 0 {
                return Ok::<_, StoreError>(false);
            }
            update_feed(c, &of)?;
            Ok(true)
        });
        let is_deleted = deleted.await?;
        if is_deleted {
            self.webhook_end_waiting(account, id, now).await?;
        }
        Ok(is_deleted)
    }

    /// Replaces the secret; the one before it signs too until `previous_until`. `None` if there is no subscription with this ID.
    pub async fn webhook_rotate_secret(
        &self,
        account: &AccountId,
        id: &WebhookId,
        sealed: Vec<u8>,
        previous_until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Webhook>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| {
            let Some(before) = get(c, &account, &id)? else { return Ok(None) };
            let sql = "UPDATE webhook_subscription SET previous_secret = secret, secret = ?2, previous_until = ?3, updated_at = ?4
                       WHERE id = ?1";
            c.execute(sql, params![id, sealed, previous_until, version::next(before.updated_at, now)])?;
            get(c, &account, &id)
        })
        .await
    }

    /// The secrets of the account's subscriptions that sign at `now`.
    pub async fn webhook_secrets_of(
        &self,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<Vec<(WebhookId, SealedSecrets)>, StoreError> {
        let account = account.clone();
        self.read(move |c| {
            let sql =
                "SELECT id, secret, CASE WHEN previous_until > ?2 THEN previous_secret END FROM webhook_subscription
                       WHERE account_id = ?1 AND deleted_at IS NULL";
            c.query(sql, params![account, now], |row| {
                Ok((row.get(0)?, SealedSecrets { current: row.get(1)?, previous: row.get(2)? }))
            })
        })
        .await
    }

    /// The secrets that sign at `now`.
    pub async fn webhook_secrets(
        &self,
        account: &AccountId,
        id: &WebhookId,
        now: Timestamp,
    ) -> Result<Option<SealedSecrets>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.read(move |c| {
            let sql = "SELECT secret, CASE WHEN previous_until > ?3 THEN previous_secret END FROM webhook_subscription
                       WHERE account_id = ?1 AND id = ?2 AND deleted_at IS NULL";
            c.query_opt(sql, params![account, id, now], |row| {
                Ok(SealedSecrets { current: row.get(0)?, previous: row.get(1)? })
            })
        })
        .await
    }
}

/// The name that the secrets of a subscription are sealed for.
pub(crate) fn sealing_context(id: &WebhookId) -> String {
    format!("webhook {id}")
}

/// Replaces each sealed secret by the result of `seal` for its context. Returns the number of subscriptions.
pub(super) fn reseal<E: From<StoreError>>(
    c: &Transaction<'_>,
    seal: impl Fn(&str, &[u8]) -> Result<Vec<u8>, E>,
) -> Result<usize, E> {
    let ids: Vec<WebhookId> = c.query("SELECT id FROM webhook_subscription", params![], |row| row.get(0))?;
    for id in &ids {
        let sql = "SELECT secret, previous_secret FROM webhook_subscription WHERE id = ?1";
        let (current, previous): (Vec<u8>, Option<Vec<u8>>) =
            c.query_row(sql, params![id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let context = sealing_context(id);
        let current = seal(&context, &current)?;
        let previous = previous.map(|previous| seal(&context, &previous)).transpose()?;
        let sql = "UPDATE webhook_subscription SET secret = ?2, previous_secret = ?3 WHERE id = ?1";
        c.execute(sql, params![id, current, previous])?;
    }
    Ok(ids.len())
}
