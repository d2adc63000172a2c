//! Users of accounts, who log in with a password.
//!
//! Invariant: an email address is unique over the users of all accounts; disabling a user or changing the password revokes the
//! user's tokens in the same transaction.

use super::version::Versions;
use super::{Store, StoreError, Transaction};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{AccountId, TokenId, UserId};
use crate::secret::Secret;
use crate::store::engine::{Row, params};

#[derive(Clone, Debug)]
pub struct User {
    pub id: UserId,
    pub account: AccountId,
    /// In lower case.
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    /// The hash of the password, with its parameters.
    pub password: Secret,
    pub disabled_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug)]
pub struct NewUser {
    pub account: AccountId,
    /// In lower case.
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    /// The hash of the password.
    pub password: Secret,
}

/// A change of a user; `None` keeps a field.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    /// Disabling revokes the user's tokens.
    pub is_disabled: Option<bool>,
    /// The hash of a new password. The user's tokens are revoked, except this one.
    pub password: Option<(Secret, Option<TokenId>)>,
    /// The versions (`updated_at`) that the change applies to.
    pub versions: Versions,
}

#[derive(Debug, thiserror::Error)]
pub enum ChangeUserError {
    #[error("there is no such user")]
    NotFound,
    /// Its version is not one of [`UserChange::versions`].
    #[error("the user has changed")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum CreateUserError {
    #[error("a user with this email exists")]
    Exists(UserId),
    #[error("there is no such account")]
    UnknownAccount,
    #[error(transparent)]
    Store(#[from] StoreError),
}

const COLUMNS: &str = "id, account_id, email, first_name, last_name, password, disabled_at, created_at, updated_at";

fn user(row: &Row<'_>) -> Result<User, StoreError> {
    Ok(User {
        id: row.get(0)?,
        account: row.get(1)?,
        email: row.get(2)?,
        first_name: row.get(3)?,
        last_name: row.get(4)?,
        password: Secret::new(row.get::<String>(5)?),
        disabled_at: row.get(6)?,
        created_at: row.get(7)?,
        updated_at: row.get(8)?,
    })
}

fn create(c: &Transaction<'_>, new: &NewUser, now: Timestamp) -> Result<User, CreateUserError> {
    if !c.exists("SELECT 1 FROM account WHERE id = ?1", params![new.account])? {
        return Err(CreateUserError::UnknownAccount);
    }
    let sql = "SELECT id FROM account_user WHERE email = ?1";
    if let Some(id) = c.query_opt(sql, params![new.email], |row| row.get(0))? {
        return Err(CreateUserError::Exists(id));
    }
    let NewUser { account, email, first_name, last_name, password } = new.clone();
    let id = UserId::new();
    let created = User {
        id,
        account,
        email,
        first_name,
        last_name,
        password,
        disabled_at: None,
        created_at: now,
        updated_at: now,
    };
    c.execute(
        "INSERT INTO account_user (id, account_id, email, first_name, last_name, password, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        params![
            created.id,
            created.account,
            created.email,
            created.first_name,
            created.last_name,
            created.password.reveal(),
            now
        ],
    )?;
    Ok(created)
}

/// Revokes the tokens of a user, except `kept`.
fn revoke_log_ins(
    c: &Transaction<'_>,
    account: &AccountId,
    id: &UserId,
    kept: Option<&TokenId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "UPDATE token SET revoked_at = ?3
               WHERE user_id = ?1 AND revoked_at IS NULL AND id <> ?2 RETURNING id";
    let revoked = c.query(sql, params![id, kept.map_or("", TokenId::as_str), now], |row| row.get(0))?;
    revoked.into_iter().try_for_each(|token_id| c.publish(account, Event::TokenRevoked { token_id }))
}

fn change(c: &Transaction<'_>, id: &UserId, change: &UserChange, now: Timestamp) -> Result<User, ChangeUserError> {
    let UserChange { first_name, last_name, is_disabled, password, versions } = change;
    let sql = "SELECT updated_at FROM account_user WHERE id = ?1";
    let version = c.query_opt(sql, params![id], |row| row.get(0))?.ok_or(ChangeUserError::NotFound)?;
    if !versions.has(version) {
        return Err(ChangeUserError::Changed);
    }
    let sql = format!(
        "UPDATE account_user SET first_name = coalesce(?2, first_name), last_name = coalesce(?3, last_name),
             password = coalesce(?4, password), updated_at = CASE WHEN updated_at < ?6 THEN ?6 ELSE updated_at + 1 END,
             disabled_at = CASE CAST(?5 AS BIGINT) WHEN 1 THEN coalesce(disabled_at, ?6) WHEN 0 THEN NULL ELSE disabled_at END
         WHERE id = ?1 RETURNING {COLUMNS}"
    );
    let hash = password.as_ref().map(|(hash, _)| hash.reveal());
    let values = params![id, first_name, last_name, hash, is_disabled.map(i64::from), now];
    let changed = c.query_row(&sql, values, user)?;
    let kept = password.as_ref().and_then(|(_, kept)| kept.as_ref());
    if *is_disabled == Some(true) || password.is_some() {
        revoke_log_ins(c, &changed.account, id, kept.filter(|_| *is_disabled != Some(true)), now)?;
    }
    Ok(changed)
}

impl Store {
    /// Revokes all tokens that log-ins of the user have made.
    pub async fn user_log_out(&self, account: &AccountId, id: &UserId, now: Timestamp) -> Result<(), StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| revoke_log_ins(c, &account, &id, None, now)).await
    }

    pub async fn user_create(&self, new: NewUser, now: Timestamp) -> Result<User, CreateUserError> {
        self.write(move |c| create(c, &new, now)).await
    }

    pub async fn user_get(&self, id: &UserId) -> Result<Option<User>, StoreError> {
        let id = id.clone();
        self.read(move |c| c.query_opt(&format!("SELECT {COLUMNS} FROM account_user WHERE id = ?1"), params![id], user))
            .await
    }

    /// `email` must be in lower case.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let email = email.to_owned();
        self.read(move |c| {
            c.query_opt(&format!("SELECT {COLUMNS} FROM account_user WHERE email = ?1"), params![email], user)
        })
        .await
    }

    /// Users after `after`, in the order of creation: of an account, or of all.
    pub async fn user_list(
        &self,
        account: Option<&AccountId>,
        after: Option<&UserId>,
        limit: u32,
    ) -> Result<Vec<User>, StoreError> {
        let (account, after) = (account.cloned(), after.map_or(String::new(), ToString::to_string));
        self.read(move |c| {
            let whose = if account.is_some() { "account_id = ?3 AND" } else { "" };
            let sql = format!("SELECT {COLUMNS} FROM account_user WHERE {whose} id > ?1 ORDER BY id LIMIT ?2");
            match &account {
                Some(account) => c.query(&sql, params![after, limit, account], user),
                None => c.query(&sql, params![after, limit], user),
            }
        })
        .await
    }

    pub async fn user_change(&self, id: &UserId, changed: UserChange, now: Timestamp) -> Result<User, ChangeUserError> {
        let id = id.clone();
        self.write(move |c| change(c, &id, &changed, now)).await
    }
}
