//! The service over a real store, against the fake SES of [`super::testing`] and against moto.

mod requests;

use super::testing::{FakeSes, Fault, identity};
use super::*;
use crate::address::DomainName;
use crate::clock::Clock;
use crate::config;
use crate::id::{AccountId, DomainId};
use crate::jobs::LEASE;
use crate::resources::Owner;
use crate::store::domains::NewDomain;
use crate::store::jobs::Claim;
use crate::store::names::NameLimits;
use crate::store::ownership::Ownership;
use crate::store::testing::store_with_account;
use crate::verification::status::{Policy, State};
use serde_json::json;
use tempfile::TempDir;

/// Long enough for a loaded machine, short enough to wait for a timeout.
const SHORT: Duration = Duration::from_secs(2);

struct World {
    _dir: TempDir,
    store: Store,
    account: AccountId,
    clock: Clock,
    fake: FakeSes,
    ses: Ses,
}

async fn world() -> World {
    let (dir, store, account) = store_with_account().await;
    let (clock, fake) = (Clock::manual(), FakeSes::start().await);
    let ses = fake.service(&store, &clock).await;
    World { _dir: dir, store, account, clock, fake, ses }
}

fn acme() -> DomainName {
    "acme.test".parse().unwrap()
}

impl World {
    /// What the registry does with the tokens.
    async fn claim(&self) -> Result<DomainId, ReserveError> {
        let reserved = self.ses.reserve(&acme()).await?;
        let hour = Duration::from_secs(3600);
        let policy = Policy { window: hour, grace: hour, recheck: hour, first_pause: hour, longest_pause: hour };
        let new = NewDomain {
            account: self.account.clone(),
            name: acme(),
            tokens: reserved.tokens.clone(),
            ownership: Ownership::WhenContested("secret".into()),
            state: State::created(self.clock.now(), &policy),
            client_id: None,
        };
        Ok(self.store.domain_create(new, NameLimits::new(9, 9), self.clock.now()).await.unwrap().id)
    }

    async fn pass(&self, seconds: u64) {
        self.clock.advance_to(self.clock.now().after(Duration::from_secs(seconds)));
        self.ses.settle().await;
    }

    async fn next_due_in(&self) -> Option<Duration> {
        self.store.ses_next_due().await.unwrap().map(|due| due.since(self.clock.now()))
    }
}

#[tokio::test]
async fn an_identity_is_created_updated_and_deleted_with_its_claim() {
    let world = world().await;
    let id = world.claim().await.unwrap();
    let calls = world.fake.calls();
    assert_eq!(calls.iter().map(|call| call.verb.as_str()).collect::<Vec<_>>(), ["POST /v2/email/identities"]);
    let body = &calls[0].body;
    let mark = body["Tags"][0]["Value"].as_str().unwrap();
    assert!(mark.starts_with("inboxlayer.dev/"), "{mark}");
    assert_eq!(
        *body,
        json!({
            "EmailIdentity": "acme.test", "Tags": [{"Key": "inboxlayer", "Value": mark}],
            "DkimSigningAttributes": {"NextSigningKeyLength": "RSA_2048_BIT"}
        })
    );
    let authorization = &calls[0].authorization;
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDTEST/"), "{authorization}");
    assert!(authorization.contains("/eu-west-1/ses/aws4_request"), "{authorization}");

    assert!(!world.ses.confirms(&acme()).await.unwrap().sends);
    world.fake.says("acme.test", "SUCCESS", true);
    assert!(world.ses.confirms(&acme()).await.unwrap().sends);
    assert_eq!(world.fake.verbs(), ["GET /v2/email/identities/acme.test"; 2]);
    assert!(world.store.ses_identity(&acme()).await.unwrap().unwrap().sending);

    assert!(world.store.domain_delete(&world.account, &id, crate::clock::Timestamp::real()).await.unwrap());
    world.pass(0).await;
    assert_eq!(world.fake.verbs(), ["GET /v2/email/identities/acme.test", "DELETE /v2/email/identities/acme.test"]);
    assert!(world.fake.names().is_empty());
    assert_eq!((world.store.ses_identity(&acme()).await.unwrap(), world.next_due_in().await), (None, None));
}

#[tokio::test]
async fn an_existing_identity_is_adopted_and_never_deleted() {
    let world = world().await;
    world.fake.put("acme.test", identity(["a1", "b2", "c3"], &json!([{"Key": "inboxlayer", "Value": "another/1"}])));
    let reserved = world.ses.reserve(&acme()).await.unwrap();
    assert_eq!((reserved.tokens.join(" ").as_str(), reserved.is_ours), ("a1 b2 c3", false));
    drop(reserved);
    // No claim was stored.
    world.pass(60).await;
    assert_eq!((world.fake.names().len(), world.store.ses_identity(&acme()).await.unwrap()), (1, None));
    assert!(!world.fake.verbs().iter().any(|verb| verb.starts_with("DELETE")));
}

#[tokio::test]
async fn an_identity_without_three_tokens_is_rejected() {
    let world = world().await;
    let mut other = identity(["a1", "b2", "c3"], &json!([]));
    other["DkimAttributes"]["SigningAttributesOrigin"] = "EXTERNAL".into();
    let two =
        json!({"DkimAttributes": {"SigningEnabled": true, "Tokens": ["a", "b"]}, "VerifiedForSendingStatus": true});
    let odd = identity(["a b", "c", "d"], &json!([]));
    // In a region with its own zone, our CNAMEs would find no keys.
    let mut elsewhere = identity(["a1", "b2", "c3"], &json!([]));
    elsewhere["DkimAttributes"]["SigningHostedZone"] = "dkim.eu-central-2.amazonses.com".into();
    for (unusable, why) in [
        (other, "signs with its own key"),
        (two, "has 2 DKIM tokens, not three"),
        (odd, "are not valid labels"),
        (json!({}), "has no DKIM attributes"),
        (elsewhere, "has its keys in dkim.eu-central-2.amazonses.com: set dkim.zone to that"),
    ] {
        world.fake.put("acme.test", unusable);
        let refused = world.ses.reserve(&acme()).await.unwrap_err();
        assert!(matches!(&refused, ReserveError::Ses(SesError::Unusable(reply)) if reply.contains(why)), "{refused}");
        // A definite negative answer, also for the platform domain.
        let confirmed = Some(Confirmed::default());
        assert_eq!(world.ses.confirms(&acme()).await, confirmed);
        world.fake.put("inboxlayer.dev", world.fake.get("acme.test"));
        assert_eq!(world.ses.confirms(&"inboxlayer.dev".parse().unwrap()).await, confirmed);
    }
    assert_eq!(world.ses.confirms(&"nothing.test".parse().unwrap()).await, Some(Confirmed::default()));
}

#[tokio::test]
async fn errors_are_distinguished_and_retried_without_partial_changes() {
    for (fault, calls) in [
        // Temporary errors are retried once at once.
        (Fault::Error(429, "TooManyRequestsException"), 2),
        (Fault::Error(500, "InternalFailure"), 2),
        (Fault::Error(503, "ServiceUnavailable"), 2),
        (Fault::Error(400, "LimitExceededException"), 2),
        (Fault::Error(403, "AccessDeniedException"), 1),
    ] {
        let world = world().await;
        world.fake.fault(fault);
        let refused = world.claim().await.unwrap_err();
        let ReserveError::Ses(error) = &refused else { panic!("{refused}") };
        let notified = match error {
            SesError::Throttled => 429,
            SesError::Failed(text) => text.get(..3).unwrap().parse().unwrap(),
            SesError::Denied(_) => 403,
            SesError::Limit(_) => 400,
            other => panic!("{other}"),
        };
        assert!(matches!(fault, Fault::Error(status, _) if status == notified), "{fault:?}: {error:?}");
        assert_eq!(world.fake.verbs().len(), calls, "{fault:?}");

        // The pauses grow with repeated failures.
        world.pass(60).await;
        let first = world.next_due_in().await.unwrap();
        world.pass(first.as_secs() + 1).await;
        let second = world.next_due_in().await.unwrap();
        // The clock advances by itself too.
        assert!((20..=30).contains(&first.as_secs()) && (50..=60).contains(&second.as_secs()), "{first:?} {second:?}");
        for _ in 0..10 {
            world.pass(3600).await;
        }
        assert!((3500..=3600).contains(&world.next_due_in().await.unwrap().as_secs()));
        world.fake.fault(None);
        world.pass(3600).await;
        assert_eq!((world.store.ses_identity(&acme()).await.unwrap(), world.next_due_in().await), (None, None));
        assert!(world.claim().await.is_ok());
    }
}

#[tokio::test]
async fn a_timeout_leaves_no_partial_change() {
    let mut world = world().await;
    world.ses = world.fake.service_with(&world.store, &world.clock, SHORT).await;
    world.fake.fault(Fault::Silence);
    let refused = world.claim().await.unwrap_err();
    assert!(matches!(refused, ReserveError::Ses(SesError::TimedOut)), "{refused}");
    assert_eq!(world.ses.confirms(&acme()).await, None);
    world.fake.fault(None);
    world.pass(60).await;
    assert_eq!((world.fake.names().len(), world.store.ses_identity(&acme()).await.unwrap()), (0, None));
}

#[tokio::test]
async fn an_identity_with_a_lost_response_is_reused_or_deleted() {
    for again in [true, false] {
        let mut world = world().await;
        let patient = world.ses.clone();
        world.ses = world.fake.service_with(&world.store, &world.clock, SHORT).await;
        world.fake.fault(Fault::LostAnswer);
        assert!(matches!(world.claim().await, Err(ReserveError::Ses(SesError::TimedOut))));
        assert_eq!(world.fake.names(), ["acme.test"]);
        world.fake.fault(None);
        world.ses = patient;
        if again {
            let reserved = world.ses.reserve(&acme()).await.unwrap();
            assert!(reserved.is_ours);
            drop(reserved);
            world.claim().await.unwrap();
        }
        world.pass(60).await;
        assert_eq!(world.fake.names().len(), usize::from(again));
        assert_eq!(world.store.ses_identity(&acme()).await.unwrap().is_some(), again);
    }
}

#[tokio::test]
async fn a_missing_or_failed_identity_is_repaired() {
    let world = world().await;
    world.claim().await.unwrap();
    world.pass(60).await;
    assert_eq!(world.next_due_in().await, None);

    // SES has stopped looking for the records: verification is restarted.
    world.fake.says("acme.test", "FAILED", false);
    assert!(!world.ses.confirms(&acme()).await.unwrap().sends);
    world.fake.calls();
    world.pass(0).await;
    let calls = world.fake.calls();
    assert_eq!(calls[1].verb, "PUT /v2/email/identities/acme.test/dkim/signing");
    assert_eq!(
        calls[1].body,
        json!({"SigningAttributesOrigin": "AWS_SES", "SigningAttributes": {"NextSigningKeyLength": "RSA_2048_BIT"}})
    );
    assert_eq!(world.next_due_in().await, None);
    world.fake.says("acme.test", "SUCCESS", true);
    assert!(world.ses.confirms(&acme()).await.unwrap().sends);

    // The identity was deleted. Recreated it has other tokens, and no claim is confirmed with them.
    world.fake.remove("acme.test");
    assert!(!world.ses.confirms(&acme()).await.unwrap().sends);
    world.pass(0).await;
    assert_eq!(world.fake.names(), ["acme.test"]);
    world.fake.says("acme.test", "SUCCESS", true);
    assert!(!world.ses.confirms(&acme()).await.unwrap().sends);
}

#[tokio::test]
async fn a_domain_that_ses_does_not_sign_is_not_confirmed() {
    let world = world().await;
    world.claim().await.unwrap();
    world.pass(60).await;
    let sends = async || world.ses.confirms(&acme()).await.unwrap().sends;
    // Verified there long ago without DKIM.
    world.fake.says("acme.test", "PENDING", true);
    assert!(!sends().await);
    world.fake.says("acme.test", "SUCCESS", true);
    assert!(sends().await);
    world.fake.stop_signing("acme.test");
    assert!(!sends().await);
    world.fake.calls();
    world.pass(0).await;
    let put = world.fake.calls().into_iter().find(|call| call.verb.starts_with("PUT")).unwrap();
    let on = json!({"SigningEnabled": true});
    assert_eq!((put.verb.as_str(), put.body), ("PUT /v2/email/identities/acme.test/dkim", on));
    assert!(sends().await);
    assert_eq!(world.next_due_in().await, None);
}

#[tokio::test]
async fn a_claim_deleted_during_a_call_leaves_no_identity() {
    for in_repair in [false, true] {
        let world = world().await;
        let id = world.claim().await.unwrap();
        world.fake.calls();
        world.fake.fault(Fault::LateAnswer);
        let ses = world.ses.clone();
        if in_repair {
            world.store.ses_look_at(&acme(), world.clock.now()).await.unwrap();
        }
        let asking = tokio::spawn(async move {
            match in_repair {
                true => ses.settle().await,
                false => assert!(!ses.confirms(&acme()).await.unwrap().sends),
            }
        });
        while world.fake.calls().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(world.store.domain_delete(&world.account, &id, crate::clock::Timestamp::real()).await.unwrap());
        world.fake.fault(None);
        asking.await.unwrap();
        world.pass(0).await;
        assert!(world.fake.names().is_empty(), "during repair: {in_repair}");
    }
}

#[tokio::test]
async fn two_daemons_repair_an_identity_one_at_a_time_and_a_lost_lease_changes_nothing() {
    let world = world().await;
    let (id, other) = (world.claim().await.unwrap(), world.fake.service(&world.store, &world.clock).await);
    world.pass(60).await;
    assert!(world.store.domain_delete(&world.account, &id, crate::clock::Timestamp::real()).await.unwrap());
    world.fake.calls();
    let now = world.clock.now();
    let claim = Claim::new(now, now.after(LEASE), 1);
    let runner = claim.lease.runner.clone();
    assert_eq!(world.store.ses_claim(claim).await.unwrap(), [(acme(), Owner::Account(world.account.clone()))]);
    tokio::join!(world.ses.settle(), other.settle());
    assert_eq!(world.fake.verbs(), [""; 0]);
    // No tokens are given out for what may just be deleted.
    let (by, now) = (crate::id::RunnerId::new(), world.clock.now());
    assert_eq!(world.store.ses_intend(&acme(), "mark".into(), (by, now), now).await.unwrap(), None);

    world.clock.advance_to(now.after(LEASE));
    tokio::join!(world.ses.settle(), other.settle());
    assert_eq!(world.fake.verbs(), ["GET /v2/email/identities/acme.test", "DELETE /v2/email/identities/acme.test"]);
    world.claim().await.unwrap();
    let made = world.store.ses_identity(&acme()).await.unwrap();
    let row = made.clone().unwrap();
    let late = SesReply {
        is_ours: false,
        tokens: ["x", "y", "z"].map(String::from),
        dkim_status: "FAILED".into(),
        signs: false,
        sending: false,
        mail_from: None,
    };
    world.store.ses_settled(&row, runner.clone(), late.clone()).await.unwrap();
    assert!(!world.store.ses_mail_from_set(&acme(), runner.clone(), true).await.unwrap());
    world.store.ses_failed(&acme(), runner.clone(), now).await.unwrap();
    world.store.ses_forget(&acme(), runner.clone()).await.unwrap();
    assert_eq!(world.store.ses_identity(&acme()).await.unwrap(), made);
    // What another daemon sees while it is repaired may be older than the repair.
    let now = world.clock.now();
    world.store.ses_look_at(&acme(), now).await.unwrap();
    assert_eq!(world.store.ses_claim(Claim::new(now, now.after(LEASE), 1)).await.unwrap().len(), 1);
    world.store.ses_record_reply(&acme(), (runner, now), late).await.unwrap();
    assert_eq!(world.store.ses_identity(&acme()).await.unwrap(), made);
}

#[tokio::test]
async fn it_runs_in_the_background_until_shutdown() {
    let world = world().await;
    let id = world.claim().await.unwrap();
    let shutdown = crate::net::listener::Shutdown::new();
    let running = tokio::spawn(world.ses.clone().run(shutdown.clone()));
    world.store.domain_delete(&world.account, &id, crate::clock::Timestamp::real()).await.unwrap();
    world.ses.wake();
    while !world.fake.names().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test]
async fn the_relay_is_in_the_region_with_derived_credentials() {
    let world = world().await;
    let ses = config::Ses { region: Some("eu-west-1".into()), endpoint: None };
    let relay = world.ses.relay(&Config { ses, ..Config::default() }).await.unwrap();
    assert_eq!((relay.host.as_str(), relay.port), ("email-smtp.eu-west-1.amazonaws.com", 587));
    assert_eq!(relay.username.as_deref(), Some("AKIDTEST"));
    assert_eq!(relay.password.unwrap().reveal().len(), 44);
}
