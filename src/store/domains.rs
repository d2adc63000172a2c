//! Custom domains: claims of accounts to domain names.
//!
//! Invariant: an account has at most one claim to a name and at most one default domain; a catch-all inbox belongs to the same
//! account. Checks are in [`super::checks`].

use super::names::NameLimits;
use super::ownership::{Ownership, contest};
use super::version::Versions;
use super::{Store, StoreError, Transaction, claim_rows};
use crate::address::DomainName;
use crate::clock::Timestamp;
use crate::events::Event;
use crate::id::{AccountId, DomainId, InboxId};
use crate::identity::Claim;
use crate::store::engine::{Params, Row, params};
use crate::verification::judge::{Evidence, RecordStatus};
use crate::verification::records::RecordKey;
use crate::verification::status::{FaultRun, OnUnverified, State};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// A claim, with the evidence of its last check.
#[derive(Clone, Debug)]
pub struct DomainRow {
    pub id: DomainId,
    pub account: AccountId,
    pub name: DomainName,
    pub state: State,
    /// The MX record pointed to this daemon at the last check with a definite answer.
    pub receiving: bool,
    /// The three DKIM tokens.
    pub tokens: [String; 3],
    /// The required value of the TXT record `_inboxlayer.<domain>`, if any.
    pub ownership_secret: Option<String>,
    /// Since when the record of ownership is required, for example because another account has claimed the name.
    pub contested_at: Option<Timestamp>,
    /// The owner has requested a check that has not started.
    pub verify_requested: bool,
    /// A check is running, in whatever daemon, unless its lease has expired.
    pub check_leased_until: Option<Timestamp>,
    /// The label of the subdomain for bounces.
    pub return_path: Option<String>,
    /// Receives mail for local parts that do not exist.
    pub catch_all: Option<InboxId>,
    /// This is the account's default domain.
    pub is_default: bool,
    /// How mail is sent while the domain is not verified.
    pub on_unverified: OnUnverified,
    pub last_checked_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// The version for If-Match.
    pub updated_at: Timestamp,
    /// The newest evidence of each record, and its time.
    pub evidence: BTreeMap<RecordKey, (Evidence, Timestamp)>,
}

#[derive(Clone, Debug)]
pub struct NewDomain {
    pub account: AccountId,
    pub name: DomainName,
    /// The three DKIM tokens.
    pub tokens: [String; 3],
    /// When the record of ownership is required.
    pub ownership: Ownership,
    pub state: State,
    /// Chosen by the client, unique in the account.
    pub client_id: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateDomainError {
    #[error("the account has already claimed this name")]
    Exists(DomainId),
    #[error("the account has reached its limit of custom domains")]
    Full,
    /// Names of deleted claims count too.
    #[error("the account has reached its limit of names ever claimed")]
    NamesUsedUp,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A change of a claim; `None` keeps a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DomainPatch {
    /// `Some(None)` removes the catch-all inbox.
    pub catch_all: Option<Option<InboxId>>,
    pub is_default: Option<bool>,
    pub on_unverified: Option<OnUnverified>,
    /// The label of the return path; `Some(None)` removes it.
    pub return_path: Option<Option<String>>,
    /// The versions (`updated_at`) that the change applies to.
    pub versions: Versions,
}

#[derive(Debug, thiserror::Error)]
pub enum PatchDomainError {
    #[error("the account has no such domain")]
    NotFound,
    #[error("the account has no such inbox")]
    UnknownInbox,
    /// Its version is not one of [`DomainPatch::versions`].
    #[error("the domain has changed")]
    Changed,
    #[error(transparent)]
    Store(#[from] StoreError),
}

const CLAIM: &str = "d.id, d.name, d.status, d.on_unverified";

const COLUMNS: &str = "id, account_id, name, status, receiving, dkim_tokens,
    CASE WHEN contested_at IS NOT NULL THEN ownership_secret END, catch_all_inbox_id, is_default, on_unverified, verified_at,
    window_ends_at, check_count, check_started_at, next_check_at, last_checked_at, created_at, updated_at,
    asked_at IS NOT NULL, return_path, contested_at, takes_mail, lease_until";

pub(super) fn claim(row: &Row<'_>) -> Result<Claim, StoreError> {
    Ok(Claim { id: row.get(0)?, name: row.get(1)?, status: row.get(2)?, on_unverified: row.get(3)? })
}

fn domain(row: &Row<'_>) -> Result<DomainRow, StoreError> {
    let tokens: String = row.get(5)?;
    let mut tokens = tokens.split_ascii_whitespace().map(str::to_owned);
    let mut token = || tokens.next().unwrap_or_default();
    Ok(DomainRow {
        id: row.get(0)?,
        account: row.get(1)?,
        name: row.get(2)?,
        state: State {
            status: row.get(3)?,
            verified_at: row.get(10)?,
            takes_mail: row.get(21)?,
            window_ends_at: row.get(11)?,
            checks: row.get(12)?,
            faults: BTreeMap::new(),
            check_started_at: row.get(13)?,
            next_check_at: row.get(14)?,
        },
        receiving: row.get(4)?,
        tokens: [token(), token(), token()],
        ownership_secret: row.get(6)?,
        return_path: row.get(19)?,
        verify_requested: row.get(18)?,
        check_leased_until: row.get(22)?,
        contested_at: row.get(20)?,
        catch_all: row.get(7)?,
        is_default: row.get(8)?,
        on_unverified: row.get(9)?,
        last_checked_at: row.get(15)?,
        created_at: row.get(16)?,
        updated_at: row.get(17)?,
        evidence: BTreeMap::new(),
    })
}

/// The query for the claims that match `condition`.
pub(super) fn selected(condition: &str) -> String {
    format!("SELECT {COLUMNS} FROM custom_domain WHERE {condition}")
}

/// The first claim that matches `condition`, with its evidence.
pub(super) fn find(c: &Transaction<'_>, condition: &str, with: Params<'_>) -> Result<Option<DomainRow>, StoreError> {
    let found = c.query_opt(&selected(condition), with, domain)?;
    found.map(|row| with_evidence(c, row)).transpose()
}

/// The claims that match `condition`, with their evidence.
pub(super) fn find_all(c: &Transaction<'_>, condition: &str, with: Params<'_>) -> Result<Vec<DomainRow>, StoreError> {
    let found: Vec<DomainRow> = c.query(&selected(condition), with, domain)?;
    found.into_iter().map(|row| with_evidence(c, row)).collect()
}

fn with_evidence(c: &Transaction<'_>, mut domain: DomainRow) -> Result<DomainRow, StoreError> {
    let sql = "SELECT status, observed, error, server, checked_at, fault_since, fault_count, said, observed_name, purpose, name
               FROM domain_record WHERE domain_id = ?1";
    c.for_each(sql, params![&domain.id], |row| {
        let record = RecordKey { purpose: row.get(9)?, name: row.get(10)? };
        if let (Some(since), count @ 1..) = (row.get(5)?, row.get(6)?) {
            domain.state.faults.insert(record.clone(), FaultRun { since, count });
        }
        let (observed, error): (String, Option<String>) = (row.get(1)?, row.get(2)?);
        let (server, answers): (Option<String>, String) = (row.get(3)?, row.get(7)?);
        let evidence = Evidence {
            status: row.get::<RecordStatus>(0)?,
            observed: serde_json::from_str(&observed).map_err(corrupt)?,
            observed_name: row.get(8)?,
            error: error.map(|error| serde_json::from_str(&error)).transpose().map_err(corrupt)?,
            server: server.and_then(|server| server.parse().ok()),
            negative_ttl: None,
            answers: serde_json::from_str(&answers).map_err(corrupt)?,
        };
        domain.evidence.insert(record, (evidence, row.get(4)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(domain)
}

fn corrupt(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("evidence of a record: {error}"))
}

/// Fails if the account cannot claim the name now.
fn may_create(
    c: &Transaction<'_>,
    account: &AccountId,
    name: &DomainName,
    limits: NameLimits,
) -> Result<(), CreateDomainError> {
    let sql = "SELECT id FROM custom_domain WHERE account_id = ?1 AND name = ?2";
    if let Some(id) = c.query_opt(sql, params![account, name], |row| row.get(0))? {
        return Err(CreateDomainError::Exists(id));
    }
    let sql = "SELECT count(*) FROM custom_domain WHERE account_id = ?1";
    let count: u32 = c.query_row(sql, params![account], |row| row.get(0))?;
    if count >= limits.present {
        return Err(CreateDomainError::Full);
    }
    let is_known = "SELECT 1 FROM claimed_name WHERE name = ?1 AND account_id = ?2";
    let sql = "SELECT count(*) FROM claimed_name WHERE account_id = ?1";
    if !c.exists(is_known, params![name, account])?
        && c.query_row(sql, params![account], |row| row.get::<u32>(0))? >= limits.ever
    {
        return Err(CreateDomainError::NamesUsedUp);
    }
    Ok(())
}

fn create(
    c: &Transaction<'_>,
    new: &NewDomain,
    limits: NameLimits,
    now: Timestamp,
) -> Result<DomainRow, CreateDomainError> {
    may_create(c, &new.account, &new.name, limits)?;
    let contested = contest(c, new, now)?;
    let id = DomainId::new();
    claim_rows::insert(c, &id, new, contested, now)?;
    super::history::write_created(c, &id, new.state.status, now)?;
    c.publish(&new.account, Event::DomainCreated { domain_id: id.clone(), domain: new.name.clone() })?;
    find(c, "id = ?1", params![id])?.ok_or_else(|| StoreError::Corrupt("a created claim was not found".into()).into())
}

fn patch(
    c: &Transaction<'_>,
    account: &AccountId,
    id: &DomainId,
    patch: &DomainPatch,
    now: Timestamp,
) -> Result<DomainRow, PatchDomainError> {
    let sql = "SELECT name, updated_at FROM custom_domain WHERE id = ?1 AND account_id = ?2";
    let found = c.query_opt(sql, params![id, account], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (name, version): (DomainName, Timestamp) = found.ok_or(PatchDomainError::NotFound)?;
    if !patch.versions.has(version) {
        return Err(PatchDomainError::Changed);
    }
    if let Some(inbox) = &patch.catch_all {
        if let Some(inbox) = inbox
            && !c.exists("SELECT 1 FROM inbox WHERE id = ?1 AND account_id = ?2", params![inbox, account])?
        {
            return Err(PatchDomainError::UnknownInbox);
        }
        let sql = "UPDATE custom_domain SET catch_all_inbox_id = ?2 WHERE id = ?1";
        c.execute(sql, params![id, inbox])?;
    }
    if let Some(is_default) = patch.is_default {
        if is_default {
            // The previous default loses the flag first: a unique index allows only one.
            let sql = "UPDATE custom_domain SET is_default = 0, updated_at = ?2
                       WHERE account_id = ?1 AND is_default = 1 AND id <> ?3";
            c.execute(sql, params![account, now, id])?;
        }
        let sql = "UPDATE custom_domain SET is_default = ?2 WHERE id = ?1";
        c.execute(sql, params![id, is_default])?;
    }
    if let Some(on_unverified) = patch.on_unverified {
        let sql = "UPDATE custom_domain SET on_unverified = ?2 WHERE id = ?1";
        c.execute(sql, params![id, on_unverified])?;
        super::queue::wake_held(c, id, now)?;
    }
    if let Some(return_path) = &patch.return_path {
        claim_rows::set_return_path(c, id, &name, return_path.as_deref())?;
    }
    let sql =
        "UPDATE custom_domain SET updated_at = CASE WHEN updated_at < ?2 THEN ?2 ELSE updated_at + 1 END WHERE id = ?1";
    c.execute(sql, params![id, now])?;
    c.publish(account, Event::DomainUpdated { domain_id: id.clone() })?;
    find(c, "id = ?1", params![id])?.ok_or(PatchDomainError::NotFound)
}

impl Store {
    /// Fails if [`Store::domain_create`] would fail, to check before expensive work is done for it.
    pub async fn domain_may_create(
        &self,
        account: &AccountId,
        name: &DomainName,
        limits: NameLimits,
    ) -> Result<(), CreateDomainError> {
        let (account, name) = (account.clone(), name.clone());
        self.read(move |c| may_create(c, &account, &name, limits)).await
    }

    pub async fn domain_create(
        &self,
        new: NewDomain,
        limits: NameLimits,
        now: Timestamp,
    ) -> Result<DomainRow, CreateDomainError> {
        self.write(move |c| create(c, &new, limits, now)).await
    }

    pub async fn domain_get(&self, account: &AccountId, id: &DomainId) -> Result<Option<DomainRow>, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.read(move |c| find(c, "id = ?1 AND account_id = ?2", params![id, account])).await
    }

    /// A claim of any account.
    pub async fn domain_of_anyone(&self, id: &DomainId) -> Result<Option<DomainRow>, StoreError> {
        let id = id.clone();
        self.read(move |c| find(c, "id = ?1", params![id])).await
    }

    pub async fn domain_by_client_id(
        &self,
        account: &AccountId,
        client_id: &str,
    ) -> Result<Option<DomainRow>, StoreError> {
        let (account, client_id) = (account.clone(), client_id.to_owned());
        self.read(move |c| find(c, "account_id = ?1 AND client_id = ?2", params![account, client_id])).await
    }

    /// Claims of the account after `after`, in the order of creation.
    pub async fn domain_list(
        &self,
        account: &AccountId,
        after: Option<&DomainId>,
        limit: u32,
    ) -> Result<Vec<DomainRow>, StoreError> {
        let (account, after) = (account.clone(), after.map(ToString::to_string).unwrap_or_default());
        let condition = "account_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
        self.read(move |c| find_all(c, condition, params![account, after, limit])).await
    }

    pub async fn domain_patch(
        &self,
        account: &AccountId,
        id: &DomainId,
        change: DomainPatch,
        now: Timestamp,
    ) -> Result<DomainRow, PatchDomainError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |c| patch(c, &account, &id, &change, now)).await
    }

    /// Deletes a claim with its aliases and keys. False if the account has no such claim.
    pub async fn domain_delete(&self, account: &AccountId, id: &DomainId, now: Timestamp) -> Result<bool, StoreError> {
        let (account, id) = (account.clone(), id.clone());
        self.write(move |transaction| {
            let sql = "SELECT name FROM custom_domain WHERE id = ?1 AND account_id = ?2";
            let domain = transaction.query_opt(sql, params![id, account], |row| row.get(0))?;
            let is_deleted = claim_rows::delete(transaction, &account, &id, now)?;
            if is_deleted {
                transaction.publish(&account, Event::DomainDeleted { domain_id: id.clone(), domain })?;
            }
            Ok(is_deleted)
        })
        .await
    }

    /// The current state of a claim, to choose the identity of outgoing mail. `None` if it was deleted.
    pub async fn claim_for_identity(&self, id: &DomainId) -> Result<Option<Claim>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let sql = format!("SELECT {CLAIM} FROM custom_domain d WHERE d.id = ?1");
            connection.query_opt(&sql, params![id], claim)
        })
        .await
    }

    /// The default domain of an inbox, or else of its account, of any status.
    pub async fn default_claim(&self, inbox: &InboxId) -> Result<Option<Claim>, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| {
            let sql = format!(
                "SELECT {CLAIM} FROM inbox i JOIN custom_domain d ON d.account_id = i.account_id
                     AND (d.id = i.default_domain_id OR (i.default_domain_id IS NULL AND d.is_default = 1))
                 WHERE i.id = ?1"
            );
            connection.query_opt(&sql, params![inbox], claim)
        })
        .await
    }
}
