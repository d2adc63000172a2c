//! Published records, with and without existing ones, seen by the daemon's own resolver and judged like any
//! customer's.

use super::super::{Prepared, SandboxOptions};
use super::*;
use crate::clock::Timestamp;
use crate::id::AccountId;
use crate::registry::CustomDomain;
use crate::store::StoreError;
use crate::store::domains::DomainPatch;
use crate::store::params;
use crate::store::testing::set_check_due;
use crate::verification::judge::RecordStatus;
use crate::verification::observed::RecordType;

const NAME: &str = "acme.test";

struct Owner {
    world: World,
    account: AccountId,
    id: DomainId,
    _dir: tempfile::TempDir,
}

impl Owner {
    /// A claim with a return path, to a name that another account has claimed too, so that it has every kind of
    /// record.
    async fn of_everything() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let options =
            SandboxOptions { port_base: Some(0), data_dir: Some(dir.path().into()), ..SandboxOptions::default() };
        let world = Prepared::new(options).await.unwrap().world;
        let (id, account) = (DomainId::new(), AccountId::new());
        let (new, owner) = (id.clone(), account.clone());
        let made = world.services.store.write(move |c| {
            c.execute("INSERT INTO account (id, name, created_at) VALUES (?1, 'x', 0)", params![&owner])?;
            c.execute(
                "INSERT INTO custom_domain (id, account_id, name, status, dkim_tokens, ownership_secret, contested_at,
                     created_at, updated_at)
                 VALUES (?1, ?2, ?3, 'pending', 't1 t2 t3', 'secret', 0, 0, 0)",
                params![new, owner, NAME],
            )?;
            Ok::<_, StoreError>(())
        });
        made.await.unwrap();
        let change = DomainPatch { return_path: Some(Some("bounce".into())), ..DomainPatch::default() };
        world.services.registry.patch(&account, &id, change).await.unwrap();
        Self { world, account, id, _dir: dir }
    }

    async fn has(&self, name: &str, kind: Kind, values: &[&str]) {
        let values: Vec<String> = values.iter().map(|v| (*v).to_owned()).collect();
        self.world.play.set(name, kind, &values, TTL).unwrap();
        let set = RecordSet { values, ttl: TTL };
        self.world.state.note_records([(name.to_owned(), kind, Some(set))]).await.unwrap();
    }

    async fn publish(&self) -> Vec<Value> {
        let Json(answer) = publish(State(self.world.clone()), Path(self.id.to_string())).await.unwrap();
        answer["published"].as_array().unwrap().clone()
    }

    async fn sees(&self, name: &str, kind: RecordType) -> Vec<String> {
        let answer = self.world.services.resolver.lookup(name, kind).await;
        answer.records().iter().map(ToString::to_string).collect()
    }

    /// Runs a check and returns the result.
    async fn checked(&self) -> CustomDomain {
        let services = &self.world.services;
        set_check_due(&services.store, &self.account, &self.id, services.clock.now()).await;
        services.verifier.settle().await;
        services.registry.get(&self.account, &self.id).await.unwrap().unwrap()
    }

    /// Checks that every record is valid after publishing; returns warnings, except those about keys, which are not
    /// generated here.
    async fn all_right(&self) -> Vec<String> {
        let shown = self.checked().await;
        assert_eq!(shown.records.len(), 9);
        for record in &shown.records {
            assert_eq!(record.status, RecordStatus::Valid, "{record:?}");
        }
        let warnings = shown.records.iter().filter_map(|record| record.error.as_ref());
        warnings.map(|error| error.code.to_string()).filter(|code| code != "target_without_key").collect()
    }
}

#[tokio::test]
async fn all_records_are_published_and_publishing_again_changes_nothing() {
    let owner = Owner::of_everything().await;
    let first = owner.publish().await;
    assert_eq!(first.len(), 9, "{first:?}");
    for (name, kind, values) in [
        ("t1._domainkey.acme.test", RecordType::Cname, ["t1.dkim.amazonses.com"]),
        ("t3._domainkey.acme.test", RecordType::Cname, ["t3.dkim.amazonses.com"]),
        ("acme.test", RecordType::Mx, ["10 smtp.inboxlayer.dev"]),
        ("acme.test", RecordType::Txt, ["v=spf1 include:amazonses.com ~all"]),
        ("_dmarc.acme.test", RecordType::Txt, ["v=DMARC1; p=none;"]),
        ("_inboxlayer.acme.test", RecordType::Txt, ["secret"]),
        ("bounce.acme.test", RecordType::Mx, ["10 smtp.inboxlayer.dev"]),
        ("bounce.acme.test", RecordType::Txt, ["v=spf1 include:amazonses.com ~all"]),
    ] {
        assert_eq!(owner.sees(name, kind).await, values, "{name}");
    }
    assert_eq!(owner.all_right().await, [""; 0]);
    assert_eq!(owner.publish().await, first);
    // The keys behind the CNAMEs come from the store.
    let store = &owner.world.services.store;
    store
        .dkim_put("t1".into(), Some(owner.id.clone()), vec![], "v=DKIM1; p=x".into(), Timestamp::real())
        .await
        .unwrap();
    assert_eq!(owner.sees("t1._domainkey.acme.test", RecordType::Txt).await, ["v=DKIM1; p=x"]);
}

#[tokio::test]
async fn existing_records_are_kept_merged_or_replaced() {
    let owner = Owner::of_everything().await;
    owner.has("acme.test", Kind::Txt, &["site-verification=1", "v=spf1 include:_spf.example.org -all"]).await;
    owner.has("_spf.example.org", Kind::Txt, &["v=spf1 ip4:192.0.2.0/24 -all"]).await;
    owner.has("acme.test", Kind::Mx, &["1 aspmx.l.google.com."]).await;
    owner.has("_dmarc.acme.test", Kind::Txt, &["v=DMARC1; p=reject; rua=mailto:d@acme.test"]).await;
    owner.has("_inboxlayer.acme.test", Kind::Txt, &["somebody-elses"]).await;
    owner.has("t1._domainkey.acme.test", Kind::Txt, &["t1.dkim.amazonses.com"]).await;
    owner.has("t2._domainkey.acme.test", Kind::A, &["192.0.2.1"]).await;
    owner.has("t3._domainkey.acme.test", Kind::Cname, &["t1.dkim.amazonses.com."]).await;
    owner.has("bounce.acme.test", Kind::Cname, &["u1.provider.example.org."]).await;
    for _ in 0..2 {
        owner.publish().await;
        for (name, kind, values) in [
            (
                "acme.test",
                RecordType::Txt,
                vec!["v=spf1 include:_spf.example.org include:amazonses.com -all", "site-verification=1"],
            ),
            ("acme.test", RecordType::Mx, vec!["10 smtp.inboxlayer.dev"]),
            // Stricter than requested is valid.
            ("_dmarc.acme.test", RecordType::Txt, vec!["v=DMARC1; p=reject; rua=mailto:d@acme.test"]),
            ("_inboxlayer.acme.test", RecordType::Txt, vec!["secret", "somebody-elses"]),
            ("bounce.acme.test", RecordType::Cname, vec![]),
            ("t2._domainkey.acme.test", RecordType::Cname, vec!["t2.dkim.amazonses.com"]),
        ] {
            let mut seen = owner.sees(name, kind).await;
            seen.sort_by_key(|value| values.iter().position(|v| v == value));
            assert_eq!(seen, values, "{name}");
        }
        assert_eq!(owner.all_right().await, [""; 0]);
    }
    // What the next start restores is the same.
    assert!(owner.world.state.values("t1._domainkey.acme.test", Kind::Txt).is_empty());
    assert!(owner.world.state.values("bounce.acme.test", Kind::Cname).is_empty());
    assert_eq!(owner.world.state.values("bounce.acme.test", Kind::Mx), ["10 smtp.inboxlayer.dev"]);
}

#[tokio::test]
async fn several_spf_records_become_one_and_a_broken_dmarc_record_is_replaced() {
    let owner = Owner::of_everything().await;
    let several = ["v=spf1 ip4:192.0.2.7 -all", "v=spf1 a:mail.acme.test ~all", "v=spf1 wrong:: -all"];
    owner.has("acme.test", Kind::Txt, &several).await;
    owner.has("bounce.acme.test", Kind::Txt, &["v=spf1 -all"]).await;
    owner.has("_dmarc.acme.test", Kind::Txt, &["v=dmarc1; p=never", "note"]).await;
    owner.publish().await;
    let merged = "v=spf1 ip4:192.0.2.7 a:mail.acme.test include:amazonses.com ~all";
    assert_eq!(owner.sees("acme.test", RecordType::Txt).await, [merged]);
    assert_eq!(owner.sees("bounce.acme.test", RecordType::Txt).await, ["v=spf1 include:amazonses.com -all"]);
    assert_eq!(owner.sees("_dmarc.acme.test", RecordType::Txt).await, ["v=DMARC1; p=none;", "note"]);
    assert_eq!(owner.all_right().await, [""; 0]);
}

#[tokio::test]
async fn an_unknown_claim_is_not_found() {
    let owner = Owner::of_everything().await;
    owner.world.services.registry.delete(&owner.account, &owner.id).await.unwrap();
    for id in [owner.id.to_string(), "dom_x".into()] {
        assert!(publish(State(owner.world.clone()), Path(id)).await.is_err());
    }
    assert_eq!(owner.world.services.resolver.lookup(NAME, RecordType::Mx).await.records().len(), 0);
}
