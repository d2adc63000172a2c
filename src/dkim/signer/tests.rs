//! Signatures verified by mail-auth, an independent implementation.

use crate::address::{Address, DomainName};
use crate::clock::Clock;
use crate::config::Config;
use crate::dkim::{Keys, KeysError, SealError, SignError};
use crate::id::{AccountId, DomainId};
use crate::identity::{Claim, SendIdentity, VerifiedDomain};
use crate::store::params;
use crate::store::testing::dkim_records;
use crate::store::{Store, StoreError};
use crate::verification::status::{OnUnverified, VerifiedStatus};
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt};
use std::borrow::Borrow;
use std::hash::Hash;
use std::path::Path;
use std::time::{Duration, Instant};

/// One TXT record under every name.
struct OneKey(String);

impl ResolverCache<Box<str>, Txt> for OneKey {
    fn get<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        Some(DomainKey::parse(self.0.as_bytes()).into())
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
}

async fn verify(message: &[u8], record: &str) -> DkimResult {
    let unknown = ResolverConfig::from_parts(None, vec![], vec![]);
    let authenticator = MessageAuthenticator::new(unknown, ResolverOpts::default()).unwrap();
    let parsed = AuthenticatedMessage::parse(message).unwrap();
    let cache = OneKey(record.to_owned());
    let results = authenticator.verify_dkim(Parameters::new(&parsed).with_txt_cache(&cache)).await;
    assert_eq!(results.len(), 1);
    results[0].result().clone()
}

async fn open(dir: &Path) -> (Store, Keys) {
    let store = Store::open(dir).unwrap();
    let keys = Keys::open(store.clone(), dir, &Config::default(), Clock::System).await.unwrap();
    (store, keys)
}

fn platform() -> SendIdentity {
    SendIdentity::Platform { address: Address::parse("demo@inboxlayer.dev").unwrap() }
}

const HEADER: &str = "From: Demo <demo@inboxlayer.dev>\r\nTo: a@example.org\r\nSubject:  =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\t and a   fold\r\nDate: Tue, 24 Nov 2026 05:31:07 +0000\r\nMessage-ID: <x@inboxlayer.dev>\r\nX-Mine: 1\r\nMIME-Version: 1.0\r\n\r\n";

#[tokio::test]
async fn bodies_with_odd_ends_verify() {
    let dir = tempfile::tempdir().unwrap();
    let (_, keys) = open(dir.path()).await;
    let (name, record) = keys.platform_record();
    assert_eq!(name, "inboxlayer._domainkey.inboxlayer.dev");
    let long = format!("{}\r\n", "x".repeat(3000)).repeat(50);
    for body in [
        "",
        "\r\n",
        "\r\n\r\n\r\n",
        "hello\r\n",
        "hello",
        "hello \t\r\n\r\n\r\n",
        " \r\n",
        "hello\r\n \t\r\n",
        "hello\r\n\r\n   \r\n\r\n",
        "\r\nhello\r\n\t\r\n  indented   text\r\n.\r\n..\r\n",
        "From: not@a.field\r\nSubject: in the body\r\n\r\nb\r\n",
        &long,
    ] {
        let field = keys.signer().sign(&platform(), HEADER.as_bytes(), body.as_bytes()).await.unwrap();
        let field = String::from_utf8(field).unwrap();
        assert!(field.ends_with("\r\n") && field.split("\r\n").all(|line| line.len() <= 78), "{field}");
        let message = format!("{field}{HEADER}{body}");
        assert_eq!(verify(message.as_bytes(), &record).await, DkimResult::Pass, "{body:?}");
    }
}

#[tokio::test]
async fn a_field_added_or_changed_later_breaks_the_signature() {
    let dir = tempfile::tempdir().unwrap();
    let (_, keys) = open(dir.path()).await;
    let (_, record) = keys.platform_record();
    let field = keys.signer().sign(&platform(), HEADER.as_bytes(), b"hello\r\n").await.unwrap();
    let field = String::from_utf8(field).unwrap();
    for (change, passes) in [
        ("X-Relay: seen\r\n", true),
        ("List-Id: <a.list>\r\n", true),
        ("From: Eve <eve@example.net>\r\n", false),
        ("Subject: another\r\n", false),
        ("Cc: c@example.org\r\n", false),
        ("Reply-To: eve@example.net\r\n", false),
    ] {
        let message = format!("{change}{field}{HEADER}hello\r\n");
        assert_eq!(verify(message.as_bytes(), &record).await == DkimResult::Pass, passes, "{change:?}");
    }
    let changed = format!("{field}{HEADER}hullo\r\n");
    assert_ne!(verify(changed.as_bytes(), &record).await, DkimResult::Pass);
}

async fn claim(store: &Store, account: &AccountId, name: &str, tokens: &[String; 3]) -> DomainId {
    let (id, account, name, tokens) = (DomainId::new(), account.clone(), name.to_owned(), tokens.join(" "));
    let row = id.clone();
    store
        .write(move |c| {
            c.execute(
                "INSERT INTO account (id, name, created_at) VALUES (?1, 'x', 0) ON CONFLICT DO NOTHING",
                params![&account],
            )?;
            c.execute(
                "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, created_at, updated_at)
                 VALUES (?1, ?2, ?3, 'verified', ?4, 0, 0)",
                params![row, account, name, tokens],
            )?;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap();
    id
}

fn acme(id: &DomainId) -> SendIdentity {
    let claim = Claim {
        id: id.clone(),
        name: DomainName::parse("acme.test").unwrap(),
        status: VerifiedStatus::Verified,
        on_unverified: OnUnverified::Fallback,
    };
    let local = Address::parse("demo@acme.test").unwrap().local;
    SendIdentity::Custom { local, domain: VerifiedDomain::of(&claim).unwrap() }
}

async fn until_made(store: &Store, tokens: &[String; 3]) {
    for token in tokens {
        while store.dkim_public(token).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn a_custom_domain_signs_with_a_published_selector_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, keys) = open(dir.path()).await;
    let tokens = keys.tokens().unwrap();
    assert!(tokens.iter().all(|t| t.len() == 32 && t.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())));
    // As after a crash between the claim and its keys.
    let id = claim(&store, &AccountId::new(), "acme.test", &tokens).await;
    assert!(matches!(keys.signer().sign(&acme(&id), HEADER.as_bytes(), b"").await, Err(SignError::NoKey(_))));
    store.close().await;
    drop((store, keys));

    let (store, keys) = open(dir.path()).await;
    until_made(&store, &tokens).await;
    for (statuses, selector) in [
        (["unknown"; 3], 0),
        (["valid"; 3], 0),
        (["missing", "valid", "valid"], 1),
        (["valid", "unknown", "valid"], 1),
        (["valid", "missing", "mismatch"], 0),
        (["mismatch", "unknown", "valid"], 2),
    ] {
        dkim_records(&store, &id, statuses).await;
        let field = keys.signer().sign(&acme(&id), HEADER.as_bytes(), b"hello\r\n").await.unwrap();
        let message = [&field, HEADER.as_bytes(), b"hello\r\n"].concat();
        let field = String::from_utf8(field).unwrap();
        assert!(field.contains("d=acme.test;") && field.contains(&format!("s={};", tokens[selector])), "{field}");
        let record = store.dkim_public(&tokens[selector]).await.unwrap().unwrap();
        assert_eq!(verify(&message, &record).await, DkimResult::Pass);
    }
}

#[tokio::test]
async fn keys_are_generated_in_the_background_and_not_for_deleted_claims() {
    let dir = tempfile::tempdir().unwrap();
    let (store, keys) = open(dir.path()).await;
    let (account, kept) = (AccountId::new(), keys.tokens().unwrap());
    // Claims deleted while waiting: generating their keys would take an hour.
    for _ in 0..3000 {
        keys.provision(&account, DomainId::new());
    }
    let id = claim(&store, &account, "kept.test", &kept).await;
    keys.provision(&account, id.clone());
    until_made(&store, &kept).await;
    assert!(store.dkim_missing().await.unwrap().is_empty());
    assert!(keys.made(&id).await);
}

#[tokio::test]
async fn accounts_alternate_and_every_claim_gets_a_first_key_before_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let (store, keys) = open(dir.path()).await;
    let (greedy, honest) = (AccountId::new(), AccountId::new());
    for n in 0..40 {
        let tokens = keys.tokens().unwrap();
        keys.provision(&greedy, claim(&store, &greedy, &format!("greedy{n}.test"), &tokens).await);
    }
    let tokens = keys.tokens().unwrap();
    let id = claim(&store, &honest, "honest.test", &tokens).await;
    keys.provision(&honest, id.clone());
    until_made(&store, &tokens).await;
    // While the account's three keys were generated, the other account got one each, and the one in progress.
    let greedy = store.read(move |c| {
        let sql =
            "SELECT count(*), count(DISTINCT domain_id) FROM dkim_key WHERE domain_id IS NOT NULL AND domain_id <> ?1";
        c.query_row(sql, params![id], |row| Ok((row.get::<i64>(0)?, row.get::<i64>(1)?)))
    });
    let (made, claims) = greedy.await.unwrap();
    assert!(made <= 5 && made == claims, "{made} keys of {claims} claims");
}

#[tokio::test]
async fn a_store_whose_sealing_key_is_lost_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let (store, keys) = open(dir.path()).await;
    drop(keys);
    std::fs::remove_file(dir.path().join("secret.key")).unwrap();
    let refused = Keys::open(store, dir.path(), &Config::default(), Clock::System).await.unwrap_err();
    assert!(matches!(refused, KeysError::Seal(SealError::Missing)), "{refused}");
    assert!(!dir.path().join("secret.key").exists(), "a key that opens nothing is not made");
}

#[tokio::test]
async fn the_sealing_key_can_be_changed_and_an_interrupted_change_completes() {
    let dir = tempfile::tempdir().unwrap();
    let (store, keys) = open(dir.path()).await;
    let record = keys.platform_record();
    drop(keys);
    let (present, next) = (dir.path().join("secret.key"), dir.path().join("secret.key.next"));
    let first = std::fs::read(&present).unwrap();
    assert_eq!(Keys::reseal(&store, dir.path()).await.unwrap(), 1);
    let second = std::fs::read(&present).unwrap();
    assert!(first != second && !next.exists());

    // Interrupted after everything was sealed: the new key's file has not been renamed.
    Keys::reseal(&store, dir.path()).await.unwrap();
    std::fs::rename(&present, &next).unwrap();
    std::fs::write(&present, &second).unwrap();
    let again = Keys::open(store.clone(), dir.path(), &Config::default(), Clock::System).await.unwrap();
    assert!(again.platform_record() == record && !next.exists());
    assert!(again.signer().sign(&platform(), HEADER.as_bytes(), b"x\r\n").await.is_ok());

    // Interrupted before: an unused new key's file is reused.
    std::fs::write(&next, [9; 32]).unwrap();
    Keys::open(store.clone(), dir.path(), &Config::default(), Clock::System).await.unwrap();
    Keys::reseal(&store, dir.path()).await.unwrap();
    assert_eq!(std::fs::read(&present).unwrap(), [9; 32]);

    // The old key no longer opens anything, even if the platform's key would be a new one.
    std::fs::write(&present, &first).unwrap();
    let mut config = Config::default();
    config.dkim.platform_selector = "other".into();
    let refused = Keys::open(store.clone(), dir.path(), &config, Clock::System).await.unwrap_err();
    assert!(matches!(refused, KeysError::Seal(SealError::DoesNotOpen)), "{refused}");
    assert!(Keys::reseal(&store, dir.path()).await.is_err());
}

#[tokio::test]
async fn nothing_is_signed_here_if_another_provider_signs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut config = Config::default();
    config.dkim.provider = crate::config::Provider::Ses;
    let keys = Keys::open(store, dir.path(), &config, Clock::System).await.unwrap();
    assert!(keys.signer().sign(&platform(), HEADER.as_bytes(), b"x\r\n").await.unwrap().is_empty());
}

#[test]
fn signing_runs_off_the_async_threads_and_parsed_keys_are_cached() {
    // The only blocking thread is occupied.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let (store, keys) = open(dir.path()).await;
        let sign = {
            let signer = keys.signer();
            move || {
                let signer = signer.clone();
                tokio::spawn(async move { signer.sign(&platform(), HEADER.as_bytes(), b"x\r\n").await })
            }
        };
        sign().await.unwrap().unwrap();
        // The stored keys can no longer be opened: only a cached key signs.
        let spoilt = store.write(|c| c.execute("UPDATE dkim_key SET sealed = ?1", params![[0_u8; 1]]));
        assert_eq!(spoilt.await.unwrap(), 1);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || wait.recv());
        let signing = sign();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!signing.is_finished(), "it was signed on the async thread");
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        let field = signing.await.unwrap().unwrap();
        let message = [&field, HEADER.as_bytes(), b"x\r\n"].concat();
        assert_eq!(verify(&message, &keys.platform_record().1).await, DkimResult::Pass);
    });
}
