//! Labels of an account: names and colours for keywords. Messages with a label have its keyword.
//!
//! Invariant: every verb takes the account; slugs are unique in an account without regard to case.

use super::version::{self, Versions};
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
    pub updated_at: Timestamp,
}

/// A change of a label; `None` keeps a field.
#[derive(Clone, Debug, Default)]
pub struct LabelChange {
    pub name: Option<String>,
    pub color: Option<String>,
    /// The versions (`updated_at`) that the change applies to.
    pub versions: Versions,
}

#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    #[error("the account already has a label with this slug")]
    Exists(LabelId),
    #[error("the account has reached the limit of {MAX_LABELS} labels")]
    TooMany,
    #[error("the account has no such label")]
    NotFound,
    /// Its version is not one of [`LabelChange::versions`].
    #[error("the label has changed")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

const COLUMNS: &str = "id, name, slug, color, updated_at";

fn label(row: &Row<'_>) -> Result<LabelRow, StoreError> {
    let (id, name, slug) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(LabelRow { id, name, slug, color: row.get(3)?, updated_at: row.get(4)? })
}

impl Store {
    /// The labels of an account, ordered by name.
    pub async fn labels(&self, account: &AccountId) -> Result<Vec<LabelRow>, StoreError> {
        let account = account.clone();
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS} FROM label WHERE account_id = ?1 ORDER BY name, id");
            connection.query(&sql, params![account], label)
        })
        .await
    }

    /// A label, and the account that it belongs to.
    pub async fn label(&self, id: &LabelId) -> Result<Option<(AccountId, LabelRow)>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let sql = format!("SELECT {COLUMNS}, account_id FROM label WHERE id = ?1");
            connection.query_opt(&sql, params![id], |row| Ok((row.get(5)?, label(row)?)))
        })
        .await
    }

    pub async fn label_create(&self, account: &AccountId, new: LabelRow) -> Result<(), LabelError> {
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
            let sql = "INSERT INTO label (id, account_id, name, slug, color, created_at, updated_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)";
            connection.execute(sql, params![new.id, account, new.name, new.slug, new.color, new.updated_at])?;
            Ok(())
        })
        .await
    }

    pub async fn label_change(
        &self,
        account: &AccountId,
        id: &LabelId,
        change: LabelChange,
        now: Timestamp,
    ) -> Result<LabelRow, LabelError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |connection| {
            let sql = "SELECT updated_at FROM label WHERE account_id = ?1 AND id = ?2";
            let found = connection.query_opt(sql, params![account, id], |row| row.get(0))?;
            let before = found.ok_or(LabelError::NotFound)?;
            if !change.versions.has(before) {
                return Err(LabelError::Changed);
            }
            let sql = format!(
                "UPDATE label SET name = coalesce(CAST(?2 AS TEXT), name), color = coalesce(CAST(?3 AS TEXT), color),
                     updated_at = ?4 WHERE id = ?1 RETURNING {COLUMNS}"
            );
            let LabelChange { name, color, .. } = &change;
            Ok(connection.query_row(&sql, params![id, name, color, version::next(before, now)], label)?)
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
