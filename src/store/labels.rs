//! Labels of an account: names and colours for keywords. Messages with a label have its keyword.
//!
//! Invariant: every verb takes the account; slugs are unique in an account without regard to case.

use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::id::{AccountId, LabelId};
use crate::store::engine::{Row, params};

/// The maximum of labels per account.
pub const MAX_LABELS: i64 = 500;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelRow {
    pub id: LabelId,
    pub name: String,
    /// The keyword of messages with this label.
    pub slug: String,
    pub color: String,
}

#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error("the account already has a label with this slug")]
    Exists(LabelId),
    #[error("the account has reached the limit of {MAX_LABELS} labels")]
    TooMany,
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn label(row: &Row<'_>) -> Result<LabelRow, StoreError> {
    Ok(LabelRow { id: row.get(0)?, name: row.get(1)?, slug: row.get(2)?, color: row.get(3)? })
}

impl Store {
    /// The labels of an account, ordered by name.
    pub async fn labels(&self, account: &AccountId) -> Result<Vec<LabelRow>, StoreError> {
        let account = account.clone();
        self.read(move |connection| {
            let sql = "SELECT id, name, slug, color FROM label WHERE account_id = ?1 ORDER BY name, id";
            connection.query(sql, params![account], label)
        })
        .await
    }

    pub async fn account_of_label(&self, id: &LabelId) -> Result<Option<AccountId>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let sql = "SELECT account_id FROM label WHERE id = ?1";
            connection.query_opt(sql, params![id], |row| row.get(0))
        })
        .await
    }

    pub async fn label_create(&self, account: &AccountId, new: LabelRow, now: Timestamp) -> Result<(), LabelError> {
        let account = account.clone();
        self.write(move |connection| {
            let sql = "SELECT id FROM label WHERE account_id = ?1 AND lower(slug) = lower(?2)";
            if let Some(id) = connection.query_opt(sql, params![account, new.slug], |row| row.get(0))? {
                return Err(LabelError::Exists(id));
            }
            let sql = "SELECT count(*) FROM label WHERE account_id = ?1";
            if connection.query_row(sql, params![account], |row| row.get::<i64>(0))? >= MAX_LABELS {
                return Err(LabelError::TooMany);
            }
            let sql =
                "INSERT INTO label (id, account_id, name, slug, color, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            connection.execute(sql, params![new.id, account, new.name, new.slug, new.color, now])?;
            Ok(())
        })
        .await
    }

    /// Changes the name or colour of a label. `None` if the account has no such label.
    pub async fn label_change(
        &self,
        account: &AccountId,
        id: &LabelId,
        name: Option<String>,
        color: Option<String>,
    ) -> Result<Option<LabelRow>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |connection| {
            let sql =
                "UPDATE label SET name = coalesce(CAST(?3 AS TEXT), name), color = coalesce(CAST(?4 AS TEXT), color)
                       WHERE account_id = ?1 AND id = ?2 RETURNING id, name, slug, color";
            connection.query_opt(sql, params![account, id, name, color], label)
        })
        .await
    }

    /// Messages keep the keyword. False if the account has no such label.
    pub async fn label_delete(&self, account: &AccountId, id: &LabelId) -> Result<bool, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |connection| {
            Ok(connection.execute("DELETE FROM label WHERE account_id = ?1 AND id = ?2", params![account, id])? > 0)
        })
        .await
    }
}
