//! Requests with an idempotency key, and their responses.
//!
//! Invariant: at most one request runs per token and key while the key is retained.

use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::id::TokenId;
use crate::store::engine::{Row, params};
use std::time::Duration;

/// How long a key is retained.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// A request without a response after this time was interrupted.
const MAX_RUN_TIME: Duration = Duration::from_secs(15 * 60);
/// Between two removals of expired keys.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(3600);
/// A body with more octets is large.
const SMALL: usize = 8 * 1024;
/// Large bodies retained per owner.
const LARGE_BODIES: u32 = 1000;
/// Rows removed per transaction.
const BATCH: u32 = 1000;

/// A request with a key. The hashes are SHA-256.
#[derive(Clone, Debug)]
pub struct KeyedRequest {
    pub token: TokenId,
    /// The account, or an operator's token: the limit applies per owner.
    pub owner: String,
    pub key: [u8; 32],
    /// The hash of method, path and body.
    pub request: [u8; 32],
}

/// A response that is sent again for the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResponse {
    pub status: u16,
    /// Header fields, as JSON.
    pub head: String,
    pub body: Vec<u8>,
}

/// The response to a request.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// If the owner has too many large ones, it is discarded.
    Stored { response: StoredResponse, created: Option<String> },
    /// The response contains a secret, or is too large: only its status and the ID of the created object are stored.
    Discarded { status: u16, created: Option<String> },
}

/// Whether a request may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may. The caller must then call [`Store::idempotency_end`] or [`Store::idempotency_forget`].
    New,
    /// The same request has completed with this response.
    Completed(StoredResponse),
    /// The same request has completed, and its response was discarded.
    Discarded { created: Option<String> },
    /// The same request is running.
    Running,
    /// The same request was interrupted; its outcome is unknown.
    Interrupted,
    /// The key was used for another request.
    Mismatch,
    /// The owner has `limits.idempotency_keys` keys; the oldest expires at `until`.
    LimitReached { until: Timestamp },
}

struct Found {
    request: Vec<u8>,
    started_at: Timestamp,
    status: Option<u16>,
    head: Option<String>,
    body: Option<Vec<u8>>,
    created: Option<String>,
}

fn found(row: &Row<'_>) -> Result<Found, StoreError> {
    let status: Option<i64> = row.get(2)?;
    Ok(Found {
        request: row.get(0)?,
        started_at: row.get(1)?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        head: row.get(3)?,
        body: row.get(4)?,
        created: row.get(5)?,
    })
}

fn before(now: Timestamp, span: Duration) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}

fn begin(c: &Transaction<'_>, keyed: &KeyedRequest, limit: u32, now: Timestamp) -> Result<Begun, StoreError> {
    let KeyedRequest { token, owner, key, request } = keyed;
    let oldest = before(now, KEPT);
    let sql = "DELETE FROM idempotency WHERE owner = ?1 AND started_at <= ?2";
    c.execute(sql, params![owner, oldest])?;
    let sql = "SELECT request, started_at, status, head, body, made FROM idempotency WHERE token_id = ?1 AND key = ?2";
    if let Some(found) = c.query_opt(sql, params![token, key.as_slice()], found)? {
        return Ok(match found {
            Found { request: other, .. } if other != request => Begun::Mismatch,
            Found { status: Some(status), head: Some(head), body: Some(body), .. } => {
                Begun::Completed(StoredResponse { status, head, body })
            }
            Found { status: Some(_), created, .. } => Begun::Discarded { created },
            Found { started_at, .. } if started_at <= before(now, MAX_RUN_TIME) => Begun::Interrupted,
            Found { .. } => Begun::Running,
        });
    }
    let sql = "SELECT count(*), min(started_at) FROM idempotency WHERE owner = ?1";
    let (count, first): (i64, Option<Timestamp>) =
        c.query_row(sql, params![owner], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if count >= i64::from(limit) {
        return Ok(Begun::LimitReached { until: first.unwrap_or(now).after(KEPT) });
    }
    let sql = "INSERT INTO idempotency (token_id, key, request, owner, started_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    c.execute(sql, params![token, key.as_slice(), request.as_slice(), owner, now])?;
    Ok(Begun::New)
}

/// True if the owner has [`LARGE_BODIES`].
fn has_many_large(c: &Transaction<'_>, owner: &str) -> Result<bool, StoreError> {
    let sql =
        "SELECT count(*) FROM (SELECT 1 FROM idempotency WHERE owner = ?1 AND length(body) > ?2 LIMIT ?3) AS large";
    let small = i64::try_from(SMALL).unwrap_or(i64::MAX);
    Ok(c.query_row(sql, params![owner, small, LARGE_BODIES], |row| row.get::<i64>(0))? >= i64::from(LARGE_BODIES))
}

impl Store {
    /// Begins a request. An owner may have up to `limit` keys.
    pub async fn idempotency_begin(
        &self,
        keyed: KeyedRequest,
        limit: u32,
        now: Timestamp,
    ) -> Result<Begun, StoreError> {
        self.write(move |c| begin(c, &keyed, limit, now)).await
    }

    /// Stores the outcome of a request.
    pub async fn idempotency_end(&self, keyed: &KeyedRequest, outcome: Outcome) -> Result<(), StoreError> {
        let (token, key, owner) = (keyed.token.clone(), keyed.key, keyed.owner.clone());
        self.write(move |c| {
            let (status, head, body, created) = match &outcome {
                Outcome::Stored { response: StoredResponse { status, body, .. }, created }
                    if body.len() > SMALL && has_many_large(c, &owner)? =>
                {
                    (*status, None, None, created.as_ref())
                }
                Outcome::Stored { response: StoredResponse { status, head, body }, .. } => {
                    (*status, Some(head), Some(body), None)
                }
                Outcome::Discarded { status, created } => (*status, None, None, created.as_ref()),
            };
            let sql = "UPDATE idempotency SET status = ?3, head = ?4, body = ?5, made = ?6
                       WHERE token_id = ?1 AND key = ?2";
            let body = body.map(Vec::as_slice);
            c.execute(sql, params![token, key.as_slice(), i64::from(status), head, body, created])?;
            Ok(())
        })
        .await
    }

    /// Removes the key of a request that had no effect.
    pub async fn idempotency_forget(&self, keyed: &KeyedRequest) -> Result<(), StoreError> {
        let (token, key) = (keyed.token.clone(), keyed.key);
        self.write(move |c| {
            let sql = "DELETE FROM idempotency WHERE token_id = ?1 AND key = ?2 AND status IS NULL";
            c.execute(sql, params![token, key.as_slice()])?;
            Ok(())
        })
        .await
    }

    /// Removes expired keys until the store is closed.
    pub(crate) async fn run_idempotency_expiry(self, now: impl Fn() -> Timestamp) {
        loop {
            match self.idempotency_remove_expired(now()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "cannot remove expired idempotency keys, retrying in an hour"),
            }
            tokio::time::sleep(EXPIRY_INTERVAL).await;
        }
    }

    /// Removes a batch of expired keys. False if there are none.
    async fn idempotency_remove_expired(&self, now: Timestamp) -> Result<bool, StoreError> {
        let removed = self
            .write(move |c| {
                let sql = "DELETE FROM idempotency WHERE (token_id, key) IN
                           (SELECT token_id, key FROM idempotency WHERE started_at <= ?1 LIMIT ?2)";
                c.execute(sql, params![before(now, KEPT), BATCH])
            })
            .await?;
        Ok(removed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::store_with_account;
    use crate::store::tokens::{NewToken, Scope};

    #[tokio::test]
    async fn a_key_runs_one_request_and_is_retained_for_a_day() {
        let (_dir, store, account) = store_with_account().await;
        let now = Timestamp::real();
        let new = NewToken::new("t", Scope::Account(account.clone()), [1; 32]);
        let token = store.token_create(new, 9, now).await.unwrap().id;
        let keyed = |key: u8, request: u8| KeyedRequest {
            token: token.clone(),
            owner: account.to_string(),
            key: [key; 32],
            request: [request; 32],
        };
        let begin = |keyed: KeyedRequest, now| store.idempotency_begin(keyed, 2, now);
        let hour = Duration::from_secs(3600);

        assert_eq!(begin(keyed(1, 1), now).await.unwrap(), Begun::New);
        assert_eq!(begin(keyed(1, 1), now).await.unwrap(), Begun::Running);
        assert_eq!(begin(keyed(1, 2), now).await.unwrap(), Begun::Mismatch);
        assert_eq!(begin(keyed(1, 1), now.after(hour)).await.unwrap(), Begun::Interrupted);
        let response = StoredResponse { status: 201, head: "{}".into(), body: b"created".to_vec() };
        let stored = Outcome::Stored { response: response.clone(), created: None };
        store.idempotency_end(&keyed(1, 1), stored).await.unwrap();
        assert_eq!(begin(keyed(1, 1), now.after(hour)).await.unwrap(), Begun::Completed(response));
        assert_eq!(begin(keyed(1, 2), now).await.unwrap(), Begun::Mismatch);

        let created = Some("tok_1".to_owned());
        assert_eq!(begin(keyed(2, 1), now.after(hour)).await.unwrap(), Begun::New);
        let discarded = Outcome::Discarded { status: 201, created: created.clone() };
        store.idempotency_end(&keyed(2, 1), discarded).await.unwrap();
        assert_eq!(begin(keyed(2, 1), now.after(hour)).await.unwrap(), Begun::Discarded { created });
        let full = begin(keyed(3, 1), now.after(hour)).await.unwrap();
        assert_eq!(full, Begun::LimitReached { until: now.after(KEPT) });

        // A forgotten key, and expiry after a day.
        let day = now.after(KEPT);
        assert_eq!(begin(keyed(3, 1), day).await.unwrap(), Begun::New);
        store.idempotency_forget(&keyed(3, 1)).await.unwrap();
        assert_eq!(begin(keyed(3, 9), day).await.unwrap(), Begun::New);
        assert!(store.idempotency_remove_expired(day.after(KEPT)).await.unwrap());
        assert!(!store.idempotency_remove_expired(day.after(KEPT)).await.unwrap());
    }
}
