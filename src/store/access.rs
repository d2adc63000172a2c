//! Entries of allow and block lists.
//!
//! Invariant: an entry of an inbox is deleted with it.

use super::{Store, StoreError, Transaction};
use crate::access::{Action, Direction, Match, Pattern, patterns_of};
use crate::address::Address;
use crate::clock::Timestamp;
use crate::id::{AccessEntryId, AccountId, InboxId};
use crate::store::engine::{List, Row, params};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    pub id: AccessEntryId,
    /// `None` for all inboxes of the account.
    pub inbox: Option<InboxId>,
    pub direction: Direction,
    pub action: Action,
    pub pattern: Pattern,
    pub created_at: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub struct AccessFilter {
    pub inbox: Option<InboxId>,
    pub direction: Option<Direction>,
    pub action: Option<Action>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateEntryError {
    #[error("the account has no such inbox")]
    UnknownInbox,
    #[error("the list has this entry")]
    Exists(AccessEntryId),
    #[error("the account has reached its limit of {0} entries")]
    LimitReached(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn entry(row: &Row<'_>) -> Result<AccessEntry, StoreError> {
    let (id, inbox, direction) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(AccessEntry { id, inbox, direction, action: row.get(3)?, pattern: row.get(4)?, created_at: row.get(5)? })
}

/// The patterns that match one of the addresses.
pub(super) fn patterns<'a>(addresses: impl Iterator<Item = &'a Address>) -> List {
    let patterns: BTreeSet<String> = addresses.flat_map(patterns_of).collect();
    patterns.into_iter().map(|pattern| vec![pattern]).collect()
}

/// Entries of an inbox and its account with one of the patterns.
pub(super) fn matching(
    connection: &Transaction<'_>,
    inbox: &InboxId,
    direction: Direction,
    patterns: &List,
) -> Result<Vec<Match>, StoreError> {
    // Most accounts have no lists.
    let sql = "SELECT account_id FROM inbox WHERE id = ?1
               AND EXISTS (SELECT 1 FROM access_entry e WHERE e.account_id = inbox.account_id AND e.direction = ?2)";
    let account: Option<AccountId> = connection.query_opt(sql, params![inbox, direction], |row| row.get(0))?;
    let Some(account) = account else { return Ok(Vec::new()) };
    let items = connection.items(4);
    let sql = format!(
        "WITH item AS MATERIALIZED (SELECT value ->> 0 AS pattern FROM {items})
         SELECT e.id, e.inbox_id IS NOT NULL, e.action, e.pattern FROM item JOIN access_entry e ON e.pattern = item.pattern
         WHERE e.account_id = ?1 AND e.direction = ?2 AND (e.inbox_id IS NULL OR e.inbox_id = ?3)"
    );
    connection.query(&sql, params![account, direction, inbox, patterns], |row| {
        Ok(Match { id: row.get(0)?, of_inbox: row.get(1)?, action: row.get(2)?, pattern: row.get(3)? })
    })
}

impl Store {
    /// Adds an entry, unless the account has `limit`.
    pub async fn access_add(&self, account: &AccountId, new: AccessEntry, limit: u32) -> Result<(), CreateEntryError> {
        let account = account.clone();
        self.write(move |c| {
            let AccessEntry { id, inbox, direction, action, pattern, created_at } = &new;
            if let Some(inbox) = inbox
                && !c.exists("SELECT 1 FROM inbox WHERE id = ?1 AND account_id = ?2", params![inbox, account])?
            {
                return Err(CreateEntryError::UnknownInbox);
            }
            let sql =
                "SELECT id FROM access_entry WHERE account_id = ?1 AND direction = ?2 AND pattern = ?3 AND action = ?4
                       AND coalesce(inbox_id, '') = coalesce(CAST(?5 AS TEXT), '')";
            if let Some(id) = c.query_opt(sql, params![account, direction, pattern, action, inbox], |row| row.get(0))? {
                return Err(CreateEntryError::Exists(id));
            }
            let sql = "SELECT count(*) FROM access_entry WHERE account_id = ?1";
            if c.query_row(sql, params![account], |row| row.get::<u32>(0))? >= limit {
                return Err(CreateEntryError::LimitReached(limit));
            }
            c.execute(
                "INSERT INTO access_entry (id, account_id, inbox_id, direction, action, pattern, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![id, account, inbox, direction, action, pattern, created_at],
            )?;
            Ok(())
        })
        .await
    }

    /// Entries of the account by ID, from the one after `after`.
    pub async fn access_list(
        &self,
        account: &AccountId,
        filter: AccessFilter,
        after: Option<&AccessEntryId>,
        limit: u32,
    ) -> Result<Vec<AccessEntry>, StoreError> {
        let account = account.clone();
        let after = after.map_or(String::new(), ToString::to_string);
        self.read(move |c| {
            let sql = "SELECT id, inbox_id, direction, action, pattern, created_at FROM access_entry
                       WHERE account_id = ?1 AND id > ?2 AND inbox_id IS NOT DISTINCT FROM coalesce(CAST(?3 AS TEXT), inbox_id)
                       AND direction = coalesce(CAST(?4 AS TEXT), direction) AND action = coalesce(CAST(?5 AS TEXT), action)
                       ORDER BY id LIMIT ?6";
            let AccessFilter { inbox, direction, action } = &filter;
            c.query(sql, params![account, after, inbox, direction, action, limit], entry)
        })
        .await
    }

    /// The account that an entry belongs to.
    pub async fn account_of_access_entry(&self, id: &AccessEntryId) -> Result<Option<AccountId>, StoreError> {
        let id = id.clone();
        self.read(move |c| {
            c.query_opt("SELECT account_id FROM access_entry WHERE id = ?1", params![id], |row| row.get(0))
        })
        .await
    }

    /// Removes an entry. False if the account has none with this ID.
    pub async fn access_remove(&self, account: &AccountId, id: &AccessEntryId) -> Result<bool, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| {
            Ok(c.execute("DELETE FROM access_entry WHERE account_id = ?1 AND id = ?2", params![account, id])? > 0)
        })
        .await
    }
}
