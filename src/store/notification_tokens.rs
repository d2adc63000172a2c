//! Device tokens that apps register for push notifications.
//!
//! Invariant: an account has a token once.

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::{AccountId, NotificationTokenId, UserId};
use crate::store::engine::{Row, params};

/// The maximum of tokens per account.
pub const MAX_NOTIFICATION_TOKENS: i64 = 1000;

#[derive(Clone, Debug)]
pub struct NotificationToken {
    pub id: NotificationTokenId,
    pub account: AccountId,
    /// The user whose log-in has registered it.
    pub user: Option<UserId>,
    pub token: String,
    pub platform: String,
    pub created_at: Timestamp,
    /// When it was registered last.
    pub updated_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("the account has reached the limit of {MAX_NOTIFICATION_TOKENS} notification tokens")]
    TooMany,
    #[error("there is no such account")]
    UnknownAccount,
    #[error(transparent)]
    Store(#[from] StoreError),
}

const COLUMNS: &str = "id, account_id, user_id, token, platform, created_at, updated_at";

fn notification_token(row: &Row<'_>) -> Result<NotificationToken, StoreError> {
    Ok(NotificationToken {
        id: row.get(0)?,
        account: row.get(1)?,
        user: row.get(2)?,
        token: row.get(3)?,
        platform: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
    })
}

impl Store {
    /// Registers a token. One that the account has already keeps its ID, and gets the new platform, user and time.
    pub async fn notification_token_register(
        &self,
        new: NotificationToken,
    ) -> Result<NotificationToken, RegisterError> {
        self.write(move |c| {
            let NotificationToken { id, account, user, token, platform, updated_at, .. } = &new;
            let sql = format!(
                "UPDATE notification_token SET user_id = ?3, platform = ?4, updated_at = ?5
                 WHERE account_id = ?1 AND token = ?2 RETURNING {COLUMNS}"
            );
            let values = params![account, token, user, platform, updated_at];
            if let Some(known) = c.query_opt(&sql, values, notification_token)? {
                return Ok(known);
            }
            if !c.exists("SELECT 1 FROM account WHERE id = ?1", params![account])? {
                return Err(RegisterError::UnknownAccount);
            }
            let sql = "SELECT count(*) FROM notification_token WHERE account_id = ?1";
            if c.query_row(sql, params![account], |row| row.get::<i64>(0))? >= MAX_NOTIFICATION_TOKENS {
                return Err(RegisterError::TooMany);
            }
            let sql = format!(
                "INSERT INTO notification_token ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) RETURNING {COLUMNS}"
            );
            let values = params![id, account, user, token, platform, updated_at];
            Ok(c.query_row(&sql, values, notification_token)?)
        })
        .await
    }

    /// The tokens of an account after `after`, in the order of their IDs.
    pub async fn notification_tokens(
        &self,
        account: &AccountId,
        after: Option<&NotificationTokenId>,
        limit: u32,
    ) -> Result<Vec<NotificationToken>, StoreError> {
        let (account, after) = (account.clone(), after.map_or(String::new(), ToString::to_string));
        self.read(move |c| {
            let sql = format!(
                "SELECT {COLUMNS} FROM notification_token WHERE account_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3"
            );
            c.query(&sql, params![account, after, limit], notification_token)
        })
        .await
    }

    /// Removes a token: of the account, or of any. False if there is none with this ID.
    pub async fn notification_token_remove(
        &self,
        account: Option<&AccountId>,
        id: &NotificationTokenId,
    ) -> Result<bool, StoreError> {
        let (account, id) = (account.cloned(), id.clone());
        self.write(move |c| {
            let sql =
                "DELETE FROM notification_token WHERE id = ?1 AND account_id = coalesce(CAST(?2 AS TEXT), account_id)";
            Ok(c.execute(sql, params![id, account])? > 0)
        })
        .await
    }
}
