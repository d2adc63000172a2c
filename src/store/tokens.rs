//! API tokens.
//!
//! Invariant: only the hash of a token is stored; the inboxes of a token belong to its account.

use super::inboxes::{Opened, opened_by};
use super::permissions::Permissions;
use super::{Store, StoreError, Transaction};
use crate::address::{Address, DomainName};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{AccountId, InboxId, TokenId, UserId};
use crate::store::engine::{Row, ToValue, params};
use std::time::Duration;

/// Live log-in tokens per user.
const MAX_LOG_INS: u32 = 50;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All accounts.
    Operator,
    Account(AccountId),
    /// Inboxes of one account.
    Inboxes(AccountId, Vec<InboxId>),
}

impl Scope {
    /// `None` for an operator's token.
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Operator => None,
            Self::Account(account) | Self::Inboxes(account, _) => Some(account),
        }
    }

    /// The name in JSON and in the store.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Account(_) => "account",
            Self::Inboxes(..) => "inboxes",
        }
    }
}

/// A stored token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: TokenId,
    /// Chosen by the owner, not unique.
    pub name: String,
    pub scope: Scope,
    pub permissions: Permissions,
    /// The user whose log-in created it.
    pub user: Option<UserId>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    /// The last use, with a resolution of a minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

impl TokenRecord {
    /// True if it is neither revoked nor expired.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    pub scope: Scope,
    pub permissions: Permissions,
    /// The user whose log-in creates it.
    pub user: Option<UserId>,
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}

impl NewToken {
    /// A token that does not expire, with all permissions within its scope.
    pub fn new(name: impl Into<String>, scope: Scope, hash: [u8; 32]) -> Self {
        Self { name: name.into(), scope, permissions: Permissions::all(), user: None, expires_at: None, hash }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    #[error("there is no such account")]
    UnknownAccount,
    #[error("the account has no inbox {0}")]
    UnknownInbox(InboxId),
    /// The user was disabled or deleted during the log-in.
    #[error("the user is disabled")]
    UserDisabled,
    #[error("the account has reached its limit of {0} live tokens")]
    LimitReached(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

const COLUMNS: &str =
    "id, account_id, name, scope, created_at, expires_at, last_used_at, revoked_at, user_id, permissions";

/// The inboxes of the scope are read by [`with_inboxes`].
fn record(row: &Row<'_>) -> Result<TokenRecord, StoreError> {
    let id: TokenId = row.get(0)?;
    let account: Option<AccountId> = row.get(1)?;
    let word: String = row.get(3)?;
    let scope = match (word.as_str(), account) {
        ("operator", None) => Scope::Operator,
        ("account", Some(account)) => Scope::Account(account),
        ("inboxes", Some(account)) => Scope::Inboxes(account, Vec::new()),
        _ => return Err(StoreError::Corrupt(format!("token {id} has the unknown scope {word}"))),
    };
    let permissions = match row.get::<Option<String>>(9)? {
        None => Permissions::all(),
        Some(words) => words
            .split_ascii_whitespace()
            .map(|word| {
                word.parse().map_err(|_| StoreError::Corrupt(format!("token {id} has the unknown permission {word}")))
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(TokenRecord {
        id,
        name: row.get(2)?,
        scope,
        permissions,
        user: row.get(8)?,
        created_at: row.get(4)?,
        expires_at: row.get(5)?,
        last_used_at: row.get(6)?,
        revoked_at: row.get(7)?,
    })
}

fn with_inboxes(c: &Transaction<'_>, token: &mut TokenRecord) -> Result<(), StoreError> {
    if let Scope::Inboxes(_, inboxes) = &mut token.scope {
        let sql = "SELECT inbox_id FROM token_inbox WHERE token_id = ?1 ORDER BY inbox_id";
        *inboxes = c.query(sql, params![token.id], |row| row.get(0))?;
    }
    Ok(())
}

fn find(c: &Transaction<'_>, condition: &str, value: &dyn ToValue) -> Result<Option<TokenRecord>, StoreError> {
    let mut found = c.query_opt(&format!("SELECT {COLUMNS} FROM token WHERE {condition}"), &[value], record)?;
    found.iter_mut().try_for_each(|token| with_inboxes(c, token))?;
    Ok(found)
}

fn by_hash(c: &Transaction<'_>, hash: &[u8; 32]) -> Result<Option<TokenRecord>, StoreError> {
    find(c, "hash = ?1", hash)
}

fn by_id(c: &Transaction<'_>, id: &TokenId) -> Result<Option<TokenRecord>, StoreError> {
    find(c, "id = ?1", id)
}

fn create(c: &Transaction<'_>, new: &NewToken, limit: u32, now: Timestamp) -> Result<TokenRecord, CreateTokenError> {
    if let Some(account) = new.scope.account() {
        if !c.exists("SELECT 1 FROM account WHERE id = ?1", params![account])? {
            return Err(CreateTokenError::UnknownAccount);
        }
        match &new.user {
            None => limit_tokens(c, account, limit, now)?,
            Some(user) => limit_log_ins(c, account, user, now)?,
        }
    }
    let id = TokenId::new();
    let permissions = (!new.permissions.is_all()).then(|| new.permissions.words().collect::<Vec<_>>().join(" "));
    c.execute(
        "INSERT INTO token (id, account_id, name, hash, scope, created_at, expires_at, user_id, permissions)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            id,
            new.scope.account(),
            new.name,
            new.hash.as_slice(),
            new.scope.word(),
            now,
            new.expires_at,
            new.user,
            permissions
        ],
    )?;
    if let Scope::Inboxes(account, inboxes) = &new.scope {
        for inbox in inboxes {
            let sql = "INSERT INTO token_inbox (token_id, inbox_id)
                       SELECT ?1, id FROM inbox WHERE id = ?2 AND account_id = ?3 ON CONFLICT DO NOTHING";
            c.execute(sql, params![id, inbox, account])?;
            if !c.exists("SELECT 1 FROM token_inbox WHERE token_id = ?1 AND inbox_id = ?2", params![id, inbox])? {
                return Err(CreateTokenError::UnknownInbox(inbox.clone()));
            }
        }
    }
    by_id(c, &id)?.ok_or_else(|| StoreError::Corrupt("a created token was not found".into()).into())
}

/// Fails if the account has `limit` live tokens. Removes all but the newest `limit` revoked or expired ones.
fn limit_tokens(c: &Transaction<'_>, account: &AccountId, limit: u32, now: Timestamp) -> Result<(), CreateTokenError> {
    let dead = "account_id = ?1 AND user_id IS NULL AND (revoked_at IS NOT NULL OR (expires_at IS NOT NULL AND expires_at <= ?2))";
    let sql = format!("SELECT count(*) FROM token WHERE account_id = ?1 AND user_id IS NULL AND NOT ({dead})");
    if c.query_row(&sql, params![account, now], |row| row.get::<u32>(0))? >= limit {
        return Err(CreateTokenError::LimitReached(limit));
    }
    let sql = format!(
        "DELETE FROM token WHERE id IN (SELECT id FROM token WHERE {dead} ORDER BY id DESC LIMIT 1000000000 OFFSET ?3)"
    );
    c.execute(&sql, params![account, now, limit])?;
    Ok(())
}

/// Removes the oldest tokens of a user so that one more is within [`MAX_LOG_INS`]. Their sessions end.
fn limit_log_ins(
    c: &Transaction<'_>,
    account: &AccountId,
    user: &UserId,
    now: Timestamp,
) -> Result<(), CreateTokenError> {
    let sql = "SELECT 1 FROM account_user WHERE id = ?1 AND account_id = ?2 AND disabled_at IS NULL";
    if !c.exists(sql, params![user, account])? {
        return Err(CreateTokenError::UserDisabled);
    }
    let over = "user_id = ?1 AND (revoked_at IS NOT NULL OR expires_at <= ?2 OR id IN
                (SELECT id FROM token WHERE user_id = ?1 AND revoked_at IS NULL ORDER BY id DESC LIMIT 1000000000 OFFSET ?3))";
    let sql = format!("DELETE FROM token WHERE {over} RETURNING id");
    let removed = c.query(&sql, params![user, now, MAX_LOG_INS - 1], |row| row.get(0))?;
    for token_id in removed {
        c.publish(account, Event::TokenRevoked { token_id })?;
    }
    Ok(())
}

impl Store {
    /// An account may have up to `limit` live tokens, apart from those of users' log-ins.
    pub async fn token_create(
        &self,
        new: NewToken,
        limit: u32,
        now: Timestamp,
    ) -> Result<TokenRecord, CreateTokenError> {
        self.write(move |c| create(c, &new, limit, now)).await
    }

    /// The token with this hash, live or not.
    pub async fn token_by_hash(&self, hash: [u8; 32]) -> Result<Option<TokenRecord>, StoreError> {
        self.read(move |c| by_hash(c, &hash)).await
    }

    /// The first of these tokens that is live, and is the account's or an operator's.
    pub async fn token_that_opens(
        &self,
        account: &AccountId,
        hashes: Vec<[u8; 32]>,
        now: Timestamp,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let account = account.clone();
        self.read(move |c| {
            for hash in &hashes {
                let opens = |token: &TokenRecord| token.scope.account().is_none_or(|of| *of == account);
                let found = by_hash(c, hash)?.filter(|token| token.is_live(now) && opens(token));
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        })
        .await
    }

    /// The token with this hash, and the inbox of its account that `address` belongs to. Without a token, the second query is run
    /// for an account that does not exist, so that the time reveals nothing.
    pub async fn token_and_inbox(
        &self,
        hash: [u8; 32],
        platform: &DomainName,
        address: &Address,
    ) -> Result<(Option<TokenRecord>, Option<Opened>), StoreError> {
        let (platform, address) = (platform.clone(), address.clone());
        self.read(move |c| {
            let token = by_hash(c, &hash)?;
            let account = token.as_ref().and_then(|token| token.scope.account()).cloned();
            let opened = opened_by(c, &account.unwrap_or_else(AccountId::new), &platform, &address)?;
            Ok((token, opened))
        })
        .await
    }

    /// The token with this ID, and the inbox of its account that `address` belongs to.
    pub async fn token_still_opens(
        &self,
        id: &TokenId,
        platform: &DomainName,
        address: &Address,
    ) -> Result<Option<(TokenRecord, Option<Opened>)>, StoreError> {
        let (id, platform, address) = (id.clone(), platform.clone(), address.clone());
        self.read(move |c| {
            let Some(token) = by_id(c, &id)? else { return Ok(None) };
            let opened = match token.scope.account() {
                Some(account) => opened_by(c, account, &platform, &address)?,
                None => None,
            };
            Ok(Some((token, opened)))
        })
        .await
    }

    /// A token of the account, or, with `None`, of any.
    pub async fn token_get(
        &self,
        account: Option<&AccountId>,
        id: &TokenId,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let (account, id) = (account.cloned(), id.clone());
        self.read(move |c| {
            let found = by_id(c, &id)?;
            Ok(found.filter(|token| account.is_none() || token.scope.account() == account.as_ref()))
        })
        .await
    }

    /// Tokens after `after`, in the order of creation: of the account, or, with `None`, of operators.
    pub async fn token_list(
        &self,
        account: Option<&AccountId>,
        after: Option<&TokenId>,
        limit: u32,
    ) -> Result<Vec<TokenRecord>, StoreError> {
        let account = account.cloned();
        let after = after.map_or(String::new(), ToString::to_string);
        self.read(move |c| {
            let whose = if account.is_some() { "account_id = ?3" } else { "account_id IS NULL" };
            let sql = format!("SELECT {COLUMNS} FROM token WHERE {whose} AND id > ?1 ORDER BY id LIMIT ?2");
            let mut found = match &account {
                Some(account) => c.query(&sql, params![after, limit, account], record)?,
                None => c.query(&sql, params![after, limit], record)?,
            };
            found.iter_mut().try_for_each(|token| with_inboxes(c, token))?;
            Ok(found)
        })
        .await
    }

    /// Revokes a token of the account, or, with `None`, of any; succeeds if it is revoked already. `None` if there is no such
    /// token.
    pub async fn token_revoke(
        &self,
        account: Option<&AccountId>,
        id: &TokenId,
        now: Timestamp,
    ) -> Result<Option<TokenRecord>, StoreError> {
        let (account, id) = (account.cloned(), id.clone());
        self.write(move |transaction| {
            let sql = "UPDATE token SET revoked_at = coalesce(revoked_at, ?3)
                       WHERE id = ?1 AND (CAST(?2 AS TEXT) IS NULL OR account_id = ?2)";
            let changed = transaction.execute(sql, params![id, account, now])?;
            let revoked = if changed == 0 { None } else { by_id(transaction, &id)? };
            if let Some(account) = revoked.as_ref().and_then(|token| token.scope.account()) {
                transaction.publish(account, Event::TokenRevoked { token_id: id.clone() })?;
            }
            Ok(revoked)
        })
        .await
    }

    /// Records a use, unless one was recorded within `resolution`.
    pub async fn token_used(&self, id: &TokenId, now: Timestamp, resolution: Duration) -> Result<(), StoreError> {
        let id = id.clone();
        let resolution = i64::try_from(resolution.as_millis()).unwrap_or(i64::MAX);
        self.write(move |c| {
            let sql = "UPDATE token SET last_used_at = ?2 WHERE id = ?1 AND coalesce(last_used_at, 0) <= CAST(?2 AS BIGINT) - CAST(?3 AS BIGINT)";
            c.execute(sql, params![id, now, resolution])?;
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{account, store_with_account};

    #[tokio::test]
    async fn live_tokens_are_limited_and_old_revoked_ones_are_removed() {
        let (_dir, store, ours) = store_with_account().await;
        let (mut now, mut hash) = (Timestamp::real(), 0);
        let hour = Duration::from_secs(3600);
        let mut create = async |account: &AccountId, expires_at, now| {
            hash += 1;
            let new = NewToken { expires_at, ..NewToken::new("x", Scope::Account(account.clone()), [hash; 32]) };
            store.token_create(new, 2, now).await
        };
        let first = create(&ours, None, now).await.unwrap();
        create(&ours, Some(now.after(hour)), now).await.unwrap();
        let third = create(&ours, None, now).await;
        assert!(matches!(third, Err(CreateTokenError::LimitReached(2))), "{third:?}");
        create(&account(&store).await, None, now).await.unwrap();
        // Expired and revoked tokens do not count.
        now = now.after(hour);
        for _ in 0..9 {
            let token = create(&ours, None, now).await.unwrap();
            store.token_revoke(Some(&ours), &token.id, now).await.unwrap().unwrap();
        }
        let listed = store.token_list(Some(&ours), None, 100).await.unwrap();
        assert_eq!(listed.len(), 4, "{listed:?}");
        assert_eq!(listed.iter().filter(|token| token.is_live(now)).map(|t| &t.id).collect::<Vec<_>>(), [&first.id]);
    }
}
