//! Aliases: additional local parts of an inbox, each at one custom domain.
//!
//! Invariant: within an account, no alias has the name of an inbox as its local part, so an address belongs to at most one inbox.

use super::{Store, StoreError, Transaction};
use crate::address::{Address, DomainName, LocalPart};
use crate::clock::Timestamp;
use crate::id::{AccountId, AliasId, DomainId, InboxId};
use crate::store::engine::{Row, params};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub id: AliasId,
    pub inbox: InboxId,
    pub domain: DomainId,
    pub address: Address,
    /// The inbox sends from this address if the domain is its default domain.
    pub is_primary: bool,
    pub created_at: Timestamp,
}

/// The local part of an alias: lower case, without quotes and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasName(LocalPart);

impl AliasName {
    /// `None` if it would need quotes, has a tag, or has more than 64 octets (RFC 5321 §4.5.3.1.1).
    pub fn parse(text: &str) -> Option<Self> {
        let plain = !text.starts_with('"') && !text.contains('+') && text.len() <= 64;
        LocalPart::parse(&text.to_ascii_lowercase()).ok().filter(|local| plain && !local.is_quoted()).map(Self)
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<AliasName> for LocalPart {
    fn from(AliasName(local): AliasName) -> Self {
        local
    }
}

pub(super) struct NewAlias<'a> {
    pub inbox: &'a InboxId,
    pub domain: &'a DomainId,
    pub name: &'a AliasName,
    pub is_primary: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum CreateAliasError {
    #[error("the account has no such inbox")]
    UnknownInbox,
    #[error("the account has no such domain")]
    UnknownDomain,
    #[error("the domain already has this alias")]
    Exists(AliasId),
    #[error("an inbox of the account already has this name")]
    InboxHasName(InboxId),
    #[error("the account has reached its limit of {0} aliases")]
    LimitReached(u32),
    #[error("an address has at most 254 octets")]
    TooLong,
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) fn create(
    c: &Transaction<'_>,
    account: &AccountId,
    new: &NewAlias<'_>,
    limit: u32,
    now: Timestamp,
) -> Result<Alias, CreateAliasError> {
    let NewAlias { inbox, domain, name, is_primary } = *new;
    if !c.exists("SELECT 1 FROM inbox WHERE id = ?1 AND account_id = ?2", params![inbox, account])? {
        return Err(CreateAliasError::UnknownInbox);
    }
    let sql = "SELECT name FROM custom_domain WHERE id = ?1 AND account_id = ?2";
    let at: Option<DomainName> = c.query_opt(sql, params![domain, account], |row| row.get(0))?;
    let at = at.ok_or(CreateAliasError::UnknownDomain)?;
    let sql = "SELECT id FROM alias WHERE domain_id = ?1 AND local_part = ?2";
    if let Some(id) = c.query_opt(sql, params![domain, name.as_str()], |row| row.get(0))? {
        return Err(CreateAliasError::Exists(id));
    }
    let sql = "SELECT id FROM inbox WHERE account_id = ?1 AND name = ?2";
    if let Some(id) = c.query_opt(sql, params![account, name.as_str()], |row| row.get(0))? {
        return Err(CreateAliasError::InboxHasName(id));
    }
    let sql = "SELECT count(*) FROM alias a JOIN custom_domain d ON d.id = a.domain_id WHERE d.account_id = ?1";
    if c.query_row(sql, params![account], |row| row.get::<u32>(0))? >= limit {
        return Err(CreateAliasError::LimitReached(limit));
    }
    let address = Address::new(name.0.clone(), at).map_err(|_| CreateAliasError::TooLong)?;
    let (id, inbox, domain) = (AliasId::new(), inbox.clone(), domain.clone());
    let created = Alias { id, inbox, domain, address, is_primary, created_at: now };
    c.execute(
        "INSERT INTO alias (id, domain_id, local_part, inbox_id, is_primary, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![created.id, created.domain, name.as_str(), created.inbox, created.is_primary, created.created_at],
    )?;
    Ok(created)
}

pub(super) fn local_part(row: &Row<'_>, column: usize) -> Result<LocalPart, StoreError> {
    let corrupt = |e: crate::address::AddressError| StoreError::Corrupt(format!("local part: {e}"));
    LocalPart::from_unquoted(row.get::<String>(column)?).map_err(corrupt)
}

fn alias(row: &Row<'_>) -> Result<Alias, StoreError> {
    let address = Address { local: local_part(row, 3)?, domain: row.get(4)? };
    let (id, inbox, domain, is_primary) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(6)?);
    Ok(Alias { id, inbox, domain, address, is_primary, created_at: row.get(5)? })
}

impl Store {
    /// Creates an alias at a custom domain of the same account, of any status. An account may have up to `limit` aliases.
    pub async fn alias_create(
        &self,
        account: &AccountId,
        inbox: &InboxId,
        domain: &DomainId,
        name: AliasName,
        limit: u32,
        now: Timestamp,
    ) -> Result<Alias, CreateAliasError> {
        let (account, inbox, domain) = (account.clone(), inbox.clone(), domain.clone());
        self.write(move |c| {
            let new = NewAlias { inbox: &inbox, domain: &domain, name: &name, is_primary: false };
            create(c, &account, &new, limit, now)
        })
        .await
    }

    /// The account's claim to the domain `name`.
    pub async fn domain_of_account(
        &self,
        account: &AccountId,
        name: &DomainName,
    ) -> Result<Option<DomainId>, StoreError> {
        let (account, name) = (account.clone(), name.clone());
        self.read(move |c| {
            let sql = "SELECT id FROM custom_domain WHERE account_id = ?1 AND name = ?2";
            c.query_opt(sql, params![account, name], |row| row.get(0))
        })
        .await
    }

    /// Aliases of an inbox after `after`, in the order of creation.
    pub async fn alias_list(
        &self,
        account: &AccountId,
        inbox: &InboxId,
        after: Option<&AliasId>,
        limit: u32,
    ) -> Result<Vec<Alias>, StoreError> {
        let (account, inbox) = (account.clone(), inbox.clone());
        let after = after.map_or(String::new(), ToString::to_string);
        self.read(move |c| {
            let sql = "SELECT a.id, a.inbox_id, a.domain_id, a.local_part, d.name, a.created_at, a.is_primary
                       FROM alias a JOIN custom_domain d ON d.id = a.domain_id
                       WHERE a.inbox_id = ?1 AND d.account_id = ?2 AND a.id > ?3 ORDER BY a.id LIMIT ?4";
            c.query(sql, params![inbox, account, after, limit], alias)
        })
        .await
    }

    /// False if the inbox has no such alias.
    pub async fn alias_delete(&self, account: &AccountId, inbox: &InboxId, id: &AliasId) -> Result<bool, StoreError> {
        let (account, inbox, id) = (account.clone(), inbox.clone(), id.clone());
        self.write(move |c| {
            let sql = "DELETE FROM alias WHERE id = ?1 AND inbox_id = ?2
                       AND EXISTS (SELECT 1 FROM inbox WHERE id = ?2 AND account_id = ?3)";
            Ok(c.execute(sql, params![id, inbox, account])? > 0)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::InboxName;
    use crate::store::inboxes::{CreateInboxError, NewInbox};
    use crate::store::names::NameLimits;

    #[tokio::test]
    async fn names_and_aliases_of_an_account_are_distinct_and_invisible_to_other_accounts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let now = Timestamp::real();
        let ours = store.account_create("ours".into(), now).await.unwrap().id;
        let theirs = store.account_create("theirs".into(), now).await.unwrap().id;
        let platform = "inboxlayer.dev".parse().unwrap();
        let new = |account: &AccountId, name: &str| {
            NewInbox::new(account.clone(), InboxName::claim(name, &platform).unwrap())
        };
        let ann = store.inbox_create(new(&ours, "ann"), NameLimits::new(2, 4), now).await.unwrap();
        let domain = DomainId::new();
        let (id, account) = (domain.clone(), ours.clone());
        let sql = "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, created_at, updated_at)
                   VALUES (?1, ?2, 'ours.org', 'pending', 'a b c', 0, 0)";
        store.write::<_, StoreError, _>(move |c| c.execute(sql, params![id, account])).await.unwrap();
        let sales = AliasName::parse("Sales").unwrap();
        let made = store.alias_create(&ours, &ann.id, &domain, sales.clone(), 2, now).await.unwrap();
        assert_eq!(made.address.to_string(), "sales@ours.org");
        assert_eq!(store.alias_list(&ours, &ann.id, None, 10).await.unwrap(), std::slice::from_ref(&made));

        use CreateAliasError as A;
        let again = store.alias_create(&ours, &ann.id, &domain, sales.clone(), 2, now).await;
        assert!(matches!(again, Err(A::Exists(id)) if id == made.id));
        let own_name = store.alias_create(&ours, &ann.id, &domain, AliasName::parse("ann").unwrap(), 2, now).await;
        assert!(matches!(own_name, Err(A::InboxHasName(id)) if id == ann.id));
        let foreign = store.alias_create(&theirs, &ann.id, &domain, sales, 2, now).await;
        assert!(matches!(foreign, Err(A::UnknownInbox)));
        assert!(store.alias_list(&theirs, &ann.id, None, 10).await.unwrap().is_empty());
        assert!(!store.alias_delete(&theirs, &ann.id, &made.id).await.unwrap());

        let other = AliasName::parse("team").unwrap();
        store.alias_create(&ours, &ann.id, &domain, other, 2, now).await.unwrap();
        let third = store.alias_create(&ours, &ann.id, &domain, AliasName::parse("third").unwrap(), 2, now).await;
        assert!(matches!(third, Err(A::LimitReached(2))));
        use CreateInboxError as I;
        assert!(matches!(
            store.inbox_create(new(&ours, "team"), NameLimits::new(2, 4), now).await,
            Err(I::AliasHasName(_))
        ));
        assert!(
            matches!(store.inbox_create(new(&ours, "ann"), NameLimits::new(2, 4), now).await, Err(I::Exists(id)) if id == ann.id)
        );
        assert!(matches!(store.inbox_create(new(&theirs, "ann"), NameLimits::new(2, 4), now).await, Err(I::NameTaken)));
        store.inbox_create(new(&ours, "ben"), NameLimits::new(2, 4), now).await.unwrap();
        assert!(matches!(
            store.inbox_create(new(&ours, "cyd"), NameLimits::new(2, 4), now).await,
            Err(I::LimitReached(2))
        ));

        // After an inbox is deleted, its name stays reserved for the account; its aliases are deleted.
        assert!(!store.inbox_delete(&theirs, &ann.id).await.unwrap());
        assert!(store.inbox_delete(&ours, &ann.id).await.unwrap());
        assert!(matches!(store.inbox_create(new(&theirs, "ann"), NameLimits::new(2, 4), now).await, Err(I::NameTaken)));
        let back = store.inbox_create(new(&ours, "ann"), NameLimits::new(2, 4), now).await.unwrap();
        assert!(store.alias_list(&ours, &back.id, None, 10).await.unwrap().is_empty());

        // Names of deleted inboxes count towards the limit and can be reused by the account.
        let limits = NameLimits::new(2, 4);
        let mut last = back.id;
        for name in ["cyd", "dan"] {
            assert!(store.inbox_delete(&ours, &last).await.unwrap());
            last = store.inbox_create(new(&ours, name), limits, now).await.unwrap().id;
        }
        assert!(store.inbox_delete(&ours, &last).await.unwrap());
        assert!(matches!(store.inbox_create(new(&ours, "eve"), limits, now).await, Err(I::NamesUsedUp(4))));
        store.inbox_create(new(&theirs, "eve"), limits, now).await.unwrap();
        store.inbox_create(new(&ours, "ann"), limits, now).await.unwrap();
    }

    #[test]
    fn the_local_part_of_an_alias_has_no_tag_and_no_quotes() {
        assert_eq!(AliasName::parse("Post.Master").unwrap().as_str(), "post.master");
        for bad in ["", "a+b", "\"a b\"", "a b", "a@b", ".a", "é", "a\r\n"] {
            assert_eq!(AliasName::parse(bad), None, "{bad:?}");
        }
    }
}
