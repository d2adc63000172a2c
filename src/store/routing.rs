//! Routing of mail by recipient address.
//!
//! Invariant: an address is routed to at most one inbox. At most one claim to a name receives its mail, which a unique index
//! enforces: the one that was verified last; if that is deleted, none.

use super::quota::{self, Quota};
use super::{Store, StoreError, Transaction, access};
use crate::access::{Direction, Match, blocks};
use crate::address::{Address, DomainName, InboxName};
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use crate::store::engine::{Row, params};

/// The destination of inbound mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Inbox(LocalRecipient),
    /// The inbox is disabled: 450 4.2.1.
    Disabled,
    /// The domain is hosted, and the local part does not exist: 550 5.1.1.
    NoSuchUser,
    /// The domain has a pending claim: 451 4.7.1.
    PendingDomain,
    /// The domain is not hosted: 554 5.7.1 at the MX server.
    NotHosted,
}

/// The destination of outbound mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A local inbox.
    Here(LocalRecipient),
    /// A local inbox whose quota the message would exceed.
    Full,
    /// A local inbox that is disabled.
    Disabled,
    /// The domain is delivered locally, and the local part does not exist.
    NoSuchUser,
    /// The MX of the domain.
    Elsewhere,
    /// None: an entry of the sender's lists blocks the address.
    Blocked(Match),
}

/// A recipient that is a local inbox. Only the store constructs it, so the MX server can accept only local recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRecipient {
    inbox: InboxId,
    address: Address,
}

impl LocalRecipient {
    pub fn inbox(&self) -> &InboxId {
        &self.inbox
    }

    /// The address of the envelope, with its tag.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Store {
    /// The current route of inbound mail for `address`.
    pub async fn route(&self, platform: &DomainName, address: &Address, now: Timestamp) -> Result<Route, StoreError> {
        let (platform, address) = (platform.clone(), address.clone());
        self.read(move |connection| route(connection, &platform, &address, now)).await
    }

    /// The current destinations of an outbound message of this many octets. A hosted domain whose MX record points elsewhere, or
    /// whose claim is not verified, is remote.
    pub async fn destinations(
        &self,
        sender: &InboxId,
        platform: &DomainName,
        addresses: Vec<Address>,
        octets: u64,
        quota: Quota,
    ) -> Result<Vec<(Address, Destination)>, StoreError> {
        let (sender, platform) = (sender.clone(), platform.clone());
        let find = move |connection: &Transaction<'_>, address: &Address| -> Result<Destination, StoreError> {
            let delivered_here = host(connection, &platform, &address.domain)?.filter(Host::is_delivered_here);
            let Some(host) = delivered_here else { return Ok(Destination::Elsewhere) };
            Ok(match host.recipient(connection, address)? {
                None => Destination::NoSuchUser,
                Some(to) if is_disabled(connection, &to.inbox)? => Destination::Disabled,
                Some(to) if !quota::allows(connection, &to.inbox, octets, quota)? => Destination::Full,
                Some(to) => Destination::Here(to),
            })
        };
        self.read(move |connection| {
            let patterns = access::patterns(addresses.iter());
            let matches = access::matching(connection, &sender, Direction::Send, &patterns)?;
            let found = addresses.iter().map(|address| {
                let destination = match blocks(&matches, address) {
                    Some(entry) => Destination::Blocked(entry),
                    None => find(connection, address)?,
                };
                Ok((address.clone(), destination))
            });
            found.collect()
        })
        .await
    }

    /// True if outbound mail for `domain` is delivered locally: for the platform's domain, or a verified one whose MX record
    /// points to this daemon. Otherwise it is sent to the domain's MX.
    pub async fn delivers(&self, platform: &DomainName, domain: &DomainName) -> Result<bool, StoreError> {
        if platform == domain {
            return Ok(true);
        }
        let (platform, domain) = (platform.clone(), domain.clone());
        self.read(move |connection| Ok(host(connection, &platform, &domain)?.is_some_and(|h| h.is_delivered_here())))
            .await
    }
}

/// The owner of a hosted domain.
enum Host {
    Platform,
    Claim(Claim),
}

struct Claim {
    id: DomainId,
    account: AccountId,
    receiving: bool,
    catch_all: Option<InboxId>,
}

fn host(connection: &Transaction<'_>, platform: &DomainName, domain: &DomainName) -> Result<Option<Host>, StoreError> {
    if domain == platform {
        return Ok(Some(Host::Platform));
    }
    let claim = match claim_that_receives(connection, domain)? {
        Some(claim) => Some(claim),
        None => claim_of_return_path(connection, domain)?,
    };
    Ok(claim.map(Host::Claim))
}

impl Host {
    /// See [`Store::delivers`].
    fn is_delivered_here(&self) -> bool {
        match self {
            Self::Platform => true,
            Self::Claim(claim) => claim.receiving,
        }
    }

    fn recipient(&self, connection: &Transaction<'_>, address: &Address) -> Result<Option<LocalRecipient>, StoreError> {
        let base = address.local.base();
        let inbox = match self {
            Self::Platform => {
                // The platform's account has one inbox for both role addresses.
                let postmaster = InboxName::postmaster();
                let name = if is_role(&base) { postmaster.as_str() } else { &base };
                let sql = "SELECT id FROM inbox WHERE name = ?1";
                connection.query_opt(sql, params![name], |row| row.get(0))?
            }
            Self::Claim(claim) => match inbox_of_claim(connection, claim, &base)? {
                Some(inbox) => Some(inbox),
                None if claim.catch_all.is_some() => claim.catch_all.clone(),
                None if is_role(&base) => oldest_inbox(connection, &claim.account)?,
                None => None,
            },
        };
        Ok(inbox.map(|inbox| LocalRecipient { inbox, address: address.clone() }))
    }
}

fn route(
    connection: &Transaction<'_>,
    platform: &DomainName,
    address: &Address,
    now: Timestamp,
) -> Result<Route, StoreError> {
    let Some(host) = host(connection, platform, &address.domain)? else {
        let sql = "SELECT EXISTS (SELECT 1 FROM custom_domain WHERE name = ?1 AND status = 'pending' AND window_ends_at > ?2)";
        let pending = connection.query_row(sql, params![address.domain, now], |row| row.get(0))?;
        return Ok(if pending { Route::PendingDomain } else { Route::NotHosted });
    };
    Ok(match host.recipient(connection, address)? {
        None => Route::NoSuchUser,
        Some(to) if is_disabled(connection, &to.inbox)? => Route::Disabled,
        Some(to) => Route::Inbox(to),
    })
}

pub(super) fn is_disabled(connection: &Transaction<'_>, inbox: &InboxId) -> Result<bool, StoreError> {
    connection.exists("SELECT 1 FROM inbox WHERE id = ?1 AND disabled_at IS NOT NULL", params![inbox])
}

/// Role addresses required at every domain (RFC 5321 §4.5.1, RFC 2142 §4).
fn is_role(base: &str) -> bool {
    matches!(base, "postmaster" | "abuse")
}

/// The claim that receives mail for a name: the verified one, or one that failed by its own records, since a DKIM fault must not
/// bounce inbound mail ([`crate::verification::status::State::takes_mail`]).
fn claim_that_receives(connection: &Transaction<'_>, domain: &DomainName) -> Result<Option<Claim>, StoreError> {
    let sql = "SELECT id, account_id, status = 'verified' AND receiving = 1, catch_all_inbox_id FROM custom_domain
               WHERE name = ?1 AND takes_mail = 1";
    let row = |row: &Row<'_>| {
        Ok(Claim { id: row.get(0)?, account: row.get(1)?, receiving: row.get(2)?, catch_all: row.get(3)? })
    };
    connection.query_opt(sql, params![domain], row)
}

/// The claim that has the domain as its return path, which receives bounces.
fn claim_of_return_path(connection: &Transaction<'_>, domain: &DomainName) -> Result<Option<Claim>, StoreError> {
    let Some((label, parent)) = domain.as_str().split_once('.') else { return Ok(None) };
    let sql = "SELECT id, account_id, status = 'verified' AND return_path_ok = 1 FROM custom_domain
               WHERE name = ?1 AND return_path = ?2 AND takes_mail = 1";
    let row =
        |row: &Row<'_>| Ok(Claim { id: row.get(0)?, account: row.get(1)?, receiving: row.get(2)?, catch_all: None });
    connection.query_opt(sql, params![parent, label], row)
}

fn inbox_of_claim(connection: &Transaction<'_>, claim: &Claim, base: &str) -> Result<Option<InboxId>, StoreError> {
    let sql = "SELECT inbox_id, 1 AS place FROM alias WHERE domain_id = ?1 AND local_part = ?2
               UNION ALL SELECT id, 2 FROM inbox WHERE account_id = ?3 AND name = ?2 ORDER BY place LIMIT 1";
    let found = connection.query_opt(sql, params![claim.id, base, claim.account], |row| row.get(0))?;
    Ok(found)
}

fn oldest_inbox(connection: &Transaction<'_>, account: &AccountId) -> Result<Option<InboxId>, StoreError> {
    let sql = "SELECT id FROM inbox WHERE account_id = ?1 ORDER BY id LIMIT 1";
    connection.query_opt(sql, params![account], |row| row.get(0))
}
