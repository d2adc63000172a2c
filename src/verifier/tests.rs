//! The verifier against real DNS servers, under a clock that is moved.

mod fairness;
mod ownership;
mod two_runners;

use super::*;
use crate::config::HumanDuration;
use crate::dns::authority::play::{Fault, Kind, Play};
use crate::dns::authority::{Authority, Zones};
use crate::events::{Event, Subscription};
use crate::id::{AccountId, DomainId};
use crate::net::ranges::AllowedNetworks;
use crate::store::domains::NewDomain;
use crate::store::jobs::Lease;
use crate::store::names::NameLimits;
use crate::store::ownership::Ownership;
use crate::store::params;
use crate::store::testing::{account, store_with_account};
use crate::verification::judge::RecordStatus;
use crate::verification::status::State;
use VerifiedStatus::{Failed, Pending, Verified};
use hickory_proto::op::Message;
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;
use tokio::net::UdpSocket;

const HOUR: Duration = Duration::from_secs(3600);
const TOKENS: [&str; 3] = ["t1", "t2", "t3"];

struct World {
    dir: TempDir,
    store: Store,
    account: AccountId,
    clock: Clock,
    play: Play,
    config: Arc<Config>,
    verifier: Verifier,
}

async fn world() -> World {
    let (dir, store, account) = store_with_account().await;
    let play = Play::new(Ipv4Addr::LOCALHOST);
    // What the SPF record's include leads to.
    play.set("amazonses.com", Kind::Txt, &["v=spf1 ip4:192.0.2.0/24 -all".into()], 60).unwrap();
    let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let server = authority.address();
    tokio::spawn(authority.serve(Zones::of_play(play.clone()), false, Shutdown::new()));
    let mut config = Config::default();
    config.dns.resolvers = vec![server];
    config.dns.authoritative_port = server.port();
    config.dns.allow_networks = AllowedNetworks::loopback();
    config.dns.timeout = HumanDuration(Duration::from_millis(300));
    config.verification.concurrency = 4;
    let (config, clock) = (Arc::new(config), Clock::manual());
    let resolver = Resolver::new(&config.dns).unwrap();
    let verifier = Verifier::new(Arc::clone(&config), store.clone(), clock.clone(), resolver);
    World { dir, store, account, clock, play, config, verifier }
}

impl World {
    async fn claim(&self, account: &AccountId, name: &str, tokens: [&str; 3]) -> DomainRow {
        self.claim_asking(account, name, tokens, Ownership::ByTokens).await
    }

    async fn claim_asking(
        &self,
        account: &AccountId,
        name: &str,
        tokens: [&str; 3],
        ownership: Ownership,
    ) -> DomainRow {
        let now = self.clock.now();
        let new = NewDomain {
            account: account.clone(),
            name: name.parse().unwrap(),
            tokens: tokens.map(String::from),
            ownership,
            state: State::created(now, &self.verifier.rules().policy),
            client_id: None,
        };
        self.store.domain_create(new, NameLimits::new(100, 100), now).await.unwrap()
    }

    fn publish(&self, row: &DomainRow) {
        for record in self.verifier.rules().expected(row) {
            let kind = Kind::parse(record.record_type.into()).unwrap();
            let value = record.priority.map(|p| format!("{p} ")).unwrap_or_default() + &record.value;
            self.play.set(&record.name, kind, &[value], 60).unwrap();
            // The key that a CNAME of DKIM leads to is the platform's to serve.
            if kind == Kind::Cname {
                self.play.set(&record.value, Kind::Txt, &["v=DKIM1; p=AAAA".into()], 60).unwrap();
            }
        }
    }

    fn unpublish(&self, token: &str) {
        assert!(self.play.remove(&format!("{token}._domainkey.acme.test"), Kind::Cname).unwrap());
    }

    async fn row(&self, row: &DomainRow) -> DomainRow {
        self.store.domain_get(&row.account, &row.id).await.unwrap().unwrap()
    }

    async fn status(&self, row: &DomainRow) -> VerifiedStatus {
        self.row(row).await.state.status
    }

    /// Moves the clock forward, check by check.
    async fn pass(&self, span: Duration) {
        let end = self.clock.now().after(span);
        while let Some(due) = self.verifier.next_due().await.filter(|due| *due <= end) {
            self.clock.advance_to(due);
            self.verifier.settle().await;
        }
        self.clock.advance_to(end);
    }

    async fn events(&self, row: &DomainRow) -> Vec<(String, serde_json::Value)> {
        let id = row.id.clone();
        let read = self.store.read(move |c| {
            let sql = "SELECT to_status, cause FROM domain_event WHERE domain_id = ?1 ORDER BY number";
            c.query(sql, params![id], |row| Ok((row.get::<String>(0)?, row.get::<String>(1)?)))
        });
        read.await.unwrap().into_iter().map(|(to, cause)| (to, serde_json::from_str(&cause).unwrap())).collect()
    }
}

/// The next claim whose check settles.
async fn checked(events: &mut Subscription) -> DomainId {
    loop {
        if let Event::DomainChecked { domain_id } = events.recv().await.unwrap() {
            return domain_id;
        }
    }
}

/// The claims whose status has changed, in this order.
fn changed(events: &mut Subscription) -> Vec<DomainId> {
    let all = std::iter::from_fn(|| events.try_recv());
    let changed = all.filter_map(|event| match event {
        Event::DomainStatusChanged { domain_id, .. } => Some(domain_id),
        _ => None,
    });
    changed.collect()
}

#[tokio::test]
async fn records_appear_one_by_one_until_the_domain_is_verified() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    let mut events = world.store.events().of_domains();
    world.pass(HOUR).await;
    let before = world.row(&row).await;
    assert_eq!((before.state.status, before.evidence.len()), (Pending, 6));
    assert!(before.evidence.values().all(|(e, _)| e.status == RecordStatus::Missing), "{:?}", before.evidence);
    assert_eq!(changed(&mut events), []);

    world.publish(&row);
    world.unpublish("t2");
    world.pass(2 * HOUR).await;
    assert_eq!(world.status(&row).await, Pending);
    world.publish(&row);
    world.pass(2 * HOUR).await;
    let after = world.row(&row).await;
    assert_eq!((after.state.status, after.receiving), (Verified, true));
    assert_eq!(after.state.window_ends_at, None);
    assert!(after.evidence.values().all(|(e, _)| e.status == RecordStatus::Valid && e.error.is_none()));
    assert_eq!(changed(&mut events), std::slice::from_ref(&row.id));
    let events = world.events(&row).await;
    assert_eq!(events.iter().map(|(to, _)| to.as_str()).collect::<Vec<_>>(), ["pending", "verified"]);
    assert_eq!(events[1].1["cause"], "all_right");
    assert_eq!(events[1].1["records"][0]["found"][0], "t1.dkim.inboxlayer.dev");
}

#[tokio::test]
async fn a_window_that_ends_on_missing_records_fails_and_says_which() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    world.publish(&row);
    world.unpublish("t3");
    world.pass(71 * HOUR).await;
    assert_eq!(world.status(&row).await, Pending);
    world.pass(HOUR).await;
    assert_eq!(world.status(&row).await, Failed);
    assert_eq!(world.verifier.next_due().await, None);
    let (to, cause) = world.events(&row).await.pop().unwrap();
    assert_eq!((to.as_str(), &cause["cause"]), ("failed", &"window_over".into()));
    assert_eq!(cause["records"][0]["record"], "t3._domainkey.acme.test CNAME");
    assert_eq!(cause["records"][0]["expected"], "t3.dkim.inboxlayer.dev");
    assert_eq!(cause["records"][0]["server"], world.config.dns.resolvers[0].to_string());
}

#[tokio::test]
async fn a_broken_record_fails_a_verified_domain_after_the_grace_and_one_repaired_in_time_does_not() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    world.publish(&row);
    world.pass(HOUR).await;
    world.unpublish("t1");
    world.pass(60 * HOUR).await;
    let degraded = world.row(&row).await;
    assert_eq!(degraded.state.status, Verified);
    assert!(degraded.state.degraded_since().is_some());
    world.publish(&row);
    world.pass(24 * HOUR).await;
    assert_eq!(world.row(&row).await.state.degraded_since(), None);

    world.unpublish("t1");
    world.pass(70 * HOUR).await;
    assert_eq!(world.status(&row).await, Verified);
    world.pass(30 * HOUR).await;
    assert_eq!(world.status(&row).await, Failed);
    assert_eq!(world.events(&row).await.pop().unwrap().1["cause"], "grace_over");
}

#[tokio::test]
async fn servers_that_do_not_answer_change_nothing_however_long() {
    let world = world().await;
    let verified = world.claim(&world.account, "acme.test", TOKENS).await;
    world.publish(&verified);
    world.pass(HOUR).await;
    let pending = world.claim(&world.account, "other.test", TOKENS).await;
    for (fault, days) in [(Fault::Servfail, 12), (Fault::Refused, 12), (Fault::Timeout, 4)] {
        for name in ["acme.test", "other.test"] {
            world.play.set_fault(name, Some(fault)).unwrap();
        }
        // The pauses of a pending claim are short; a few checks of each will do.
        for _ in 0..days {
            world.clock.advance_to(world.clock.now().after(24 * HOUR));
            world.verifier.settle().await;
        }
        let row = world.row(&verified).await;
        assert_eq!((row.state.status, row.receiving, row.state.degraded_since()), (Verified, true, None), "{fault:?}");
        assert!(row.evidence.values().all(|(e, _)| e.status == RecordStatus::Unknown), "{fault:?}");
        assert_eq!(world.status(&pending).await, Pending, "{fault:?}");
    }
    assert_eq!(world.events(&verified).await.len(), 2);
    // The first definite answer after the window ends it.
    world.play.set_fault("other.test", None).unwrap();
    world.pass(2 * HOUR).await;
    assert_eq!(world.status(&pending).await, Failed);
}

#[tokio::test]
async fn a_second_claim_wins_only_when_the_first_ones_records_are_gone_and_then_at_once() {
    let world = world().await;
    let first = world.claim(&world.account, "acme.test", TOKENS).await;
    let second = world.claim(&account(&world.store).await, "acme.test", ["u1", "u2", "u3"]).await;
    world.publish(&first);
    world.pass(HOUR).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Verified, Pending));

    world.publish(&second);
    world.pass(80 * HOUR).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Verified, Pending));

    for token in TOKENS {
        // Indefinite is not gone.
        world.play.set_fault(&format!("{token}._domainkey.acme.test"), Some(Fault::Servfail)).unwrap();
        world.unpublish(token);
    }
    world.pass(2 * HOUR).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Verified, Pending));
    for token in TOKENS {
        world.play.set_fault(&format!("{token}._domainkey.acme.test"), None).unwrap();
    }
    let mut events = world.store.events().of_domains();
    world.pass(2 * HOUR).await;
    assert_eq!((world.status(&first).await, world.status(&second).await), (Failed, Verified));
    let mut notified = changed(&mut events);
    notified.sort();
    assert_eq!(notified, [first.id.clone(), second.id.clone()]);
    let (_, cause) = world.events(&first).await.pop().unwrap();
    assert_eq!(cause["cause"], "records_gone");
    assert!(!cause.to_string().contains("u1"), "{cause}");
}

#[tokio::test]
async fn mail_comes_here_only_while_the_mx_leads_here() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    world.publish(&row);
    world.pass(HOUR).await;
    assert!(world.row(&row).await.receiving);
    world.play.set("acme.test", Kind::Mx, &["1 elsewhere.test.".into(), "10 smtp.inboxlayer.dev.".into()], 60).unwrap();
    world.pass(24 * HOUR).await;
    let now = world.row(&row).await;
    assert_eq!((now.state.status, now.receiving), (Verified, false));
}

#[tokio::test]
async fn a_restart_goes_on_with_a_check_that_was_cut_off() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    let window = row.state.window_ends_at;
    world.publish(&row);
    world.clock.advance_to(world.clock.now().after(HOUR));
    // A check has begun and its daemon dies.
    let now = world.clock.now();
    // A lease of the store's process: on PostgreSQL, opening the store ends those of the previous process alone.
    let lease = Lease { runner: world.store.lease_owner(), until: now.after(HOUR) };
    let claim = || {
        let claim = Claim { lease: lease.clone(), ..Claim::new(now, lease.until, 4) };
        world.store.domain_claim_due(claim, 4)
    };
    assert_eq!((claim().await.unwrap().len(), claim().await.unwrap().len()), (1, 0));
    world.store.close().await;
    let World { dir, clock, config, account, .. } = world;
    drop((world.store, world.verifier));
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.domain_get(&account, &row.id).await.unwrap().unwrap().state.window_ends_at, window);
    let resolver = Resolver::new(&config.dns).unwrap();
    let verifier = Verifier::new(config, store.clone(), clock, resolver);
    let (mut events, shutdown) = (store.events().of_domains(), Shutdown::new());
    shutdown.spawn(verifier.run(shutdown.clone()));
    assert_eq!(checked(&mut events).await, row.id);
    assert_eq!(store.domain_get(&account, &row.id).await.unwrap().unwrap().state.status, Verified);
    shutdown.request();
    assert!(shutdown.finished(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn many_due_claims_are_all_checked_though_few_at_once() {
    let world = world().await;
    let mut rows = Vec::new();
    for i in 0..20 {
        let row = world.claim(&world.account, &format!("d{i}.test"), TOKENS).await;
        world.publish(&row);
        rows.push(row);
    }
    world.clock.advance_to(world.clock.now().after(HOUR));
    world.verifier.settle().await;
    for row in &rows {
        assert_eq!(world.status(row).await, Verified);
    }
    let due: std::collections::BTreeSet<_> = futures_util::future::join_all(rows.iter().map(|r| world.row(r)))
        .await
        .into_iter()
        .map(|r| r.state.next_check_at)
        .collect();
    assert!(due.len() > 10, "the next checks are spread");
}

#[tokio::test]
async fn a_set_that_servers_turn_around_is_the_same_finding() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    let mut texts = ["v=spf1 mx -all", "one=1", "two=2"].map(String::from);
    let mut observed = Vec::new();
    for _ in 0..3 {
        world.play.set("acme.test", Kind::Txt, &texts, 60).unwrap();
        texts.rotate_left(1);
        world.pass(HOUR).await;
        observed.extend(
            world
                .row(&row)
                .await
                .evidence
                .into_iter()
                .filter(|(record, _)| record.purpose == Purpose::Spf)
                .map(|(_, (e, _))| e),
        );
    }
    assert_eq!(observed[0].observed, ["one=1", "two=2", "v=spf1 mx -all"]);
    assert!(observed.iter().all(|evidence| *evidence == observed[0]), "{observed:?}");
}

#[tokio::test]
async fn a_claim_deleted_while_it_is_checked_is_no_error() {
    let world = world().await;
    let row = world.claim(&world.account, "acme.test", TOKENS).await;
    assert!(world.store.domain_delete(&world.account, &row.id, crate::clock::Timestamp::real()).await.unwrap());
    assert_eq!(
        world.verifier.runner.work().check_and_record(&row, RunnerId::new(), &Progress::default()).await.unwrap(),
        None
    );
}

/// A server that passes every question on to `server`, and keeps a list of them.
async fn tapped(server: SocketAddr) -> (SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
    let (address, heard) = (socket.local_addr().unwrap(), Arc::<std::sync::Mutex<Vec<String>>>::default());
    let list = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.unwrap();
            let (question, socket) = (buffer[..length].to_vec(), Arc::clone(&socket));
            let message = Message::from_vec(&question).unwrap();
            let (requested, flags) = (message.queries.first().unwrap().to_string(), &message.metadata);
            list.lock()
                .unwrap()
                .push(format!("{requested} rd={} cd={}", flags.recursion_desired, flags.checking_disabled));
            tokio::spawn(async move {
                let onward = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                onward.send_to(&question, server).await.unwrap();
                let mut answer = [0; 4096];
                let length = onward.recv(&mut answer).await.unwrap();
                socket.send_to(&answer[..length], peer).await.unwrap();
            });
        }
    });
    (address, heard)
}

#[tokio::test]
async fn within_one_check_nothing_is_asked_twice_also_where_two_claims_are_looked_at() {
    let world = world().await;
    let (server, heard) = tapped(world.config.dns.resolvers[0]).await;
    let mut config = (*world.config).clone();
    config.dns.resolvers = vec![server];
    config.dns.authoritative_port = server.port();
    // A question that is lost is asked again after a third of this; nothing is lost here.
    config.dns.timeout = HumanDuration(Duration::from_secs(20));
    let resolver = Resolver::new(&config.dns).unwrap();
    let verifier = Verifier::new(Arc::new(config), world.store.clone(), world.clock.clone(), resolver);
    let first = world.claim(&world.account, "acme.test", TOKENS).await;
    let second = world.claim(&account(&world.store).await, "acme.test", ["u1", "u2", "u3"]).await;
    world.publish(&first);
    world.pass(HOUR).await;
    assert_eq!(world.status(&first).await, Verified);
    for (published, displaced) in [(false, false), (true, false), (true, true)] {
        if published {
            world.publish(&second);
        }
        if displaced {
            TOKENS.iter().for_each(|token| world.unpublish(token));
        }
        heard.lock().unwrap().clear();
        let recorded = {
            let (runner, id) = (RunnerId::new(), second.id.clone());
            let owner = runner.clone();
            let lease = "UPDATE custom_domain SET lease_owner = ?2 WHERE id = ?1";
            let write = world.store.write(move |c| c.execute(lease, params![id, owner]));
            write.await.unwrap();
            verifier.runner.work().check_and_record(&second, runner, &Progress::default()).await.unwrap().unwrap()
        };
        assert_eq!(recorded.displaced.is_some(), displaced);
        let requested = heard.lock().unwrap().clone();
        let once: std::collections::BTreeSet<_> = requested.iter().collect();
        assert!(once.len() == requested.len() && requested.len() > 15, "{requested:#?}");
    }
}

#[tokio::test]
async fn a_check_that_is_asked_for_comes_before_those_that_wait() {
    let world = world().await;
    let mut rows = Vec::new();
    for i in 0..8 {
        rows.push(world.claim(&world.account, &format!("d{i}.test"), TOKENS).await);
        world.clock.advance_to(world.clock.now().after(Duration::from_secs(1)));
    }
    world.clock.advance_to(world.clock.now().after(HOUR));
    let now = world.clock.now();
    let policy = world.verifier.rules().policy;
    world.store.domain_request_check(&world.account, &rows[5].id, policy, now).await.unwrap();
    let begun = world.store.domain_claim_due(Claim::new(now, now.after(HOUR), 3), 1).await.unwrap();
    assert_eq!(begun.iter().map(|row| &row.id).collect::<Vec<_>>(), [&rows[5].id, &rows[0].id]);
}

#[tokio::test]
async fn after_a_pause_overdue_domains_are_spread_over_the_time_their_checks_take() {
    let world = world().await;
    let policy = world.verifier.rules().policy;
    let now = world.clock.now();
    let pending = world.claim(&world.account, "new.test", TOKENS).await;
    let verified = State { status: Verified, window_ends_at: None, ..State::created(now, &policy) };
    for i in 0..600 {
        let new = NewDomain {
            account: world.account.clone(),
            name: format!("d{i}.test").parse().unwrap(),
            tokens: TOKENS.map(String::from),
            ownership: Ownership::ByTokens,
            state: verified.clone(),
            client_id: None,
        };
        world.store.domain_create(new, NameLimits::new(1000, 1000), now).await.unwrap();
    }
    let later = now.after(24 * HOUR);
    assert_eq!(world.store.domain_spread_overdue(later, 10).await.unwrap(), 600);
    let rows = world.store.domain_list(&world.account, None, 1000).await.unwrap();
    let mut per_second = [0_usize; 60];
    for row in rows.iter().filter(|row| row.id != pending.id) {
        per_second[usize::try_from(row.state.next_check_at.unwrap().since(later).as_secs()).unwrap()] += 1;
    }
    // Ten in the mean; thirty in one second are as unlikely as a broken processor.
    assert!(per_second.iter().all(|due| *due < 30), "{per_second:?}");
    assert_eq!(world.row(&pending).await.state.next_check_at, pending.state.next_check_at);
    assert_eq!(world.store.domain_spread_overdue(later, 10).await.unwrap(), 0);
}
