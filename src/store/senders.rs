//! The data that determine the identity of outgoing mail: the sender's domains with their statuses, and the aliases of its inbox.
//!
//! Invariant: all data are read in one snapshot.

use super::aliases::local_part;
use super::{Store, StoreError, Transaction, domains};
use crate::address::{Address, DomainName, InboxName, LocalPart};
use crate::id::{AccountId, DomainId, InboxId};
use crate::identity::{Choice, Claim, choose};
use crate::store::engine::params;
use crate::verification::status::VerifiedStatus;

#[derive(Clone, Debug)]
struct SenderAlias {
    domain: DomainId,
    local: LocalPart,
    is_primary: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Sender {
    /// The custom domains of its account.
    claims: Vec<Claim>,
    /// The inbox's default domain, or else the account's.
    default_domain: Option<DomainId>,
    /// Copies of sent messages are stored in the Sent mailbox.
    pub saves_sent: bool,
    /// The inbox's aliases.
    aliases: Vec<SenderAlias>,
    /// Verified return paths of domains.
    return_paths: Vec<(DomainId, DomainName)>,
    /// Return paths that Amazon SES uses as MAIL FROM domains.
    mail_froms: Vec<(DomainId, DomainName)>,
}

impl Sender {
    /// The account's claim with this ID, if it exists.
    pub fn claim(&self, id: &DomainId) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.id == *id)
    }

    /// The identity for mail of `inbox`, logged in as `login`.
    pub fn choose(
        &self,
        inbox: &InboxName,
        platform: &DomainName,
        login: &Address,
        login_domain: Option<&DomainId>,
    ) -> Choice {
        let claim = |id: Option<&DomainId>| id.and_then(|id| self.claim(id));
        let default = self.default_domain.as_ref();
        let primary = self.aliases.iter().find(|alias| alias.is_primary && Some(&alias.domain) == default);
        let local = primary.map(|alias| &alias.local);
        choose(inbox, platform, login, claim(login_domain), claim(default), local)
    }

    /// The envelope sender of mail with this From: at the return path of the custom domain if that is verified, else From itself.
    /// Amazon SES replaces it by its own, and forwards bounces to it.
    pub fn envelope(&self, domain: Option<&DomainId>, from: &Address) -> Address {
        let return_path = self.return_paths.iter().find(|(id, _)| Some(id) == domain).map(|(_, name)| name.clone());
        // The address may be too long with the longer domain.
        let at = |domain| Address::new(from.local.clone(), domain).ok();
        return_path.and_then(at).unwrap_or_else(|| from.clone())
    }

    /// The domain of the envelope sender that Amazon SES sets; `default` without a MAIL FROM domain.
    pub fn mail_from<'a>(&'a self, domain: Option<&DomainId>, default: &'a DomainName) -> &'a DomainName {
        self.mail_froms.iter().find(|(id, _)| Some(id) == domain).map_or(default, |(_, name)| name)
    }

    /// The local parts of the inbox's aliases at a custom domain.
    pub fn aliases_at(&self, domain: Option<&DomainId>) -> Vec<String> {
        let at = self.aliases.iter().filter(|alias| Some(&alias.domain) == domain);
        at.map(|alias| alias.local.as_str().to_owned()).collect()
    }

    /// The platform's domain and the account's verified ones; header fields that identify the sender may only use these.
    pub fn own_domains(&self, platform: &DomainName) -> Vec<DomainName> {
        let verified = self.claims.iter().filter(|claim| claim.status == VerifiedStatus::Verified);
        std::iter::once(platform).chain(verified.map(|claim| &claim.name)).cloned().collect()
    }
}

impl Store {
    /// The current data of a sender. Without an inbox, because it was deleted, only the account's domains.
    pub async fn sender(&self, account: AccountId, inbox: Option<InboxId>) -> Result<Sender, StoreError> {
        self.read(move |connection| sender(connection, &account, inbox.as_ref())).await
    }
}

fn sender(connection: &Transaction<'_>, account: &AccountId, inbox: Option<&InboxId>) -> Result<Sender, StoreError> {
    let claims = connection.query(
        "SELECT id, name, status, on_unverified FROM custom_domain WHERE account_id = ?1 ORDER BY id",
        params![account],
        domains::claim,
    )?;
    let (default_domain, saves_sent) = connection.query_row(
        "SELECT coalesce((SELECT default_domain_id FROM inbox WHERE id = ?2),
                             (SELECT id FROM custom_domain WHERE account_id = ?1 AND is_default = 1)),
                    coalesce((SELECT save_sent FROM inbox WHERE id = ?2), 0)",
        params![account, inbox],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let sql = "SELECT domain_id, local_part, is_primary FROM alias WHERE inbox_id = ?1";
    let aliases = connection.query(sql, params![inbox], |row| {
        Ok(SenderAlias { domain: row.get(0)?, local: local_part(row, 1)?, is_primary: row.get(2)? })
    })?;
    let return_paths = connection.query(
        "SELECT id, return_path || '.' || name FROM custom_domain
             WHERE account_id = ?1 AND status = 'verified' AND return_path IS NOT NULL AND return_path_ok = 1",
        params![account],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let mail_froms = connection.query(
        "SELECT d.id, s.mail_from FROM custom_domain d JOIN ses_identity s ON s.name = d.name
             WHERE d.account_id = ?1 AND d.status = 'verified' AND s.mail_from IS NOT NULL",
        params![account],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(Sender { claims, default_domain, saves_sent, aliases, return_paths, mail_froms })
}
