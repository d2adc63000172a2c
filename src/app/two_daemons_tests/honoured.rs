//! What one daemon changes is honoured on the other, by the notification, and where that is lost by the next look at the log; what one has
//! begun and hands back is ended by the other.

use super::*;
use crate::dns::authority::play::{Fault, Kind};
use crate::events::Event;
use crate::store::domains::DomainPatch;
use crate::verification::status::OnUnverified;
use std::time::Instant;

/// How the second daemon learns of what the first one changes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum By {
    Notification,
    Look,
}

impl World {
    /// From now on.
    fn hears(&self, by: By) {
        match by {
            // It does not look by itself while the test runs.
            By::Notification => self.two.store.looks_every(Duration::from_secs(3600)),
            By::Look => self.one.store.loses_notifications(),
        }
    }

    /// An IMAP session that idles.
    async fn idle(&self, app: &App, user: &str, token: &Secret) -> Client {
        let mut idle = self.imap(app, user, token).await;
        idle.ok("SELECT INBOX").await;
        idle.send("t IDLE\r\n").await;
        assert_eq!(idle.line().await, "+ idling");
        idle
    }

    async fn publish(&self) {
        let row = self.one.store.domain_get(&self.account, &self.domain).await.unwrap().unwrap();
        for record in self.one.verifier.rules().expected(&row) {
            let kind = Kind::parse(record.record_type.into()).unwrap();
            let value = record.priority.map(|p| format!("{p} ")).unwrap_or_default() + &record.value;
            self.play.set(&record.name, kind, &[value], 60).unwrap();
        }
    }

    async fn is_checked(&self) -> bool {
        let domain = self.two.registry.get(&self.account, &self.domain).await.unwrap().unwrap();
        domain.last_checked_at.is_some()
    }

    /// With its keys, which take long to make.
    async fn with_keys() -> Self {
        let world = world().await;
        while world.count("SELECT count(*) FROM dkim_key WHERE domain_id IS NOT NULL").await < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world
    }

    async fn until_checked(&self) {
        let checked = async {
            while !self.is_checked().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LONG, checked).await.expect("the domain was not checked");
    }

    /// Checks that are under way.
    async fn checks(&self) -> i64 {
        self.count("SELECT count(*) FROM custom_domain WHERE lease_owner IS NOT NULL").await
    }

    async fn count(&self, sql: &'static str) -> i64 {
        let read = |c: &crate::store::Transaction<'_>| c.query_row(sql, crate::store::params![], |row| row.get(0));
        self.two.store.read::<_, crate::store::StoreError, _>(read).await.unwrap()
    }

    /// The attempts to deliver each message in the queue; none for one that has left it.
    async fn attempts(&self) -> Vec<u32> {
        let queued = self.two.store.queue_list(Some(self.account.clone()), None, 10).await.unwrap();
        queued.iter().flat_map(|entry| &entry.deliveries).map(|delivery| delivery.attempts).collect()
    }
}

/// Ends sessions of the second daemon in the first, and returns how long each took.
async fn end_sessions(by: By) -> Vec<Duration> {
    let world = world().await;
    let two = start(world.two.clone()).await;
    world.hears(by);
    let mut took = Vec::new();
    for _ in 0..4 {
        let (revoked, token) = world.token().await;
        let mut idle = world.idle(&two, "anna", &token).await;
        let start = Instant::now();
        world.one.store.token_revoke(None, &revoked, Timestamp::real()).await.unwrap().unwrap();
        assert_eq!(idle.line().await, "* BYE this API token has been revoked");
        took.push(start.elapsed());
    }
    let (_, token) = world.token().await;
    let (mut deleted, mut stays) =
        (world.idle(&two, "anna@acme.test", &token).await, world.idle(&two, "anna", &token).await);
    let start = Instant::now();
    assert!(world.one.registry.delete(&world.account, &world.domain).await.unwrap());
    assert_eq!(deleted.line().await, "* BYE this domain has been deleted");
    took.push(start.elapsed());
    stays.send("DONE\r\n").await;
    stays.answer("IDLE").await;
    two.stop().await;
    took
}

#[tokio::test]
async fn a_revoked_token_and_a_deleted_domain_end_sessions_elsewhere_within_a_second() {
    let took = end_sessions(By::Notification).await;
    println!("{took:?}");
    // On a busy machine not each time.
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn they_end_with_the_next_look_where_the_notification_is_lost() {
    println!("{:?}", end_sessions(By::Look).await);
}

/// A status that the first daemon changes frees mail that waits in the queue of the second, which alone delivers, and ends a wait there. Returns
/// how long after the change the message is tried.
async fn change_status(by: By) -> Duration {
    let world = World::with_keys().await;
    let two = start(world.two.clone()).await;
    world.until_checked().await;
    world.hears(by);
    let hold = DomainPatch { on_unverified: Some(OnUnverified::Hold), ..DomainPatch::default() };
    world.one.registry.patch(&world.account, &world.domain, hold).await.unwrap();
    let (_, token) = world.token().await;
    let mut sender = world.smtp(&two, "anna@acme.test", &token).await;
    for (command, reply) in [
        ("MAIL FROM:<anna@acme.test>\r\n", "250"),
        ("RCPT TO:<bob@elsewhere.test>\r\n", "250"),
        ("DATA\r\n", "354"),
        ("Subject: held\r\n\r\nhello\r\n.\r\n", "250"),
    ] {
        sender.send(command).await;
        let line = sender.line().await;
        assert!(line.starts_with(reply), "{line}");
    }
    // Its queue has looked at the message, and sleeps.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.attempts().await, [0], "it is held");

    world.publish().await;
    let past = |transaction: &crate::store::Transaction<'_>| {
        transaction.execute("UPDATE custom_domain SET check_started_at = 0", crate::store::params![])
    };
    world.two.store.write::<_, crate::store::StoreError, _>(past).await.unwrap();
    let mut events = world.two.store.events().of_domains();
    world.one.registry.verify(&world.account, &world.domain, None).await.unwrap();
    world.one.verifier.settle().await;
    let start = Instant::now();
    let changed = async {
        while !matches!(events.recv().await.unwrap(), Event::DomainStatusChanged { .. }) {}
        // The message is tried, and deferred or bounced: no server takes mail there.
        while world.attempts().await == [0] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LONG, changed).await.expect("it is not honoured");
    let took = start.elapsed();
    two.stop().await;
    took
}

#[tokio::test]
async fn a_changed_status_frees_mail_in_another_daemons_queue_within_a_second() {
    let mut took = Vec::new();
    // On a busy machine not each time.
    while took.len() < 3 && took.last().is_none_or(|last| *last >= Duration::from_secs(1)) {
        took.push(change_status(By::Notification).await);
    }
    assert!(took.iter().min().unwrap() < &Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn it_does_with_the_next_look_where_the_notification_is_lost() {
    change_status(By::Look).await;
}

/// A runner sleeps for a minute where it knows of nothing, and until the end of a lease where it knows of one.
#[tokio::test]
async fn work_that_a_daemon_hands_back_when_it_stops_is_done_by_another_at_once() {
    let world = World::with_keys().await;
    world.play.set_fault("acme.test", Some(Fault::Timeout)).unwrap();
    let one = start(world.one.clone()).await;
    while world.checks().await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let two = start(world.two.clone()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    one.stop().await;
    assert!(!world.is_checked().await, "the check was interrupted");
    world.play.set_fault("acme.test", None).unwrap();
    world.until_checked().await;
    two.stop().await;
}
