//! Which inbox an address means.
//!
//! Invariant: an address leads to at most one inbox. Of the claims to a name one at most takes its mail, which an index of the
//! schema holds: the one that was verified last, and no other when that one is deleted.

use super::{Store, StoreError};
use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use rusqlite::{Connection, OptionalExtension, params};

/// Where mail for an address goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Into an inbox.
    Inbox(LocalRecipient),
    /// The domain is ours, the local part is nobody's: 550 5.1.1.
    NoSuchUser,
    /// Somebody claims the domain and its records may still come: 451 4.7.1.
    PendingDomain,
    /// Not ours: 554 5.7.1 at the MX door, the domain's MX for outbound mail.
    NotHosted,
}

/// A recipient that is an inbox here. The store alone makes one, so what the MX door accepts can only be local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRecipient {
    inbox: InboxId,
    account: AccountId,
    address: Address,
    receiving: bool,
}

impl LocalRecipient {
    /// The inbox.
    pub fn inbox(&self) -> &InboxId {
        &self.inbox
    }

    /// Its account.
    pub fn account(&self) -> &AccountId {
        &self.account
    }

    /// The address as the envelope had it.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// True when outbound mail for it is delivered here: at the platform's domain, or at a verified one whose MX leads
    /// here. Otherwise it goes by the domain's MX, like any other's.
    pub fn receiving(&self) -> bool {
        self.receiving
    }
}

impl Store {
    /// Where mail for `address` goes now.
    pub async fn route(&self, platform: &DomainName, address: &Address, now: Timestamp) -> Result<Route, StoreError> {
        let (platform, address) = (platform.clone(), address.clone());
        self.read(move |connection| route(connection, &platform, &address, now)).await
    }

    /// True when outbound mail for `domain` is delivered here, whoever its recipient: at the platform's domain, or at a
    /// verified one whose MX leads here. Otherwise it goes by the domain's MX, like any other's.
    pub async fn delivers(&self, platform: &DomainName, domain: &DomainName) -> Result<bool, StoreError> {
        if platform == domain {
            return Ok(true);
        }
        let domain = domain.clone();
        self.read(move |connection| {
            let claim = match claim_that_receives(connection, &domain)? {
                Some(claim) => Some(claim),
                None => claim_of_return_path(connection, &domain)?,
            };
            Ok(claim.is_some_and(|claim| claim.receiving))
        })
        .await
    }
}

struct Claim {
    id: DomainId,
    account: AccountId,
    receiving: bool,
    catch_all: Option<InboxId>,
}

fn route(
    connection: &Connection,
    platform: &DomainName,
    address: &Address,
    now: Timestamp,
) -> Result<Route, StoreError> {
    let base = address.local.base();
    let to = |inbox: InboxId, account: AccountId, receiving| {
        Route::Inbox(LocalRecipient { inbox, account, address: address.clone(), receiving })
    };
    if address.domain == *platform {
        // The platform's own account has one inbox for both roles.
        let postmaster = InboxName::postmaster();
        let name = if is_role(&base) { postmaster.as_str() } else { &base };
        let sql = "SELECT id, account_id FROM inbox WHERE name = ?1";
        let found =
            connection.prepare_cached(sql)?.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        return Ok(found.map_or(Route::NoSuchUser, |(inbox, account)| to(inbox, account, true)));
    }
    let claim = match claim_that_receives(connection, &address.domain)? {
        Some(claim) => Some(claim),
        None => claim_of_return_path(connection, &address.domain)?,
    };
    let Some(claim) = claim else {
        let sql = "SELECT EXISTS (SELECT 1 FROM custom_domain WHERE name = ?1 AND status = 'pending' AND window_ends_at > ?2)";
        let pending = connection.prepare_cached(sql)?.query_row(params![address.domain, now], |row| row.get(0))?;
        return Ok(if pending { Route::PendingDomain } else { Route::NotHosted });
    };
    let inbox = match inbox_of_claim(connection, &claim, &base)? {
        Some(inbox) => Some(inbox),
        None if claim.catch_all.is_some() => claim.catch_all.clone(),
        None if is_role(&base) => oldest_inbox(connection, &claim.account)?,
        None => None,
    };
    Ok(inbox.map_or(Route::NoSuchUser, |inbox| to(inbox, claim.account, claim.receiving)))
}

/// The roles that somebody must read mail for at every domain: RFC 5321 §4.5.1, RFC 2142 §4.
fn is_role(base: &str) -> bool {
    matches!(base, "postmaster" | "abuse")
}

/// The claim that takes the name's mail: the verified one, or the one that was until its own records broke, since a DKIM
/// fault must not bounce inbound mail ([`crate::domain::status::State::takes_mail`]).
fn claim_that_receives(connection: &Connection, domain: &DomainName) -> Result<Option<Claim>, StoreError> {
    let sql = "SELECT id, account_id, status = 'verified' AND receiving, catch_all_inbox_id FROM custom_domain
               WHERE name = ?1 AND takes_mail";
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Claim { id: row.get(0)?, account: row.get(1)?, receiving: row.get(2)?, catch_all: row.get(3)? })
    };
    Ok(connection.prepare_cached(sql)?.query_row([domain], row).optional()?)
}

/// The claim whose return path the domain is: bounces of its inboxes' mail come back there.
fn claim_of_return_path(connection: &Connection, domain: &DomainName) -> Result<Option<Claim>, StoreError> {
    let Some((label, parent)) = domain.as_str().split_once('.') else { return Ok(None) };
    let sql = "SELECT id, account_id, status = 'verified' AND return_path_ok FROM custom_domain
               WHERE name = ?1 AND return_path = ?2 AND takes_mail";
    let row = |row: &rusqlite::Row<'_>| {
        Ok(Claim { id: row.get(0)?, account: row.get(1)?, receiving: row.get(2)?, catch_all: None })
    };
    Ok(connection.prepare_cached(sql)?.query_row([parent, label], row).optional()?)
}

fn inbox_of_claim(connection: &Connection, claim: &Claim, base: &str) -> Result<Option<InboxId>, StoreError> {
    let sql = "SELECT inbox_id FROM alias WHERE domain_id = ?1 AND local_part = ?2
               UNION ALL SELECT id FROM inbox WHERE account_id = ?3 AND name = ?2 LIMIT 1";
    let found = connection
        .prepare_cached(sql)?
        .query_row(params![claim.id, base, claim.account], |row| row.get(0))
        .optional()?;
    Ok(found)
}

fn oldest_inbox(connection: &Connection, account: &AccountId) -> Result<Option<InboxId>, StoreError> {
    let sql = "SELECT id FROM inbox WHERE account_id = ?1 ORDER BY id LIMIT 1";
    Ok(connection.prepare_cached(sql)?.query_row([account], |row| row.get(0)).optional()?)
}
