//! The registry over a real store, real keys and real DNS servers.

use super::*;
use crate::config::HumanDuration;
use crate::dkim::Keys;
use crate::dns::Resolver;
use crate::dns::authority::play::{Fault, Kind, Play};
use crate::dns::authority::{Authority, Zones};
use crate::events::{Event, Events};
use crate::id::InboxId;
use crate::net::listener::Shutdown;
use crate::net::ranges::AllowedNetworks;
use crate::store::testing::{account, inbox, store_with_account};
use crate::verification::event::EventCause;
use crate::verification::judge::RecordStatus;
use crate::verification::report::DomainRecord;
use crate::verification::status::OnUnverified;
use crate::verification::status::VerifiedStatus;
use std::net::Ipv4Addr;
use tempfile::TempDir;

struct World {
    _dir: TempDir,
    store: Store,
    account: AccountId,
    clock: Clock,
    events: Events,
    play: Play,
    registry: Registry,
    shutdown: Shutdown,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}

async fn world() -> World {
    let (dir, store, account) = store_with_account().await;
    let play = Play::new(Ipv4Addr::LOCALHOST);
    // The target of the SPF record's include.
    play.set("amazonses.com", Kind::Txt, &["v=spf1 ip4:192.0.2.0/24 -all".into()], 60).unwrap();
    let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let server = authority.address();
    let shutdown = Shutdown::new();
    tokio::spawn(authority.serve(Zones::of_play(play.clone()), false, shutdown.clone()));
    let mut config = Config::default();
    config.platform.allow_special_use = vec!["test".into()];
    config.limits.domains = 5;
    config.dns.resolvers = vec![server];
    config.dns.authoritative_port = server.port();
    config.dns.allow_networks = AllowedNetworks::loopback();
    config.dns.timeout = HumanDuration(Duration::from_millis(300));
    let (clock, events) = (Clock::manual(), store.events().clone());
    let keys = Keys::open(store.clone(), dir.path(), &config, clock.clone()).await.unwrap();
    let (config, resolver) = (Arc::new(config.clone()), Resolver::new(&config.dns).unwrap());
    let verifier = Verifier::new(Arc::clone(&config), store.clone(), clock.clone(), resolver);
    tokio::spawn(verifier.clone().run(shutdown.clone()));
    let registry = Registry::new(config, store.clone(), clock.clone(), keys, verifier);
    World { _dir: dir, store, account, clock, events, play, registry, shutdown }
}

impl World {
    async fn create(&self, name: &str) -> CustomDomain {
        self.registry.create(&self.account, name, None).await.unwrap()
    }

    fn publish(&self, domain: &CustomDomain) {
        for record in &domain.records {
            let kind = Kind::parse(record.expected.record_type.into()).unwrap();
            let value = record.expected.priority.map(|p| format!("{p} ")).unwrap_or_default() + &record.expected.value;
            self.play.set(&record.expected.name, kind, &[value], 60).unwrap();
            // The key behind a DKIM CNAME is served by the platform.
            if kind == Kind::Cname {
                self.play.set(&record.expected.value, Kind::Txt, &["v=DKIM1; p=AAAA".into()], 60).unwrap();
            }
        }
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance_to(self.clock.now().after(Duration::from_secs(seconds)));
    }

    async fn verify(&self, id: &DomainId) -> (CustomDomain, bool) {
        let (domain, answered) = self.registry.verify(&self.account, id, Some(LONGEST_WAIT)).await.unwrap();
        (domain, answered == Answered::Settled)
    }
}

#[tokio::test]
async fn the_object_has_the_documented_shape() {
    let world = world().await;
    let domain = world.create("YourDomain.com").await;
    let json = serde_json::to_value(&domain).unwrap();
    let mut names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "capabilities",
            "catch_all_inbox_id",
            "created_at",
            "degraded_since",
            "dkim_host",
            "dkim_tokens",
            "dkim_value",
            "dns_provider",
            "domain",
            "id",
            "is_default",
            "last_checked_at",
            "name_servers",
            "next_check_at",
            "on_unverified",
            "records",
            "return_path",
            "updated_at",
            "verdict",
            "verified_at",
            "verified_status",
            "warnings",
            "window_ends_at",
        ]
    );
    assert_eq!((&json["domain"], &json["verified_status"]), (&"yourdomain.com".into(), &"pending".into()));
    assert_eq!(json["capabilities"], serde_json::json!({"sending": false, "receiving": false}));
    assert_eq!(json["on_unverified"], "fallback");
    let token = domain.dkim_tokens[0].as_str();
    assert_eq!(
        json["records"][0],
        serde_json::json!({
            "purpose": "dkim", "type": "CNAME", "name": format!("{token}._domainkey.yourdomain.com"),
            "host_label": format!("{token}._domainkey"), "value": format!("{token}.dkim.inboxlayer.dev"),
            "priority": null, "required": true, "status": "not_checked", "observed": [], "evidence": [], "error": null,
            "checked_at": null,
            "entry": {"host": format!("{token}._domainkey"), "value": format!("{token}.dkim.inboxlayer.dev"), "priority": null},
        })
    );
    assert_eq!((&json["records"][3]["type"], &json["records"][3]["priority"]), (&"MX".into(), &10.into()));
}

#[tokio::test]
async fn a_name_is_claimed_once_by_an_account_and_freely_by_another() {
    let world = world().await;
    let first = world.create("acme.test").await;
    let again = world.registry.create(&world.account, "ACME.test.", None).await;
    assert!(matches!(again, Err(CreateError::Exists(id)) if id == first.id));
    let stranger = account(&world.store).await;
    let second = world.registry.create(&stranger, "acme.test", None).await.unwrap();
    assert!(first.dkim_tokens.iter().all(|token| !second.dkim_tokens.contains(token)));
    assert!(matches!(world.registry.create(&world.account, "co.uk", None).await, Err(CreateError::Refused(_))));
    for i in 1..5 {
        world.create(&format!("d{i}.test")).await;
    }
    let full = world.registry.create(&world.account, "d5.test", None).await;
    assert!(matches!(full, Err(CreateError::Full { limit: 5 })));
    let page = world.registry.list(&world.account, None, 2).await.unwrap();
    let rest = world.registry.list(&world.account, Some(&page[1].id), 10).await.unwrap();
    assert_eq!((page[0].id.clone(), page.len(), rest.len()), (first.id, 2, 3));
}

#[tokio::test]
async fn another_accounts_domain_is_not_found() {
    let world = world().await;
    let domain = world.create("acme.test").await;
    let (stranger, registry) = (account(&world.store).await, &world.registry);
    assert_eq!(registry.get(&stranger, &domain.id).await.unwrap(), None);
    assert!(registry.list(&stranger, None, 10).await.unwrap().is_empty());
    let patched = registry.patch(&stranger, &domain.id, DomainPatch::default()).await;
    assert!(matches!(patched, Err(PatchError::NotFound)));
    assert!(matches!(registry.verify(&stranger, &domain.id, None).await, Err(VerifyError::NotFound)));
    assert!(!registry.delete(&stranger, &domain.id).await.unwrap());
    assert_eq!(registry.get(&world.account, &domain.id).await.unwrap(), Some(domain));
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_the_default_moves() {
    let world = world().await;
    let (one, two) = (world.create("one.test").await, world.create("two.test").await);
    let own = inbox(&world.store, &world.account, "mine").await;
    let theirs = inbox(&world.store, &account(&world.store).await, "theirs").await;
    let patch = async |id: &DomainId, change: DomainPatch| world.registry.patch(&world.account, id, change).await;
    let catch_all = |inbox: Option<&InboxId>| DomainPatch { catch_all: Some(inbox.cloned()), ..DomainPatch::default() };
    let default = |on| DomainPatch { is_default: Some(on), ..DomainPatch::default() };

    assert!(matches!(patch(&one.id, catch_all(Some(&theirs))).await, Err(PatchError::UnknownInbox)));
    assert_eq!(patch(&one.id, catch_all(Some(&own))).await.unwrap().catch_all_inbox_id, Some(own.clone()));
    assert!(patch(&one.id, default(true)).await.unwrap().is_default);
    let moved = patch(&two.id, default(true)).await.unwrap();
    let left = world.registry.get(&world.account, &one.id).await.unwrap().unwrap();
    assert_eq!((moved.is_default, left.is_default, left.catch_all_inbox_id), (true, false, Some(own.clone())));
    assert_eq!(world.store.default_claim(&own).await.unwrap().unwrap().id, two.id);
    assert!(!patch(&two.id, default(false)).await.unwrap().is_default);
    assert_eq!(patch(&one.id, catch_all(None)).await.unwrap().catch_all_inbox_id, None);
    for on_unverified in [OnUnverified::Hold, OnUnverified::Reject, OnUnverified::Fallback] {
        let change = DomainPatch { on_unverified: Some(on_unverified), ..DomainPatch::default() };
        assert_eq!(patch(&one.id, change).await.unwrap().on_unverified, on_unverified);
    }
}

#[tokio::test]
async fn verify_checks_now_waits_and_is_rate_limited() {
    let world = world().await;
    let domain = world.create("acme.test").await;
    let (checked, settled) = world.verify(&domain.id).await;
    assert!(settled);
    assert_eq!(checked.verified_status, VerifiedStatus::Pending);
    assert!(checked.records.iter().all(|r| r.status == RecordStatus::Missing && r.error.is_some()));
    assert_eq!(checked.window_ends_at, domain.window_ends_at);
    let again = world.registry.verify(&world.account, &domain.id, None).await;
    let Err(VerifyError::RateLimited { retry_after }) = again else { panic!("{again:?}") };
    assert!(retry_after <= Duration::from_secs(10) && retry_after > Duration::from_secs(5));

    world.pass(10);
    world.publish(&domain);
    let (verified, _) = world.verify(&domain.id).await;
    assert_eq!(verified.verified_status, VerifiedStatus::Verified);
    assert_eq!(verified.capabilities, Capabilities { sending: true, receiving: true });
    assert_eq!(verified.verdict, "All is well: acme.test is verified: it sends and receives here.");
    assert!(verified.verified_at.is_some() && verified.window_ends_at.is_none());

    // On a verified domain nothing else changes.
    world.pass(10);
    let (again, _) = world.verify(&domain.id).await;
    assert_eq!((again.verified_at, again.updated_at), (verified.verified_at, verified.updated_at));

    // Without waiting the answer comes at once.
    world.pass(10);
    let (requested, answered) = world.registry.verify(&world.account, &domain.id, None).await.unwrap();
    assert_eq!(answered, Answered::AtOnce);
    assert_eq!(requested.verified_status, VerifiedStatus::Verified);
}

#[tokio::test]
async fn an_account_waiting_for_many_checks_gets_a_response_at_once() {
    let world = world().await;
    let (ours, theirs) = (world.create("acme.test").await, AccountId::new());
    let permits: Vec<_> =
        (0..WAITS_PER_ACCOUNT).map(|_| world.registry.waiting.take(&world.account).unwrap()).collect();
    let verify = || world.registry.verify(&world.account, &ours.id, Some(LONGEST_WAIT));
    assert_eq!(verify().await.unwrap().1, Answered::AtOnce);
    assert!(world.registry.waiting.take(&theirs).is_ok());
    drop(permits);
    world.pass(10);
    assert_eq!(verify().await.unwrap().1, Answered::Settled);
    // Waiting requests have returned their permits.
    let permits: Vec<_> = std::iter::from_fn(|| world.registry.waiting.take(&world.account).ok()).collect();
    assert_eq!(permits.len(), WAITS_PER_ACCOUNT);
}

#[tokio::test]
async fn a_failed_domain_that_is_verified_again_has_a_new_window() {
    let world = world().await;
    let domain = world.create("acme.test").await;
    world.pass(80 * 3600);
    let (failed, _) = world.verify(&domain.id).await;
    assert_eq!((failed.verified_status, failed.next_check_at), (VerifiedStatus::Failed, None));
    assert_eq!(failed.records.len(), 6);
    world.pass(10);
    world.play.set_fault("acme.test", Some(Fault::Servfail)).unwrap();
    let now = world.clock.now();
    let (again, _) = world.verify(&domain.id).await;
    assert_eq!(again.verified_status, VerifiedStatus::Pending);
    assert!(again.window_ends_at.unwrap().since(now) >= Duration::from_secs(72 * 3600));
    assert_eq!(again.dkim_tokens, domain.dkim_tokens);
}

#[tokio::test]
async fn a_deleted_domain_is_gone_everywhere_and_its_sessions_are_notified() {
    let world = world().await;
    let domain = world.create("acme.test").await;
    let mut heard = world.events.subscribe(&world.account, usize::MAX).unwrap();
    assert!(world.registry.delete(&world.account, &domain.id).await.unwrap());
    assert_eq!(
        heard.recv().await,
        Ok(Event::DomainDeleted { domain_id: domain.id.clone(), domain: Some(domain.domain.clone()) })
    );
    assert!(!world.registry.delete(&world.account, &domain.id).await.unwrap());
    assert_eq!(world.store.claim_for_identity(&domain.id).await.unwrap(), None);
    let fresh = world.create("acme.test").await;
    assert_ne!(fresh.dkim_tokens, domain.dkim_tokens);
}

#[tokio::test]
async fn every_check_and_change_is_in_the_history_with_its_findings() {
    let world = world().await;
    let (registry, account, domain) = (&world.registry, &world.account, world.create("acme.test").await);
    assert_eq!(registry.checks(account, &domain.id, None, 10).await.unwrap(), Some(Vec::new()));
    let (first, _) = world.verify(&domain.id).await;
    world.pass(10);
    world.publish(&domain);
    let (second, _) = world.verify(&domain.id).await;
    let checks = registry.checks(account, &domain.id, None, 10).await.unwrap().unwrap();
    let shown: Vec<_> = checks.iter().map(|c| (c.number, c.verified_status, Some(c.checked_at))).collect();
    let (pending, verified) = (VerifiedStatus::Pending, VerifiedStatus::Verified);
    assert_eq!(shown, [(2, verified, second.last_checked_at), (1, pending, first.last_checked_at)]);
    // The same objects as in the domain, without their entries.
    let without = |domain: &CustomDomain| {
        let records = domain.records.iter().cloned().map(|record| DomainRecord { entry: None, ..record });
        serde_json::to_value(records.collect::<Vec<_>>()).unwrap()
    };
    assert_eq!(checks[0].records, without(&second));
    assert_eq!(checks[1].records, without(&first));
    assert_eq!(registry.checks(account, &domain.id, Some(2), 10).await.unwrap().unwrap(), checks[1..]);
    assert_eq!(registry.checks(account, &domain.id, None, 1).await.unwrap().unwrap(), checks[..1]);

    world.play.remove(&domain.records[0].expected.name, Kind::Cname).unwrap();
    for _ in 0..4 {
        world.pass(30 * 3600);
        world.verify(&domain.id).await;
    }
    world.pass(10);
    world.verify(&domain.id).await;
    let events = registry.events(account, &domain.id, None, 10).await.unwrap().unwrap();
    let words: Vec<_> = events.iter().rev().map(|e| (e.number, e.from, e.cause)).collect();
    let failed = VerifiedStatus::Failed;
    assert_eq!(
        words,
        [
            (1, None, EventCause::Created),
            (2, Some(pending), EventCause::AllRight),
            (3, Some(verified), EventCause::GraceOver),
            (4, Some(failed), EventCause::VerifyRequested)
        ]
    );
    let fault = &events[1];
    assert_eq!(
        (fault.to, fault.records[0]["expected"].as_str()),
        (failed, Some(domain.records[0].expected.value.as_str()))
    );
    assert!(fault.message.starts_with("The grace period was over, and still there is no CNAME record"), "{fault:?}");

    let stranger = crate::store::testing::account(&world.store).await;
    assert_eq!(registry.checks(&stranger, &domain.id, None, 10).await.unwrap(), None);
    assert_eq!(registry.events(&stranger, &domain.id, None, 10).await.unwrap(), None);
    assert_eq!(registry.zone_file(&stranger, &domain.id).await.unwrap(), None);
    assert!(registry.delete(account, &domain.id).await.unwrap());
    assert_eq!(registry.checks(account, &domain.id, None, 10).await.unwrap(), None);
}

#[tokio::test]
async fn an_existing_mail_service_is_named_before_its_mx_is_changed() {
    let world = world().await;
    let domain = world.create("acme.test").await;
    assert_eq!(domain.warnings, []);
    let mx = ["1 aspmx.l.google.com", "5 alt1.aspmx.l.google.com"].map(String::from);
    world.play.set("acme.test", Kind::Mx, &mx, 60).unwrap();
    let (seen, _) = world.verify(&domain.id).await;
    let [warning] = seen.warnings.as_slice() else { panic!("{:?}", seen.warnings) };
    assert_eq!((warning.code, warning.provider, warning.hosts.len()), ("existing_mail", Some("Google Workspace"), 2));
    assert!(warning.message.contains("claim mail.acme.test instead"), "{}", warning.message);
    let shown = serde_json::to_value(warning).unwrap();
    assert_eq!((&shown["subdomain"], &shown["hosts"][0]), (&"mail.acme.test".into(), &"aspmx.l.google.com".into()));
    // The record names the server.
    let text = &seen.records[3].evidence;
    assert!(text.iter().any(|s| s.value.as_deref() == Some("1 aspmx.l.google.com") && s.ttl == Some(60)), "{text:?}");
    world.publish(&domain);
    world.pass(10);
    assert_eq!(world.verify(&domain.id).await.0.warnings, []);
}

#[tokio::test]
async fn a_running_check_is_seen_and_counts_its_queries() {
    let world = world().await;
    let domain = world.create("acme.test").await;
    world.verify(&domain.id).await;
    world.pass(60);
    let progress =
        async |world: &World| world.registry.check_progress(&world.account, &domain.id).await.unwrap().unwrap();
    // Every answer about this name is awaited until the time-out.
    world.play.set_fault("acme.test", Some(Fault::Timeout)).unwrap();
    let mut watched = world.registry.watch(&world.account, &domain.id);
    world.registry.verify(&world.account, &domain.id, None).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&Seen::Domain) {
        seen.push(watched.next().await);
        if let Some(counts) = world.registry.check_counts(&domain.id) {
            assert_eq!(counts.state, CheckState::Running);
            assert!(counts.answers <= counts.queries && counts.queries <= Some(512), "{counts:?}");
        }
    }
    // Its beginning, and its counts while it waits.
    assert!(seen.len() > 2 && seen[0] == Seen::Check, "{seen:?}");
    while world.registry.check_counts(&domain.id).is_some() {
        assert_eq!(watched.next().await, Seen::Check);
    }
    assert_eq!(progress(&world).await.state, CheckState::Idle);
    let other = account(&world.store).await;
    assert_eq!(world.registry.check_progress(&other, &domain.id).await.unwrap(), None);
}

#[tokio::test]
async fn name_servers_show_who_hosts_the_zone() {
    let world = world().await;
    world.play.set("acme.test", Kind::Ns, &["kate.ns.cloudflare.com.".into()], 60).unwrap();
    world.play.set("kate.ns.cloudflare.com", Kind::A, &["127.0.0.1".into()], 60).unwrap();
    let domain = world.create("acme.test").await;
    assert_eq!((domain.name_servers.len(), domain.dns_provider.name), (0, None));
    let (checked, _) = world.verify(&domain.id).await;
    assert_eq!(checked.name_servers, ["kate.ns.cloudflare.com"]);
    assert_eq!(checked.dns_provider.name, Some("Cloudflare"));
    assert!(checked.dns_provider.steps.iter().any(|step| step.contains("DNS only")));
    let mx = checked.records.iter().find(|record| record.expected.priority.is_some()).unwrap();
    assert_eq!(mx.entry.as_ref().map(|entry| (entry.host.as_str(), entry.priority)), Some(("@", Some(10))));
}
