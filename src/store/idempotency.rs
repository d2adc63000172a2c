//! Requests with an idempotency key, and their answers.
//!
//! Invariant: a key of a token runs one request; while its answer is kept, no other is run under it.

use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::id::TokenId;
use crate::store::engine::{Row, params};
use std::time::Duration;

/// How long a key is known.
pub const KEPT: Duration = Duration::from_secs(24 * 3600);
/// A request without an answer for so long was cut off.
const LONGEST_RUN: Duration = Duration::from_secs(15 * 60);
/// Between removals.
const REMOVE_PAUSE: Duration = Duration::from_secs(3600);
/// Rows that one transaction removes.
const REMOVED_AT_ONCE: u32 = 1000;

/// A request with a key. The hashes are SHA-256.
#[derive(Clone, Debug)]
pub struct KeyedRequest {
    pub token: TokenId,
    /// Whose keys are limited together: the account, or an operator's token.
    pub owner: String,
    pub key: [u8; 32],
    /// Of method, path and body.
    pub request: [u8; 32],
}

/// An answer that is sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    pub status: u16,
    /// Header fields, as JSON.
    pub head: String,
    pub body: Vec<u8>,
}

/// How a request was answered.
#[derive(Clone, Debug)]
pub enum Outcome {
    Kept(KeptAnswer),
    /// It holds a secret, or is too large: only the id of what was made is kept.
    NotKept {
        status: u16,
        made: Option<String>,
    },
}

/// Whether a request may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It may, and [`Store::idempotency_end`] or [`Store::idempotency_forget`] follows.
    New,
    /// The answer of the first one.
    Answered(KeptAnswer),
    /// It has been answered, and the answer is not kept.
    NotKept { made: Option<String> },
    /// The first one has not been answered yet.
    Running,
    /// The first one was cut off, so its outcome is not known.
    CutOff,
    /// The key was used for another request.
    Other,
    /// The account has as many keys as `limits.idempotency_keys` allows; the oldest expires at `until`.
    LimitReached { until: Timestamp },
}

struct Found {
    request: Vec<u8>,
    started_at: Timestamp,
    status: Option<u16>,
    head: Option<String>,
    body: Option<Vec<u8>>,
    made: Option<String>,
}

fn found(row: &Row<'_>) -> Result<Found, StoreError> {
    let status: Option<i64> = row.get(2)?;
    Ok(Found {
        request: row.get(0)?,
        started_at: row.get(1)?,
        status: status.and_then(|status| u16::try_from(status).ok()),
        head: row.get(3)?,
        body: row.get(4)?,
        made: row.get(5)?,
    })
}

fn cut_off(now: Timestamp, after: Duration) -> Timestamp {
    Timestamp::from_millis(now.millis().saturating_sub(i64::try_from(after.as_millis()).unwrap_or(i64::MAX)))
}

fn begin(c: &Transaction<'_>, keyed: &KeyedRequest, limit: u32, now: Timestamp) -> Result<Begun, StoreError> {
    let KeyedRequest { token, owner, key, request } = keyed;
    let oldest = cut_off(now, KEPT);
    let sql = "DELETE FROM idempotency WHERE owner = ?1 AND started_at <= ?2";
    c.execute(sql, params![owner, oldest])?;
    let sql = "SELECT request, started_at, status, head, body, made FROM idempotency WHERE token_id = ?1 AND key = ?2";
    if let Some(found) = c.query_opt(sql, params![token, key.as_slice()], found)? {
        return Ok(match found {
            Found { request: other, .. } if other != request => Begun::Other,
            Found { status: Some(status), head: Some(head), body: Some(body), .. } => {
                Begun::Answered(KeptAnswer { status, head, body })
            }
            Found { status: Some(_), made, .. } => Begun::NotKept { made },
            Found { started_at, .. } if started_at <= cut_off(now, LONGEST_RUN) => Begun::CutOff,
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

impl Store {
    /// Begins a request with a key, of which an owner has at most `limit`.
    pub async fn idempotency_begin(
        &self,
        keyed: KeyedRequest,
        limit: u32,
        now: Timestamp,
    ) -> Result<Begun, StoreError> {
        self.write(move |c| begin(c, &keyed, limit, now)).await
    }

    /// Keeps the outcome of a request.
    pub async fn idempotency_end(&self, keyed: &KeyedRequest, outcome: Outcome) -> Result<(), StoreError> {
        let (token, key) = (keyed.token.clone(), keyed.key);
        self.write(move |c| {
            let (status, head, body, made) = match &outcome {
                Outcome::Kept(KeptAnswer { status, head, body }) => (*status, Some(head), Some(body), None),
                Outcome::NotKept { status, made } => (*status, None, None, made.as_ref()),
            };
            let sql = "UPDATE idempotency SET status = ?3, head = ?4, body = ?5, made = ?6
                       WHERE token_id = ?1 AND key = ?2";
            let body = body.map(Vec::as_slice);
            c.execute(sql, params![token, key.as_slice(), i64::from(status), head, body, made])?;
            Ok(())
        })
        .await
    }

    /// Forgets a request that has done nothing.
    pub async fn idempotency_forget(&self, keyed: &KeyedRequest) -> Result<(), StoreError> {
        let (token, key) = (keyed.token.clone(), keyed.key);
        self.write(move |c| {
            let sql = "DELETE FROM idempotency WHERE token_id = ?1 AND key = ?2 AND status IS NULL";
            c.execute(sql, params![token, key.as_slice()])?;
            Ok(())
        })
        .await
    }

    /// Removes answers that are not kept any more, again and again. Ends when the store is closed.
    pub(crate) async fn keep_removing_answers(self, now: impl Fn() -> Timestamp) {
        loop {
            match self.idempotency_remove_old(now()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "old answers cannot be removed, trying again in an hour"),
            }
            tokio::time::sleep(REMOVE_PAUSE).await;
        }
    }

    /// At most some. Whether there may be more.
    async fn idempotency_remove_old(&self, now: Timestamp) -> Result<bool, StoreError> {
        let removed = self
            .write(move |c| {
                let sql = "DELETE FROM idempotency WHERE (token_id, key) IN
                           (SELECT token_id, key FROM idempotency WHERE started_at <= ?1 LIMIT ?2)";
                c.execute(sql, params![cut_off(now, KEPT), REMOVED_AT_ONCE])
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
    async fn a_key_runs_one_request_and_is_known_for_a_day() {
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
        assert_eq!(begin(keyed(1, 2), now).await.unwrap(), Begun::Other);
        assert_eq!(begin(keyed(1, 1), now.after(hour)).await.unwrap(), Begun::CutOff);
        let answer = KeptAnswer { status: 201, head: "{}".into(), body: b"made".to_vec() };
        store.idempotency_end(&keyed(1, 1), Outcome::Kept(answer.clone())).await.unwrap();
        assert_eq!(begin(keyed(1, 1), now.after(hour)).await.unwrap(), Begun::Answered(answer));
        assert_eq!(begin(keyed(1, 2), now).await.unwrap(), Begun::Other);

        let made = Some("tok_1".to_owned());
        assert_eq!(begin(keyed(2, 1), now.after(hour)).await.unwrap(), Begun::New);
        store.idempotency_end(&keyed(2, 1), Outcome::NotKept { status: 201, made: made.clone() }).await.unwrap();
        assert_eq!(begin(keyed(2, 1), now.after(hour)).await.unwrap(), Begun::NotKept { made });
        let full = begin(keyed(3, 1), now.after(hour)).await.unwrap();
        assert_eq!(full, Begun::LimitReached { until: now.after(KEPT) });

        // One that has done nothing is forgotten, and all are after a day.
        let day = now.after(KEPT);
        assert_eq!(begin(keyed(3, 1), day).await.unwrap(), Begun::New);
        store.idempotency_forget(&keyed(3, 1)).await.unwrap();
        assert_eq!(begin(keyed(3, 9), day).await.unwrap(), Begun::New);
        assert!(store.idempotency_remove_old(day.after(KEPT)).await.unwrap());
        assert!(!store.idempotency_remove_old(day.after(KEPT)).await.unwrap());
    }
}
