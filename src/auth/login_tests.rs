//! Which log-ins succeed, and that refusals do not tell why.

use super::*;
use crate::auth::sasl::Credentials;
use crate::auth::session::{AuthSession, Change, OpenError, SessionEnd};
use crate::clock::Timestamp;
use crate::events::Event;
use crate::store::aliases::AliasName;
use crate::store::inboxes::{InboxChange, NewInbox};
use crate::store::names::NameLimits;
use crate::store::params;
use crate::store::tokens::NewToken;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn limits(failed_logins: u32) -> Limits {
    Limits { failed_logins, ..Limits::default() }
}

struct World {
    store: Store,
    clock: Clock,
    authenticator: Authenticator,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let clock = Clock::manual();
        let platform = DomainName::parse("inboxlayer.dev").unwrap();
        let authenticator = Authenticator::new(store.clone(), clock.clone(), platform, &limits(1000));
        Self { store, clock, authenticator, _dir: dir }
    }

    async fn account(&self) -> AccountId {
        self.store.account_create("x".into(), self.clock.now()).await.unwrap().id
    }

    async fn inbox(&self, account: &AccountId, name: &str) -> InboxId {
        let new = NewInbox::new(account.clone(), name.parse().unwrap());
        self.store.inbox_create(new, NameLimits::new(10, 10), self.clock.now()).await.unwrap().id
    }

    async fn domain(
        &self,
        account: &AccountId,
        name: &str,
        status: &'static str,
        catch_all: Option<&InboxId>,
    ) -> DomainId {
        let id = DomainId::new();
        let (row, account, name, catch_all) = (id.clone(), account.clone(), name.to_owned(), catch_all.cloned());
        self.store
            .write(move |c| {
                let sql = "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, catch_all_inbox_id, created_at, updated_at)
                           VALUES (?1, ?2, ?3, ?4, 'a b c', ?5, 0, 0)";
                c.execute(sql, params![row, account, name, status, catch_all])?;
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
        id
    }

    async fn token(&self, scope: Scope, expires_at: Option<Timestamp>) -> (Secret, TokenId) {
        let token = Token::generate().unwrap();
        let new = NewToken { expires_at, ..NewToken::new("t", scope, token.hash()) };
        let record = self.store.token_create(new, 100, self.clock.now()).await.unwrap();
        (token.secret().clone(), record.id)
    }

    async fn log_in(&self, user: &str, password: &Secret) -> Option<Login> {
        match self.authenticator.log_in(PEER, (user, password), Permissions::empty()).await {
            Ok(login) => Some(login),
            Err(LoginError::Refused) => None,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The inbox `ann` of an account with a custom domain, and two tokens of the account.
struct Ann {
    account: AccountId,
    inbox: InboxId,
    domain: DomainId,
    token: Secret,
    other: Secret,
    other_id: TokenId,
}

impl World {
    async fn ann(&self) -> Ann {
        let account = self.account().await;
        let inbox = self.inbox(&account, "ann").await;
        let domain = self.domain(&account, "ours.org", "pending", None).await;
        let (token, _) = self.token(Scope::Account(account.clone()), None).await;
        let (other, other_id) = self.token(Scope::Account(account.clone()), None).await;
        Ann { account, inbox, domain, token, other, other_id }
    }
}

#[tokio::test]
async fn every_address_of_an_inbox_is_a_user_name_whatever_the_status_of_its_domain() {
    let world = World::new();
    let account = world.account().await;
    let ann = world.inbox(&account, "ann").await;
    let (token, id) = world.token(Scope::Account(account.clone()), None).await;
    for (name, status) in [("pending.org", "pending"), ("verified.org", "verified"), ("failed.org", "failed")] {
        let domain = world.domain(&account, name, status, None).await;
        let alias = AliasName::parse("Support").unwrap();
        world.store.alias_create(&account, &ann, &domain, alias, 10, world.clock.now()).await.unwrap();
        for user in ["ann", "ANN", "ann+tag", "support", "Support+a+b"] {
            let login = world.log_in(&format!("{user}@{}", name.to_uppercase()), &token).await.unwrap();
            assert_eq!((&login.inbox, &login.token, &login.domain), (&ann, &id, &Some(domain.clone())));
            assert_eq!(login.address.to_string(), format!("{}@{name}", user.to_lowercase()));
            assert!(world.authenticator.is_valid(&login).await.unwrap());
        }
    }
    for user in ["ann", "ann@inboxlayer.dev", "Ann+x@InboxLayer.dev.", "ann+x"] {
        let login = world.log_in(user, &token).await.unwrap();
        assert_eq!((login.inbox, login.domain), (ann.clone(), None));
        assert_eq!(login.address.domain.as_str(), "inboxlayer.dev");
    }
}

#[tokio::test]
async fn every_refusal_is_the_same_reply() {
    let world = World::new();
    let (ours, theirs) = (world.account().await, world.account().await);
    let ann = world.inbox(&ours, "ann").await;
    let ben = world.inbox(&ours, "ben").await;
    world.inbox(&theirs, "zoe").await;
    world.domain(&ours, "ours.org", "verified", Some(&ann)).await;
    world.domain(&theirs, "theirs.org", "verified", None).await;
    let now = world.clock.now();
    let (good, _) = world.token(Scope::Account(ours.clone()), None).await;
    let (expired, _) = world.token(Scope::Account(ours.clone()), Some(now)).await;
    let (revoked, id) = world.token(Scope::Account(ours.clone()), None).await;
    world.store.token_revoke(Some(&ours), &id, now).await.unwrap().unwrap();
    let (only_ben, _) = world.token(Scope::Inboxes(ours.clone(), vec![ben]), None).await;
    let (operator, _) = world.token(Scope::Operator, None).await;
    let unknown = Token::generate().unwrap().secret().clone();

    assert!(world.log_in("ann@ours.org", &good).await.is_some());
    assert!(world.log_in("ben@ours.org", &only_ben).await.is_some());
    for (user, password) in [
        ("nobody@inboxlayer.dev", &good),
        ("zoe@inboxlayer.dev", &good),
        ("ann@theirs.org", &good),
        ("zoe@theirs.org", &good),
        ("ann@nowhere.org", &good),
        ("anything@ours.org", &good), // the catch-all only receives
        ("@ours.org", &good),
        ("ann@", &good),
        ("", &good),
        ("ann@ours.org\r\n", &good),
        ("ann\0@ours.org", &good),
        ("ann@ours.org", &unknown),
        ("ann@ours.org", &expired),
        ("ann@ours.org", &revoked),
        ("ann@ours.org", &only_ben),
        ("ann@ours.org", &operator),
        ("ann@ours.org", &Secret::new("")),
        ("ann@ours.org", &Secret::new("ann@ours.org")),
    ] {
        let refusal = world.authenticator.log_in(PEER, (user, password), Permissions::empty()).await.unwrap_err();
        assert!(matches!(refusal, LoginError::Refused), "{user:?}: {refusal}");
        assert_eq!(refusal.to_string(), "the user name or the API token is wrong", "{user:?}");
    }
    for token in [&unknown, &expired, &revoked] {
        assert!(matches!(world.authenticator.bearer(PEER, token).await, Err(LoginError::Refused)));
    }
    assert_eq!(world.authenticator.bearer(PEER, &operator).await.unwrap().scope, Scope::Operator);
}

#[tokio::test]
async fn a_log_in_is_valid_until_its_token_its_domain_or_its_inbox_is_gone() {
    let world = World::new();
    let Ann { account, inbox, domain, token, other, other_id } = world.ann().await;
    let custom = world.log_in("ann@ours.org", &token).await.unwrap();
    let platform = world.log_in("ann", &token).await.unwrap();
    let second = world.log_in("ann", &other).await.unwrap();
    let is_valid = async |login: &Login| world.authenticator.is_valid(login).await.unwrap();

    world.store.token_revoke(Some(&account), &other_id, world.clock.now()).await.unwrap();
    assert!(!is_valid(&second).await && is_valid(&custom).await && is_valid(&platform).await);
    let delete =
        move |c: &crate::store::Transaction<'_>| c.execute("DELETE FROM custom_domain WHERE id = ?1", params![domain]);
    world.store.write::<_, StoreError, _>(delete).await.unwrap();
    assert!(!is_valid(&custom).await && is_valid(&platform).await);
    assert!(world.store.inbox_delete(&account, &inbox).await.unwrap());
    assert!(!is_valid(&platform).await);
}

#[tokio::test]
async fn guessing_is_limited_and_the_owner_can_log_in_from_another_network() {
    let world = World::new();
    let account = world.account().await;
    world.inbox(&account, "ann").await;
    let (token, _) = world.token(Scope::Account(account), None).await;
    let authenticator =
        Authenticator::new(world.store.clone(), world.clock.clone(), world.authenticator.platform.clone(), &limits(5));
    let wrong = Secret::new("guess");
    for _ in 0..5 {
        assert!(matches!(
            authenticator.log_in(PEER, ("ann", &wrong), Permissions::empty()).await,
            Err(LoginError::Refused)
        ));
    }
    assert!(matches!(
        authenticator.log_in(PEER, ("ann", &wrong), Permissions::empty()).await,
        Err(LoginError::RateLimited { .. })
    ));
    assert!(matches!(
        authenticator.log_in(PEER, ("nobody", &wrong), Permissions::empty()).await,
        Err(LoginError::RateLimited { .. })
    ));
    let home: IpAddr = [198, 51, 100, 1].into();
    assert!(authenticator.log_in(home, ("ann", &token), Permissions::empty()).await.is_ok());
}

#[tokio::test]
async fn the_last_use_is_recorded_at_most_once_a_minute() {
    let world = World::new();
    let account = world.account().await;
    let (token, id) = world.token(Scope::Account(account), None).await;
    world.authenticator.bearer(PEER, &token).await.unwrap();
    let first = loop {
        if let Some(at) = world.store.token_get(None, &id).await.unwrap().unwrap().last_used_at {
            break at;
        }
        tokio::task::yield_now().await;
    };
    world.store.token_used(&id, first.after(Duration::from_secs(59)), USE_RECORDED_EVERY).await.unwrap();
    assert_eq!(world.store.token_get(None, &id).await.unwrap().unwrap().last_used_at, Some(first));
    let later = first.after(USE_RECORDED_EVERY);
    world.store.token_used(&id, later, USE_RECORDED_EVERY).await.unwrap();
    assert_eq!(world.store.token_get(None, &id).await.unwrap().unwrap().last_used_at, Some(later));
}

impl World {
    async fn session(&self, user: &str, password: &Secret) -> AuthSession {
        let credentials = Credentials { user: user.to_owned(), password: password.clone() };
        self.authenticator.open_session(PEER, &credentials, Permissions::empty()).await.unwrap()
    }
}

#[tokio::test]
async fn a_session_ends_by_the_end_of_its_own_log_in_only() {
    let mut world = World::new();
    // By events, not by the next check.
    world.authenticator = world.authenticator.checking_every(Duration::from_secs(3600));
    let Ann { account, inbox, domain, token, other, other_id } = world.ann().await;
    let mut custom = world.session("ann@ours.org", &token).await;
    let mut platform = world.session("ann", &token).await;
    let mut second = world.session("ann", &other).await;

    world.store.token_revoke(Some(&account), &other_id, world.clock.now()).await.unwrap().unwrap();
    assert_eq!(second.ended().await, SessionEnd::TokenRevoked);
    world.store.events().publish(&account, Event::DomainDeleted { domain_id: domain, domain: None });
    assert_eq!(custom.ended().await, SessionEnd::DomainDeleted);
    let delivered = crate::store::testing::put(&world.store, &inbox, b"Subject: s\r\n\r\n").await;
    assert_eq!(platform.next().await, Ok(Change::Mailbox(delivered.mailbox)));
    let disable = |is_disabled| InboxChange { is_disabled: Some(is_disabled), ..InboxChange::default() };
    let change = async |is_disabled| {
        let changed = world.store.inbox_change(&account, &inbox, disable(is_disabled), world.clock.now()).await;
        changed.unwrap().unwrap().disabled_at
    };
    assert!(change(true).await.is_some());
    assert_eq!(platform.ended().await, SessionEnd::InboxDisabled);
    let credentials = Credentials { user: "ann".to_owned(), password: token.clone() };
    let refused = world.authenticator.open_session(PEER, &credentials, Permissions::empty()).await;
    assert!(matches!(refused, Err(OpenError::Login(LoginError::Refused))), "{refused:?}");
    assert_eq!(change(false).await, None);
    let mut platform = world.session("ann", &token).await;
    assert!(world.store.inbox_delete(&account, &inbox).await.unwrap());
    assert_eq!(platform.ended().await, SessionEnd::InboxDeleted);
}

#[tokio::test]
async fn a_session_that_missed_events_and_one_whose_token_expires_are_checked() {
    let world = World::new();
    let account = world.account().await;
    world.inbox(&account, "ann").await;
    let soon = world.clock.now().after(Duration::from_secs(60));
    let (token, id) = world.token(Scope::Account(account.clone()), None).await;
    let (expiring, _) = world.token(Scope::Account(account.clone()), Some(soon)).await;
    let (mut missed, mut expired) = (world.session("ann", &token).await, world.session("ann", &expiring).await);
    let unrelated = Event::TokenRevoked { token_id: TokenId::new() };
    world.store.token_revoke(Some(&account), &id, world.clock.now()).await.unwrap().unwrap();
    for _ in 0..200 {
        world.store.events().publish(&account, unrelated.clone());
    }
    assert_eq!(missed.next().await, Ok(Change::Unknown));
    assert_eq!(missed.next().await, Err(SessionEnd::Invalid));
    assert_eq!(expired.check().await, Ok(()));
    world.clock.advance_to(soon);
    assert_eq!(expired.check().await, Err(SessionEnd::Invalid));
    assert_eq!(expired.ended().await, SessionEnd::Invalid);
}

#[tokio::test]
async fn the_sessions_of_an_account_are_limited_whatever_their_protocol() {
    let world = World::new();
    let account = world.account().await;
    world.inbox(&account, "ann").await;
    let (token, _) = world.token(Scope::Account(account), None).await;
    let limits = Limits { connections_per_account: 2, ..Limits::default() };
    let platform = world.authenticator.platform.clone();
    let authenticator = Authenticator::new(world.store.clone(), world.clock.clone(), platform, &limits);
    let credentials = Credentials { user: "ann".into(), password: token };
    let open = async || authenticator.open_session(PEER, &credentials, Permissions::empty()).await;
    let (first, _second) = (open().await.unwrap(), open().await.unwrap());
    assert!(matches!(open().await, Err(OpenError::TooManySessions(TooManySessions { limit: 2 }))));
    drop(first);
    assert!(open().await.is_ok());
}

#[tokio::test]
async fn a_request_acts_only_for_inboxes_of_its_token_and_at_their_addresses() {
    let world = World::new();
    let (ours, theirs) = (world.account().await, world.account().await);
    let (ann, ben) = (world.inbox(&ours, "ann").await, world.inbox(&ours, "ben").await);
    let domain = world.domain(&ours, "ours.org", "verified", Some(&ann)).await;
    let principal = |scope| Principal { token: TokenId::new(), scope, permissions: Permissions::all(), user: None };
    let inbox = world.store.inbox_get(&ours, &ann).await.unwrap().unwrap();
    let log_in_as = async |scope, address: Option<&str>| {
        let address = address.map(|address| address.parse().unwrap());
        let login = world.authenticator.log_in_as(&principal(scope), &inbox, address).await.unwrap();
        login.map(|login| (login.address.to_string(), login.domain))
    };
    let account = || Scope::Account(ours.clone());
    assert_eq!(log_in_as(account(), None).await, Some(("ann@inboxlayer.dev".into(), None)));
    assert_eq!(log_in_as(account(), Some("ann@ours.org")).await, Some(("ann@ours.org".into(), Some(domain))));
    assert!(log_in_as(Scope::Operator, None).await.is_some());
    assert!(log_in_as(Scope::Inboxes(ours.clone(), vec![ann.clone()]), None).await.is_some());
    assert_eq!(log_in_as(account(), Some("ben@ours.org")).await, None);
    assert_eq!(log_in_as(account(), Some("else@ours.org")).await, None);
    assert_eq!(log_in_as(Scope::Inboxes(ours.clone(), vec![ben]), None).await, None);
    assert_eq!(log_in_as(Scope::Account(theirs), None).await, None);
}

#[tokio::test]
async fn a_log_in_needs_the_permissions_of_its_protocol() {
    let world = World::new();
    let account = world.account().await;
    world.inbox(&account, "ann").await;
    let token = Token::generate().unwrap();
    let may = Permissions::DRAFTS_WRITE | Permissions::MESSAGES_READ;
    let new = NewToken { permissions: may, ..NewToken::new("t", Scope::Account(account), token.hash()) };
    world.store.token_create(new, 100, world.clock.now()).await.unwrap();
    let log_in = |needed| world.authenticator.log_in(PEER, ("ann", token.secret()), needed);
    assert_eq!(log_in(Permissions::MESSAGES_READ).await.unwrap().permissions, may);
    assert!(matches!(log_in(Permissions::MESSAGES_SEND).await, Err(LoginError::Refused)));
    assert!(matches!(log_in(Permissions::MESSAGES_READ | Permissions::MESSAGES_SEND).await, Err(LoginError::Refused)));
}
