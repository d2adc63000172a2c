//! Inboxes, and the mapping of an account's addresses to inboxes.
//!
//! Invariant: a name stays reserved for the account that first used it; within an account, no inbox has the local part of an
//! alias as its name.

use super::names::NameLimits;
use super::parts::{HIDDEN, HIDDEN_PREFIX};
use super::version::Versions;
use super::{Store, StoreError, Transaction, mailboxes};
use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{AccountId, AliasId, DomainId, InboxId};
use crate::store::engine::{Row, params};
use crate::store::retention::OwnRetention;
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inbox {
    pub id: InboxId,
    pub account: AccountId,
    /// Unique over all accounts.
    pub name: InboxName,
    /// The custom domain of its identity when it logs in with an address at the platform's domain.
    pub default_domain: Option<DomainId>,
    /// Copies of sent messages are stored in its Sent mailbox.
    pub save_sent: bool,
    /// How long mail stays in its Trash and Junk.
    pub retention: OwnRetention,
    /// Since when it takes no mail, sends none, and cannot be logged in to.
    pub disabled_at: Option<Timestamp>,
    /// Octets of its messages.
    pub size: u64,
    pub created_at: Timestamp,
    /// The version for If-Match.
    pub updated_at: Timestamp,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateInboxError {
    #[error("the account already has an inbox with this name")]
    Exists(InboxId),
    /// Another account has, or had, an inbox with this name.
    #[error("the name is taken")]
    NameTaken,
    /// It may have another name.
    #[error("the account already has an inbox with this client id")]
    Made(Box<Inbox>),
    #[error("an alias of the account already has this local part")]
    AliasHasName(AliasId),
    #[error("the account has reached its limit of {0} aliases")]
    AliasLimitReached(u32),
    #[error("an address has at most 254 octets")]
    TooLong,
    #[error("the account has reached its limit of {0} inboxes")]
    LimitReached(u32),
    #[error("the account has reached its limit of {0} inbox names ever used")]
    NamesUsedUp(u32),
    #[error("there is no such account")]
    UnknownAccount,
    #[error("the account has no such domain")]
    UnknownDomain,
    /// Its version is not one of [`InboxChange::versions`].
    #[error("the inbox has changed")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug)]
pub struct NewInbox {
    pub account: AccountId,
    pub name: InboxName,
    pub default_domain: Option<DomainId>,
    pub save_sent: bool,
    /// Chosen by the client, unique in the account.
    pub client_id: Option<String>,
}

impl NewInbox {
    /// An inbox with default settings.
    pub fn new(account: AccountId, name: InboxName) -> Self {
        Self { account, name, default_domain: None, save_sent: true, client_id: None }
    }
}

/// A change of an inbox; `None` keeps a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxChange {
    /// `Some(None)` removes the default domain.
    pub default_domain: Option<Option<DomainId>>,
    pub save_sent: Option<bool>,
    /// Days until messages are removed from Trash; `Some(None)` for the configured default.
    pub trash_days: Option<Option<u16>>,
    /// The same for Junk.
    pub junk_days: Option<Option<u16>>,
    /// Disabling ends its sessions.
    pub is_disabled: Option<bool>,
    /// The versions (`updated_at`) that the change applies to.
    pub versions: Versions,
}

/// The account of deleted inboxes until their messages are removed.
pub(super) const DELETED: &str = "acc_00000000000000000000000000";

const COLUMNS: &str = "id, account_id, name, default_domain_id, created_at, updated_at, size, save_sent, trash_days, junk_days, disabled_at";

fn inbox(row: &Row<'_>) -> Result<Inbox, StoreError> {
    Ok(Inbox {
        id: row.get(0)?,
        account: row.get(1)?,
        name: row.get(2)?,
        default_domain: row.get(3)?,
        created_at: row.get(4)?,
        updated_at: row.get(5)?,
        size: row.get::<i64>(6)?.unsigned_abs(),
        save_sent: row.get(7)?,
        retention: OwnRetention { trash_days: row.get(8)?, junk_days: row.get(9)? },
        disabled_at: row.get(10)?,
    })
}

pub(super) fn of_account(c: &Transaction<'_>, account: &AccountId, id: &InboxId) -> Result<Option<Inbox>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM inbox WHERE id = ?1 AND account_id = ?2");
    c.query_opt(&sql, params![id, account], inbox)
}

pub(super) fn create(
    c: &Transaction<'_>,
    new: &NewInbox,
    limits: NameLimits,
    now: Timestamp,
) -> Result<Inbox, CreateInboxError> {
    if !c.exists("SELECT 1 FROM account WHERE id = ?1", params![new.account])? {
        return Err(CreateInboxError::UnknownAccount);
    }
    is_new(c, new)?;
    let owner = c.query_opt("SELECT account_id FROM inbox_name WHERE name = ?1", params![&new.name], |row| {
        row.get::<AccountId>(0)
    })?;
    let is_new = owner.is_none();
    if owner.is_some_and(|owner| owner != new.account) {
        return Err(CreateInboxError::NameTaken);
    }
    let existing = c.query_opt("SELECT id FROM inbox WHERE name = ?1", params![&new.name], |row| row.get(0))?;
    if let Some(id) = existing {
        return Err(CreateInboxError::Exists(id));
    }
    let sql = "SELECT a.id FROM alias a JOIN custom_domain d ON d.id = a.domain_id
               WHERE d.account_id = ?1 AND a.local_part = ?2 ORDER BY a.id LIMIT 1";
    let alias = c.query_opt(sql, params![new.account, new.name], |row| row.get(0))?;
    if let Some(id) = alias {
        return Err(CreateInboxError::AliasHasName(id));
    }
    let count: u32 =
        c.query_row("SELECT count(*) FROM inbox WHERE account_id = ?1", params![&new.account], |row| row.get(0))?;
    if count >= limits.present {
        return Err(CreateInboxError::LimitReached(limits.present));
    }
    let sql = "SELECT count(*) FROM inbox_name WHERE account_id = ?1";
    if is_new && c.query_row(sql, params![&new.account], |row| row.get::<u32>(0))? >= limits.ever {
        return Err(CreateInboxError::NamesUsedUp(limits.ever));
    }
    if let Some(domain) = &new.default_domain
        && !has_domain(c, &new.account, domain)?
    {
        return Err(CreateInboxError::UnknownDomain);
    }
    c.execute(
        "INSERT INTO inbox_name (name, account_id) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![new.name, new.account],
    )?;
    let created = Inbox {
        id: InboxId::new(),
        account: new.account.clone(),
        name: new.name.clone(),
        default_domain: new.default_domain.clone(),
        save_sent: new.save_sent,
        retention: OwnRetention::default(),
        disabled_at: None,
        size: 0,
        created_at: now,
        updated_at: now,
    };
    c.execute(
        "INSERT INTO inbox (id, account_id, name, default_domain_id, created_at, updated_at, size, save_sent, client_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, ?6, ?7)",
        params![
            created.id,
            created.account,
            created.name,
            created.default_domain,
            now,
            created.save_sent,
            new.client_id
        ],
    )?;
    mailboxes::create_standard(c, &created.id)?;
    c.publish(&created.account, Event::InboxCreated { inbox_id: created.id.clone() })?;
    Ok(created)
}

/// Fails with [`CreateInboxError::Made`] if the account has an inbox with the client ID.
pub(super) fn is_new(c: &Transaction<'_>, new: &NewInbox) -> Result<(), CreateInboxError> {
    let Some(client_id) = &new.client_id else { return Ok(()) };
    let sql = format!("SELECT {COLUMNS} FROM inbox WHERE account_id = ?1 AND client_id = ?2");
    match c.query_opt(&sql, params![new.account, client_id], inbox)? {
        None => Ok(()),
        Some(made) => Err(CreateInboxError::Made(Box::new(made))),
    }
}

/// True if the account has the claim.
pub(super) fn has_domain(c: &Transaction<'_>, account: &AccountId, domain: &DomainId) -> Result<bool, StoreError> {
    c.exists("SELECT 1 FROM custom_domain WHERE id = ?1 AND account_id = ?2", params![domain, account])
}

/// The inbox that an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub inbox: InboxId,
    pub name: InboxName,
    /// The custom domain of the address; `None` for the platform's domain.
    pub domain: Option<DomainId>,
}

/// The inbox of the account that `address` belongs to: by its name or an alias, with any tag, at the platform's domain or a
/// custom domain of any status. A catch-all address belongs to no inbox. The queries are the same in all cases, so that the time
/// reveals nothing.
pub(super) fn opened_by(
    c: &Transaction<'_>,
    account: &AccountId,
    platform: &DomainName,
    address: &Address,
) -> Result<Option<Opened>, StoreError> {
    let base = address.local.base();
    let domain: Option<DomainId> = c.query_opt(
        "SELECT id FROM custom_domain WHERE account_id = ?1 AND name = ?2",
        params![account, address.domain],
        |row| row.get(0),
    )?;
    let at_platform = address.domain == *platform;
    let domain_key = domain.as_ref().map_or("", DomainId::as_str);
    let sql = "SELECT id, name, 1 AS place FROM inbox WHERE account_id = ?1 AND name = ?2 AND disabled_at IS NULL
               UNION ALL SELECT i.id, i.name, 2 FROM alias a JOIN inbox i ON i.id = a.inbox_id
                         WHERE a.domain_id = ?3 AND a.local_part = ?2 AND i.account_id = ?1 AND i.disabled_at IS NULL
               ORDER BY place LIMIT 1";
    let found: Option<(InboxId, InboxName)> =
        c.query_opt(sql, params![account, base, domain_key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let domain = if at_platform { None } else { domain };
    Ok(found.filter(|_| at_platform || domain.is_some()).map(|(inbox, name)| Opened { inbox, name, domain }))
}

/// Removes an inbox from its account and hides its mailboxes. It cannot be found and receives no mail from now on.
fn delete(c: &Transaction<'_>, account: &AccountId, inbox: &InboxId) -> Result<bool, StoreError> {
    let sql = "UPDATE inbox SET account_id = ?3, name = '~' || id, default_domain_id = NULL, client_id = NULL
               WHERE id = ?1 AND account_id = ?2";
    if c.execute(sql, params![inbox, account, DELETED])? == 0 {
        return Ok(false);
    }
    let sql = format!("UPDATE mailbox SET {HIDDEN} WHERE inbox_id = ?1");
    c.execute(&sql, params![inbox, HIDDEN_PREFIX])?;
    c.execute("DELETE FROM alias WHERE inbox_id = ?1", params![inbox])?;
    c.execute("DELETE FROM access_entry WHERE inbox_id = ?1", params![inbox])?;
    c.execute("DELETE FROM token_inbox WHERE inbox_id = ?1", params![inbox])?;
    let sql = "UPDATE custom_domain SET catch_all_inbox_id = NULL WHERE catch_all_inbox_id = ?1";
    c.execute(sql, params![inbox])?;
    c.execute("UPDATE submission SET inbox_id = NULL WHERE inbox_id = ?1", params![inbox])?;
    c.publish(account, Event::InboxDeleted { inbox_id: inbox.clone() })?;
    Ok(true)
}

impl Store {
    pub async fn inbox_create(
        &self,
        new: NewInbox,
        limits: NameLimits,
        now: Timestamp,
    ) -> Result<Inbox, CreateInboxError> {
        self.write(move |c| create(c, &new, limits, now)).await
    }

    pub async fn inbox_get(&self, account: &AccountId, id: &InboxId) -> Result<Option<Inbox>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.read(move |c| of_account(c, &account, &id)).await
    }

    /// An inbox of any account. For operators.
    pub async fn inbox_of_any_account(&self, id: &InboxId) -> Result<Option<Inbox>, StoreError> {
        let id = id.clone();
        self.read(move |c| {
            let sql = format!("SELECT {COLUMNS} FROM inbox WHERE id = ?1 AND account_id <> ?2");
            c.query_opt(&sql, params![id, DELETED], inbox)
        })
        .await
    }

    /// Inboxes of the account after `after`, in the order of creation; only those in `within`, if given.
    pub async fn inbox_list(
        &self,
        account: &AccountId,
        within: Option<&[InboxId]>,
        after: Option<&InboxId>,
        limit: u32,
    ) -> Result<Vec<Inbox>, StoreError> {
        let account = account.clone();
        let within: Option<BTreeSet<InboxId>> = within.map(|ids| ids.iter().cloned().collect());
        let after = after.map_or(String::new(), ToString::to_string);
        self.read(move |c| {
            let Some(within) = &within else {
                let sql = format!("SELECT {COLUMNS} FROM inbox WHERE account_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3");
                return c.query(&sql, params![account, after, limit], inbox);
            };
            let sql = format!("SELECT {COLUMNS} FROM inbox WHERE account_id = ?1 AND id = ?2");
            let mut list = Vec::new();
            for id in within.iter().filter(|id| id.as_str() > after.as_str()) {
                if list.len() >= limit as usize {
                    break;
                }
                list.extend(c.query_opt(&sql, params![account, id], inbox)?);
            }
            Ok(list)
        })
        .await
    }

    /// Changes an inbox. `None` if the account has no such inbox.
    pub async fn inbox_change(
        &self,
        account: &AccountId,
        id: &InboxId,
        change: InboxChange,
        now: Timestamp,
    ) -> Result<Option<Inbox>, CreateInboxError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| {
            let sql = "SELECT updated_at FROM inbox WHERE id = ?1 AND account_id = ?2";
            let Some(version) = c.query_opt(sql, params![id, account], |row| row.get(0))? else { return Ok(None) };
            if !change.versions.has(version) {
                return Err(CreateInboxError::Changed);
            }
            if let Some(Some(domain)) = &change.default_domain
                && !has_domain(c, &account, domain)?
            {
                return Err(CreateInboxError::UnknownDomain);
            }
            let sql = format!(
                "UPDATE inbox SET default_domain_id = CASE WHEN ?2 = 1 THEN ?3 ELSE default_domain_id END, save_sent = coalesce(?4, save_sent),
                     trash_days = CASE WHEN ?6 = 1 THEN CAST(?7 AS BIGINT) ELSE trash_days END,
                     junk_days = CASE WHEN ?8 = 1 THEN CAST(?9 AS BIGINT) ELSE junk_days END,
                     disabled_at = CASE CAST(?10 AS BIGINT) WHEN 1 THEN coalesce(disabled_at, ?5) WHEN 0 THEN NULL ELSE disabled_at END,
                     updated_at = CASE WHEN updated_at < ?5 THEN ?5 ELSE updated_at + 1 END
                 WHERE id = ?1 RETURNING {COLUMNS}"
            );
            let InboxChange { default_domain, save_sent, trash_days, junk_days, is_disabled, .. } = &change;
            let values = params![
                id,
                default_domain.is_some(),
                default_domain.as_ref().and_then(Option::as_ref),
                save_sent,
                now,
                trash_days.is_some(),
                trash_days.flatten(),
                junk_days.is_some(),
                junk_days.flatten(),
                is_disabled.map(i64::from),
            ];
            let changed = c.query_row(&sql, values, inbox)?;
            if *is_disabled == Some(true) {
                c.publish(&account, Event::InboxDisabled { inbox_id: id.clone() })?;
            }
            Ok(Some(changed))
        })
        .await
    }

    /// Deletes an inbox with its aliases, and ends its sessions. False if the account has no such inbox.
    pub async fn inbox_delete(&self, account: &AccountId, id: &InboxId) -> Result<bool, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| delete(c, &account, &id)).await
    }

    /// The account of an inbox; for a deleted one, the account of deleted inboxes.
    pub async fn inbox_account(&self, id: &InboxId) -> Result<AccountId, StoreError> {
        let id = id.clone();
        self.read(move |c| {
            let sql = "SELECT account_id FROM inbox WHERE id = ?1";
            c.query_row(sql, params![id], |row| row.get(0))
        })
        .await
    }

    /// Deleted inboxes that still have rows.
    pub async fn deleted_inboxes(&self) -> Result<Vec<InboxId>, StoreError> {
        self.read(|c| {
            let sql = "SELECT id FROM inbox WHERE account_id = ?1";
            c.query(sql, params![DELETED], |row| row.get(0))
        })
        .await
    }

    /// Removes the row of a deleted inbox, whose messages must have been removed.
    pub async fn deleted_inbox_remove(&self, id: &InboxId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |c| {
            c.execute("DELETE FROM inbox WHERE id = ?1 AND account_id = ?2", params![id, DELETED])?;
            Ok(())
        })
        .await
    }

    /// The inbox of the account that `address` belongs to; `None` for a catch-all address, which only receives.
    pub async fn inbox_opened_by(
        &self,
        account: &AccountId,
        platform: &DomainName,
        address: &Address,
    ) -> Result<Option<Opened>, StoreError> {
        let (account, platform, address) = (account.clone(), platform.clone(), address.clone());
        self.read(move |c| opened_by(c, &account, &platform, &address)).await
    }
}
