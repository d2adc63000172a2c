//! Accounts: the tenants.
//!
//! Invariant: the platform's own account exists from the first start on, and owns the inbox `postmaster`.

use super::inboxes::DELETED;
use super::{Store, StoreError, mailboxes};
use crate::address::InboxName;
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use crate::store::engine::{Row, params};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// Chosen by the operator, not unique.
    pub name: String,
    /// Octets in the queue; the limit is `limits.queue_size`.
    pub queued: u64,
    pub created_at: Timestamp,
}

fn account(row: &Row<'_>) -> Result<Account, StoreError> {
    let queued = row.get::<i64>(2)?.unsigned_abs();
    Ok(Account { id: row.get(0)?, name: row.get(1)?, queued, created_at: row.get(3)? })
}

impl Store {
    pub async fn account_create(&self, name: String, now: Timestamp) -> Result<Account, StoreError> {
        self.write(move |c| {
            let created = Account { id: AccountId::new(), name: name.clone(), queued: 0, created_at: now };
            c.execute(
                "INSERT INTO account (id, name, created_at) VALUES (?1, ?2, ?3)",
                params![created.id, created.name, created.created_at],
            )?;
            Ok(created)
        })
        .await
    }

    pub async fn account_get(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        let id = id.clone();
        self.read(move |c| {
            let sql = "SELECT id, name, queued, created_at FROM account WHERE id = ?1 AND id <> ?2";
            c.query_opt(sql, params![id, DELETED], account)
        })
        .await
    }

    /// Accounts after `after`, in the order of creation.
    pub async fn account_list(&self, after: Option<&AccountId>, limit: u32) -> Result<Vec<Account>, StoreError> {
        let after = after.map_or(String::new(), ToString::to_string);
        self.read(move |c| {
            let sql =
                "SELECT id, name, queued, created_at FROM account WHERE id > ?1 AND id <> ?3 ORDER BY id LIMIT ?2";
            let list = c.query(sql, params![after, limit, DELETED], account)?;
            Ok(list)
        })
        .await
    }

    /// The account that has the claim `id`. For operators.
    pub async fn account_of_domain(&self, id: &DomainId) -> Result<Option<AccountId>, StoreError> {
        let id = id.clone();
        self.read(move |c| {
            let sql = "SELECT account_id FROM custom_domain WHERE id = ?1";
            c.query_opt(sql, params![id], |row| row.get(0))
        })
        .await
    }

    /// Returns the platform's own account, after creating it with its inbox `postmaster` (RFC 5321 §4.5.1) if it does not exist.
    pub async fn ensure_platform_account(&self, now: Timestamp) -> Result<AccountId, StoreError> {
        self.write(move |c| {
            let name = InboxName::postmaster();
            // Reads the key that is inserted below, so that two daemons that start concurrently conflict and one of them retries.
            let sql = "SELECT account_id FROM inbox_name WHERE name = ?1";
            if let Some(found) = c.query_opt(sql, params![&name], |row| row.get(0))? {
                return Ok(found);
            }
            let account = AccountId::new();
            c.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'platform', ?2)", params![account, now])?;
            c.execute("INSERT INTO inbox_name (name, account_id) VALUES (?1, ?2)", params![name, account])?;
            let sql = "INSERT INTO inbox (id, account_id, name, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)";
            let inbox = InboxId::new();
            c.execute(sql, params![inbox, account, name, now])?;
            mailboxes::create_standard(c, &inbox)?;
            Ok(account)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_platform_account_is_created_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let now = Timestamp::real();
        let account = store.ensure_platform_account(now).await.unwrap();
        assert_eq!(store.ensure_platform_account(now).await.unwrap(), account);
        let all = store.account_list(None, 10).await.unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(store.account_get(&account).await.unwrap().as_ref(), all.first());
        let inboxes = store.inbox_list(&account, None, None, 10).await.unwrap();
        assert_eq!(inboxes[0].name, InboxName::postmaster());
    }
}
