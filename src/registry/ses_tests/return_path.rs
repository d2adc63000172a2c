//! A return path with Amazon SES: it is the MAIL FROM domain of the identity while its claim is verified.

use super::*;
use crate::store::senders::Sender;
use serde_json::{Value, json};

const PUT: &str = "PUT /v2/email/identities/acme.test/mail-from";

impl World {
    async fn set_return_path(&self, account: &AccountId, id: &DomainId, label: Option<&str>) -> CustomDomain {
        let change = DomainPatch { return_path: Some(label.map(str::to_owned)), ..DomainPatch::default() };
        self.registry.patch(account, id, change).await.unwrap()
    }

    async fn verified(&self) -> CustomDomain {
        let domain = self.registry.create(&self.account, "acme.test", None).await.unwrap();
        self.fake.says("acme.test", "SUCCESS", true);
        self.publish(&domain, &[]);
        let domain = self.verify(&self.account, &domain.id).await;
        assert_eq!(domain.verified_status, Verified);
        self.ses.settle().await;
        self.fake.calls();
        domain
    }

    /// Processes everything due within the next hours; returns the bodies of the PUT requests.
    async fn puts(&self) -> Vec<Value> {
        self.ses.settle().await;
        self.fake.calls().into_iter().filter(|call| call.verb == PUT).map(|call| call.body).collect()
    }

    async fn sender(&self) -> Sender {
        self.store.sender(self.account.clone(), None).await.unwrap()
    }

    async fn is_settled(&self) {
        assert_eq!(self.store.ses_next_due().await.unwrap(), None);
    }
}

fn of_return_path(domain: &CustomDomain) -> Vec<(RecordStatus, Option<Code>)> {
    let of = domain.records.iter().filter(|record| record.expected.purpose.is_return_path());
    of.map(|record| (record.status, record.error.as_ref().map(|error| error.code))).collect()
}

fn put(label: &str) -> Value {
    json!({"MailFromDomain": format!("{label}.acme.test"), "BehaviorOnMxFailure": "USE_DEFAULT_VALUE"})
}

fn taken_away() -> Value {
    json!({"BehaviorOnMxFailure": "USE_DEFAULT_VALUE"})
}

const AWAITED: [(RecordStatus, Option<Code>); 2] = [(RecordStatus::Unknown, Some(Code::AwaitingProvider)); 2];

#[tokio::test]
async fn ses_is_configured_once_the_claim_is_verified_and_uses_it_once_the_record_is_found() {
    let world = world().await;
    let (account, domain) = (&world.account, world.registry.create(&world.account, "acme.test", None).await.unwrap());
    let domain = world.set_return_path(account, &domain.id, Some("bounce")).await;
    let shown: Vec<_> = domain.records[6..]
        .iter()
        .map(|r| &r.expected)
        .map(|r| (r.name.as_str(), r.priority, r.value.as_str()))
        .collect();
    let name = "bounce.acme.test";
    assert_eq!(
        shown,
        [(name, Some(10), "feedback-smtp.eu-west-1.amazonses.com"), (name, None, "v=spf1 include:amazonses.com ~all")]
    );
    world.play.set("amazonses.com", Kind::Txt, &["v=spf1 ip4:192.0.2.0/24 -all".into()], 60).unwrap();
    // SES keeps one MAIL FROM domain for all claims to a name: an unverified claim does not set it.
    assert_eq!(world.puts().await, [json!(null); 0]);

    world.publish(&domain, &[]);
    world.fake.says("acme.test", "SUCCESS", true);
    let verified = world.verify(account, &domain.id).await;
    assert_eq!((verified.verified_status, of_return_path(&verified)), (Verified, AWAITED.to_vec()));
    assert_eq!(world.puts().await, [put("bounce")]);
    world.is_settled().await;
    // Not found yet: the envelope sender is at a domain of Amazon's.
    let waiting = world.verify(account, &domain.id).await;
    assert_eq!((waiting.verified_status, of_return_path(&waiting)), (Verified, AWAITED.to_vec()));
    assert!(waiting.verdict.contains("bounce.acme.test are valid, and Amazon SES, which sends"), "{}", waiting.verdict);
    let default = "eu-west-1.amazonses.com".parse().unwrap();
    assert_eq!(world.sender().await.mail_from(Some(&domain.id), &default), &default);
    assert_eq!(world.puts().await, [json!(null); 0]);

    world.fake.says_of_mail_from("acme.test", "SUCCESS");
    let right = world.verify(account, &domain.id).await;
    assert_eq!(of_return_path(&right), [(RecordStatus::Valid, None); 2]);
    assert!(right.verdict.starts_with("All is well"), "{}", right.verdict);
    let sender = world.sender().await;
    assert_eq!(sender.mail_from(Some(&domain.id), &default).as_str(), name);
    // SES forwards bounces to the given envelope sender, From, which has an inbox.
    let from: crate::address::Address = "ann@acme.test".parse().unwrap();
    assert_eq!(sender.envelope(Some(&domain.id), &from), from);

    // Without a new answer from SES the last one counts, but not for another return path.
    world.fake.fault(Fault::Error(429, "TooManyRequestsException"));
    assert_eq!(of_return_path(&world.verify(account, &domain.id).await), [(RecordStatus::Valid, None); 2]);
    assert_eq!(world.sender().await.mail_from(Some(&domain.id), &default).as_str(), name);
    world.set_return_path(account, &domain.id, Some("other")).await;
    for (kind, value) in
        [(Kind::Mx, "10 feedback-smtp.eu-west-1.amazonses.com"), (Kind::Txt, "v=spf1 include:amazonses.com ~all")]
    {
        world.play.set("other.acme.test", kind, &[value.into()], 60).unwrap();
    }
    assert_eq!(of_return_path(&world.verify(account, &domain.id).await), AWAITED);
    world.set_return_path(account, &domain.id, Some("bounce")).await;
    world.fake.fault(None);
    assert_eq!(world.puts().await, [json!(null); 0]);

    // SES no longer finds it and falls back by itself; the claim is not affected.
    world.fake.says_of_mail_from("acme.test", "TEMPORARY_FAILURE");
    let doubted = world.verify(account, &domain.id).await;
    assert_eq!((doubted.verified_status, of_return_path(&doubted)), (Verified, AWAITED.to_vec()));
    assert_eq!((doubted.degraded_since, doubted.records[0].status), (None, RecordStatus::Valid));
    assert_eq!(world.sender().await.mail_from(Some(&domain.id), &default), &default);
    assert_eq!(world.puts().await, [json!(null); 0]);
    // After SES has given up, verification is restarted.
    world.fake.says_of_mail_from("acme.test", "FAILED");
    world.verify(account, &domain.id).await;
    assert_eq!(world.puts().await, [put("bounce")]);

    world.set_return_path(account, &domain.id, Some("back")).await;
    assert_eq!(world.puts().await, [put("back")]);
    world.set_return_path(account, &domain.id, None).await;
    assert_eq!((world.puts().await, world.fake.mail_from("acme.test")), (vec![taken_away()], None));
    world.verify(account, &domain.id).await;
    assert_eq!(world.puts().await, [json!(null); 0]);
    world.is_settled().await;
}

#[tokio::test]
async fn a_mail_from_domain_that_could_not_be_set_or_removed_is_retried() {
    for (method, fault) in [
        ("PUT", Fault::Error(429, "TooManyRequestsException")),
        ("PUT", Fault::Error(500, "InternalFailure")),
        ("", Fault::Error(503, "ServiceUnavailable")),
        ("PUT", Fault::Error(403, "AccessDeniedException")),
        ("PUT", Fault::Silence),
        ("PUT", Fault::LostAnswer),
    ] {
        let world = world_with(Some(Duration::from_secs(2))).await;
        let domain = world.verified().await;
        for label in [Some("bounce"), None] {
            world.fake.fault_of(method, fault);
            world.set_return_path(&world.account, &domain.id, label).await;
            world.puts().await;
            assert!(world.store.ses_next_due().await.unwrap().unwrap() > world.clock.now(), "{fault:?}");
            world.fake.fault(None);
            world.clock.advance_to(world.clock.now().after(Duration::from_secs(31)));
            world.puts().await;
            let wanted = label.map(|label| format!("{label}.acme.test"));
            assert_eq!(world.fake.mail_from("acme.test"), wanted, "{fault:?}");
            world.is_settled().await;
        }
        assert!(!world.store.ses_identity(&domain.domain).await.unwrap().unwrap().mail_from_set);
    }
}

#[tokio::test]
async fn a_check_detects_a_removed_mail_from_domain() {
    let world = world().await;
    let domain = world.verified().await;
    world.set_return_path(&world.account, &domain.id, Some("bounce")).await;
    assert_eq!(world.puts().await, [put("bounce")]);
    world.fake.forget_mail_from("acme.test");
    world.verify(&world.account, &domain.id).await;
    assert_eq!(world.puts().await, [put("bounce")]);
}

#[tokio::test]
async fn the_verified_claim_alone_decides() {
    let world = world().await;
    let stranger = account(&world.store).await;
    let first = world.verified().await;
    let second = world.registry.create(&stranger, "acme.test", None).await.unwrap();
    world.set_return_path(&stranger, &second.id, Some("evil")).await;
    assert_eq!(world.puts().await, [json!(null); 0]);
    world.set_return_path(&world.account, &first.id, Some("bounce")).await;
    assert_eq!(world.puts().await, [put("bounce")]);

    // The name is transferred, and with it the MAIL FROM domain; then its claim is deleted, and the other one remains.
    world.publish(&first, &[&second]);
    assert_eq!(world.verify(&stranger, &second.id).await.verified_status, Verified);
    assert_eq!(world.puts().await, [put("evil")]);
    assert!(world.registry.delete(&stranger, &second.id).await.unwrap());
    assert_eq!(world.puts().await, [taken_away()]);
    assert_eq!((world.fake.names().len(), world.status(&world.account, &first.id).await), (1, Failed));
    world.is_settled().await;
}

#[tokio::test]
async fn a_foreign_setting_stays_until_a_return_path_is_requested() {
    let world = world().await;
    let mut theirs = identity(["a1", "b2", "c3"], &json!([]));
    theirs["MailFromAttributes"] = json!({"MailFromDomain": "mail.acme.test", "MailFromDomainStatus": "SUCCESS"});
    world.fake.put("acme.test", theirs);
    let domain = world.registry.create(&world.account, "acme.test", None).await.unwrap();
    world.fake.says("acme.test", "SUCCESS", true);
    world.publish(&domain, &[&domain]);
    assert_eq!(world.verify(&world.account, &domain.id).await.verified_status, Verified);
    assert_eq!(world.puts().await, [json!(null); 0]);
    assert_eq!(world.fake.mail_from("acme.test").as_deref(), Some("mail.acme.test"));
    let default = "eu-west-1.amazonses.com".parse().unwrap();
    assert_eq!(world.sender().await.mail_from(Some(&domain.id), &default).as_str(), "mail.acme.test");

    world.set_return_path(&world.account, &domain.id, Some("bounce")).await;
    assert_eq!(world.puts().await, [put("bounce")]);
    // The identity is not ours to delete; our setting is.
    assert!(world.registry.delete(&world.account, &domain.id).await.unwrap());
    assert_eq!(world.puts().await, [taken_away()]);
    assert_eq!(world.fake.names(), ["acme.test"]);
    assert_eq!(world.store.ses_identity(&domain.domain).await.unwrap(), None);
}
