//! The addresses of inboxes, and the creation of inboxes with an address at a custom domain.

use super::aliases::{AliasName, CreateAliasError, NewAlias, local_part};
use super::inboxes::{CreateInboxError, Inbox, NewInbox};
use super::names::NameLimits;
use super::{Store, StoreError, Transaction, aliases, domains, inboxes};
use crate::address::{Address, DomainName, InboxName, LocalPart};
use crate::clock::Timestamp;
use crate::id::{AccountId, DomainId, InboxId};
use crate::identity::{Claim, choose};
use crate::store::engine::params;

/// Claims and aliases that determine the addresses of inboxes of an account, read in one snapshot.
#[derive(Clone, Debug)]
pub struct Addresses {
    claims: Vec<Claim>,
    /// The account's default domain.
    default_domain: Option<DomainId>,
    aliases: Vec<(InboxId, InboxAlias)>,
}

#[derive(Clone, Debug)]
struct InboxAlias {
    domain: DomainId,
    local: LocalPart,
    is_primary: bool,
}

impl Addresses {
    /// The address that the inbox currently sends from.
    pub fn sender(&self, inbox: &Inbox, platform: &DomainName) -> Address {
        let default = inbox.default_domain.as_ref().or(self.default_domain.as_ref());
        let claim = self.claims.iter().find(|claim| Some(&claim.id) == default);
        let primary = self.aliases_of(inbox).find(|alias| alias.is_primary && Some(&alias.domain) == default);
        let local = primary.map(|alias| &alias.local);
        choose(&inbox.name, platform, &inbox.name.at(platform), None, claim, local).identity.address()
    }

    /// The addresses of the inbox at custom domains; those with its name come first, then aliases.
    pub fn custom<'a>(&'a self, inbox: &'a Inbox) -> impl Iterator<Item = (Address, &'a Claim)> {
        let named = self.claims.iter().map(|claim| (inbox.name.at(&claim.name), claim));
        let aliases = self.aliases_of(inbox).filter_map(|alias| {
            let claim = self.claims.iter().find(|claim| claim.id == alias.domain)?;
            Some((Address { local: alias.local.clone(), domain: claim.name.clone() }, claim))
        });
        named.chain(aliases)
    }

    fn aliases_of<'a>(&'a self, inbox: &'a Inbox) -> impl Iterator<Item = &'a InboxAlias> {
        self.aliases.iter().filter(|(id, _)| *id == inbox.id).map(|(_, alias)| alias)
    }
}

/// Creates an inbox whose address at its default domain is `local`, with the first of its possible names that is free.
fn create_at(
    c: &Transaction<'_>,
    new: &NewInbox,
    at: &AtDomain,
    (limits, alias_limit): (NameLimits, u32),
    now: Timestamp,
) -> Result<Inbox, CreateInboxError> {
    let AtDomain { domain, local, other_names } = at;
    inboxes::is_new(c, new)?;
    if !inboxes::has_domain(c, &new.account, domain)? {
        return Err(CreateInboxError::UnknownDomain);
    }
    let sql = "SELECT id FROM inbox WHERE account_id = ?1 AND name = ?2";
    if let Some(id) = c.query_opt(sql, params![new.account, local.as_str()], |row| row.get(0))? {
        return Err(CreateInboxError::Exists(id));
    }
    let sql = "SELECT id FROM alias WHERE domain_id = ?1 AND local_part = ?2";
    if let Some(id) = c.query_opt(sql, params![domain, local.as_str()], |row| row.get(0))? {
        return Err(CreateInboxError::AliasHasName(id));
    }
    for name in std::iter::once(&new.name).chain(other_names) {
        let new = NewInbox { name: name.clone(), default_domain: Some(domain.clone()), ..new.clone() };
        let created = match inboxes::create(c, &new, limits, now) {
            Err(CreateInboxError::NameTaken | CreateInboxError::Exists(_) | CreateInboxError::AliasHasName(_)) => {
                continue;
            }
            created => created?,
        };
        if created.name.as_str() != local.as_str() {
            let alias = NewAlias { inbox: &created.id, domain, name: local, is_primary: true };
            aliases::create(c, &new.account, &alias, alias_limit, now).map_err(from_alias_error)?;
        }
        return Ok(created);
    }
    Err(CreateInboxError::NameTaken)
}

fn from_alias_error(error: CreateAliasError) -> CreateInboxError {
    match error {
        CreateAliasError::Exists(id) => CreateInboxError::AliasHasName(id),
        CreateAliasError::InboxHasName(id) => CreateInboxError::Exists(id),
        CreateAliasError::LimitReached(limit) => CreateInboxError::AliasLimitReached(limit),
        CreateAliasError::TooLong => CreateInboxError::TooLong,
        CreateAliasError::UnknownDomain | CreateAliasError::UnknownInbox => CreateInboxError::UnknownDomain,
        CreateAliasError::Store(error) => error.into(),
    }
}

/// The address of a new inbox at a custom domain.
#[derive(Clone, Debug)]
pub struct AtDomain {
    pub domain: DomainId,
    pub local: AliasName,
    /// Alternatives to the name of the new inbox, tried in order.
    pub other_names: Vec<InboxName>,
}

impl Store {
    /// Creates an inbox with the default domain and the address `at`: its name, or else a primary alias.
    pub async fn inbox_create_at(
        &self,
        new: NewInbox,
        at: AtDomain,
        limits: NameLimits,
        aliases: u32,
        now: Timestamp,
    ) -> Result<Inbox, CreateInboxError> {
        self.write(move |c| create_at(c, &new, &at, (limits, aliases), now)).await
    }

    pub async fn inbox_addresses(&self, account: &AccountId, inboxes: Vec<InboxId>) -> Result<Addresses, StoreError> {
        let account = account.clone();
        self.read(move |c| {
            let sql = "SELECT id, name, status, on_unverified FROM custom_domain WHERE account_id = ?1 ORDER BY id";
            let claims = c.query(sql, params![account], domains::claim)?;
            let sql = "SELECT id FROM custom_domain WHERE account_id = ?1 AND is_default = 1";
            let default_domain = c.query_opt(sql, params![account], |row| row.get(0))?;
            let sql = "SELECT domain_id, local_part, is_primary FROM alias WHERE inbox_id = ?1 ORDER BY id";
            let mut aliases = Vec::new();
            for inbox in &inboxes {
                let found = c.query(sql, params![inbox], |row| {
                    Ok(InboxAlias { domain: row.get(0)?, local: local_part(row, 1)?, is_primary: row.get(2)? })
                })?;
                aliases.extend(found.into_iter().map(|alias| (inbox.clone(), alias)));
            }
            Ok(Addresses { claims, default_domain, aliases })
        })
        .await
    }
}
