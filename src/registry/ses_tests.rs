//! The registry with Amazon SES as its signing provider: real store, real DNS, fake SES.

mod return_path;

use super::*;
use crate::config::{self, HumanDuration};
use crate::dkim::ses::testing::{FakeSes, Fault, identity};
use crate::dkim::{Provider, ses::Ses};
use crate::dns::Resolver;
use crate::dns::authority::play::{Kind, Play};
use crate::dns::authority::{Authority, Zones};
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use crate::store::testing::{account, store_with_account};
use crate::verification::judge::{Code, RecordStatus};
use crate::verification::records::Purpose;
use crate::verification::status::VerifiedStatus::{self, Failed, Pending, Verified};
use std::net::Ipv4Addr;
use tempfile::TempDir;

struct World {
    _dir: TempDir,
    store: Store,
    account: AccountId,
    clock: Clock,
    play: Play,
    fake: FakeSes,
    ses: Ses,
    registry: Registry,
    shutdown: Shutdown,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

async fn world() -> World {
    world_with(None).await
}

/// With a given time limit for SES.
async fn world_with(time_limit: Option<Duration>) -> World {
    let (dir, store, account) = store_with_account().await;
    let play = Play::new(Ipv4Addr::LOCALHOST);
    let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let server = authority.address();
    let shutdown = Shutdown::new();
    tokio::spawn(authority.serve(Zones::of_play(play.clone()), false, shutdown.clone()));
    let mut config = Config::default();
    config.platform.allow_special_use = vec!["test".into()];
    config.dkim.zone = "dkim.amazonses.com".parse().unwrap();
    config.dkim.provider = config::Provider::Ses;
    config.ses.region = Some("eu-west-1".into());
    config.dns.resolvers = vec![server];
    config.dns.authoritative_port = server.port();
    config.dns.allow_networks = AllowedNetworks::loopback();
    config.dns.timeout = HumanDuration(Duration::from_millis(500));
    let (config, clock, fake) = (Arc::new(config), Clock::manual(), FakeSes::start().await);
    let ses = match time_limit {
        Some(time_limit) => fake.service_with(&store, &clock, time_limit).await,
        None => fake.service(&store, &clock).await,
    };
    let (provider, resolver) = (Provider::Ses(ses.clone()), Resolver::new(&config.dns).unwrap());
    let verifier =
        Verifier::signed_by(Some(provider.clone()), Arc::clone(&config), store.clone(), clock.clone(), resolver);
    tokio::spawn(verifier.clone().run(shutdown.clone()));
    let registry = Registry::new(config, store.clone(), clock.clone(), provider, verifier);
    World { _dir: dir, store, account, clock, play, fake, ses, registry, shutdown }
}

impl World {
    /// Publishes all records except ownership, which are those in `secrets`.
    fn publish(&self, domain: &CustomDomain, secrets: &[&CustomDomain]) {
        for record in domain.records.iter().filter(|r| r.expected.purpose != Purpose::Ownership) {
            let kind = Kind::parse(record.expected.record_type.into()).unwrap();
            let value = record.expected.priority.map(|p| format!("{p} ")).unwrap_or_default() + &record.expected.value;
            self.play.set(&record.expected.name, kind, &[value], 60).unwrap();
        }
        let token = domain.dkim_tokens.join(" ");
        for token in token.split(' ') {
            self.play.set(&format!("{token}.dkim.amazonses.com"), Kind::Txt, &["v=DKIM1; p=AAAA".into()], 60).unwrap();
        }
        let secrets: Vec<String> = secrets.iter().map(|d| secret(d)).collect();
        if !secrets.is_empty() {
            self.play.set("_inboxlayer.acme.test", Kind::Txt, &secrets, 60).unwrap();
        }
    }

    async fn verify(&self, account: &AccountId, id: &DomainId) -> CustomDomain {
        self.clock.advance_to(self.clock.now().after(Duration::from_secs(10)));
        let (domain, answered) = self.registry.verify(account, id, Some(LONGEST_WAIT)).await.unwrap();
        assert_eq!(answered, Answered::Settled);
        domain
    }

    async fn status(&self, account: &AccountId, id: &DomainId) -> VerifiedStatus {
        self.registry.get(account, id).await.unwrap().unwrap().verified_status
    }
}

fn secret(domain: &CustomDomain) -> String {
    domain.records.iter().find(|r| r.expected.purpose == Purpose::Ownership).unwrap().expected.value.clone()
}

#[tokio::test]
async fn a_domain_has_ses_tokens_and_waits_for_confirmation() {
    let world = world().await;
    let domain = world.registry.create(&world.account, "acme.test", None).await.unwrap();
    assert_eq!(serde_json::json!(domain.dkim_tokens), world.fake.get("acme.test")["DkimAttributes"]["Tokens"]);
    assert_eq!(domain.records[0].expected.value, format!("{}.dkim.amazonses.com", domain.dkim_tokens[0]));
    assert_eq!((domain.records.len(), world.fake.names()), (6, vec!["acme.test".to_owned()]));
    world.publish(&domain, &[]);

    // Valid in the DNS, but not yet seen by SES: unknown.
    let waiting = world.verify(&world.account, &domain.id).await;
    assert_eq!((waiting.verified_status, waiting.records[0].status), (Pending, RecordStatus::Unknown));
    assert_eq!(waiting.records[0].error.as_ref().unwrap().code, Code::AwaitingProvider);
    assert!(waiting.verdict.starts_with("Nothing to do for acme.test: "), "{}", waiting.verdict);
    world.clock.advance_to(world.clock.now().after(Duration::from_secs(80 * 3600)));
    assert_eq!(world.verify(&world.account, &domain.id).await.verified_status, Pending);
    // Still unknown while SES does not answer.
    world.fake.says("acme.test", "SUCCESS", true);
    world.fake.fault(Fault::Error(403, "AccessDeniedException"));
    assert_eq!(world.verify(&world.account, &domain.id).await.verified_status, Pending);
    world.fake.fault(None);
    assert_eq!(world.verify(&world.account, &domain.id).await.verified_status, Verified);

    // From now on the DNS decides; the state at SES is a warning.
    world.fake.says("acme.test", "TEMPORARY_FAILURE", false);
    let warned = world.verify(&world.account, &domain.id).await;
    assert_eq!((warned.verified_status, warned.records[0].status), (Verified, RecordStatus::Valid));
    assert_eq!(warned.records[0].error.as_ref().unwrap().code, Code::AwaitingProvider);
    assert_eq!(warned.degraded_since, None);
    // While SES does not answer, its last answer counts.
    let code = |domain: &CustomDomain| domain.records[0].error.as_ref().map(|error| error.code);
    for (says, current) in [(false, Some(Code::AwaitingProvider)), (true, None)] {
        world.fake.says("acme.test", "SUCCESS", says);
        assert_eq!(code(&world.verify(&world.account, &domain.id).await), current);
        world.fake.fault(Fault::Error(503, "ServiceUnavailable"));
        let unanswered = world.verify(&world.account, &domain.id).await;
        assert_eq!((unanswered.verified_status, code(&unanswered)), (Verified, current));
        world.fake.fault(None);
    }

    assert!(world.registry.delete(&world.account, &domain.id).await.unwrap());
    world.ses.settle().await;
    assert!(world.fake.names().is_empty());
}

#[tokio::test]
async fn two_accounts_share_one_identity_and_their_secrets_decide() {
    let world = world().await;
    let stranger = account(&world.store).await;
    let first = world.registry.create(&world.account, "acme.test", None).await.unwrap();
    let second = world.registry.create(&stranger, "acme.test", None).await.unwrap();
    assert_eq!(first.dkim_tokens, second.dkim_tokens);
    assert_eq!(world.fake.verbs(), ["POST /v2/email/identities"]);
    let first = world.registry.get(&world.account, &first.id).await.unwrap().unwrap();
    assert_ne!(secret(&first), secret(&second));

    world.fake.says("acme.test", "SUCCESS", true);
    world.publish(&first, &[]);
    assert_eq!(world.verify(&world.account, &first.id).await.verified_status, Pending);
    world.publish(&first, &[&second]);
    assert_eq!(world.verify(&world.account, &first.id).await.verified_status, Pending);
    assert_eq!(world.verify(&stranger, &second.id).await.verified_status, Verified);
    world.publish(&first, &[&first]);
    assert_eq!(world.verify(&world.account, &first.id).await.verified_status, Verified);
    assert_eq!(world.status(&stranger, &second.id).await, Failed);

    // The identity is kept until the last claim is deleted.
    assert!(world.registry.delete(&stranger, &second.id).await.unwrap());
    world.ses.settle().await;
    assert_eq!(world.fake.names().len(), 1);
    assert!(world.registry.delete(&world.account, &first.id).await.unwrap());
    world.ses.settle().await;
    assert!(world.fake.names().is_empty());
}

#[tokio::test]
async fn records_of_an_identity_older_than_the_claim_prove_nothing() {
    let world = world().await;
    world.fake.put("acme.test", identity(["a1", "b2", "c3"], &serde_json::json!([])));
    world.fake.says("acme.test", "SUCCESS", true);
    let domain = world.registry.create(&world.account, "acme.test", None).await.unwrap();
    assert_eq!(domain.dkim_tokens.join(" "), "a1 b2 c3");
    world.publish(&domain, &[]);
    assert_eq!(world.verify(&world.account, &domain.id).await.verified_status, Pending);
    world.publish(&domain, &[&domain]);
    assert_eq!(world.verify(&world.account, &domain.id).await.verified_status, Verified);
    assert!(world.registry.delete(&world.account, &domain.id).await.unwrap());
    world.ses.settle().await;
    assert_eq!(world.fake.names(), ["acme.test"]);
}

#[tokio::test]
async fn a_refusal_by_ses_creates_no_claim_and_invalid_names_are_not_sent_to_ses() {
    let world = world().await;
    world.fake.fault(Fault::Error(503, "ServiceUnavailable"));
    let refused = world.registry.create(&world.account, "acme.test", None).await.unwrap_err();
    assert!(matches!(refused, CreateError::Provider(_)), "{refused}");
    assert!(world.registry.list(&world.account, None, 10).await.unwrap().is_empty());
    world.fake.fault(None);
    let domain = world.registry.create(&world.account, "acme.test", None).await.unwrap();
    world.fake.calls();
    let again = world.registry.create(&world.account, "ACME.test", None).await;
    assert!(matches!(again, Err(CreateError::Exists(id)) if id == domain.id));
    assert!(matches!(world.registry.create(&world.account, "co.uk", None).await, Err(CreateError::Refused(_))));
    assert!(world.fake.calls().is_empty());
}

#[tokio::test]
async fn concurrent_claims_and_deletions_leave_the_right_identities() {
    let world = world().await;
    for _ in 0..10 {
        let domain = world.registry.create(&world.account, "acme.test", None).await.unwrap();
        let stranger = account(&world.store).await;
        let (deleted, (), created) = tokio::join!(
            world.registry.delete(&world.account, &domain.id),
            world.ses.settle(),
            world.registry.create(&stranger, "acme.test", None),
        );
        assert!(deleted.unwrap());
        let created = created.unwrap();
        world.ses.settle().await;
        let identity = world.store.ses_identity(&created.domain).await.unwrap().unwrap();
        assert_eq!(world.fake.names(), ["acme.test"]);
        assert_eq!(identity.tokens.as_ref(), Some(&created.dkim_tokens));
        assert!(world.registry.delete(&stranger, &created.id).await.unwrap());
        world.ses.settle().await;
        assert!(world.fake.names().is_empty());
    }
}
