//! Two queues on one store, as two daemons on one database have them.

use super::*;
use crate::jobs::LEASE;
use crate::queue::slots::Slot;
use crate::store::jobs::Claim;
use crate::store::queue::{Due, Wait};
use tokio::sync::Semaphore;

impl World {
    /// The queue of another daemon.
    fn another_queue(&self) -> Queue {
        let (config, store, clock) = (Arc::clone(&self.config), self.store.clone(), self.clock.clone());
        let (mailboxes, resolver) = (MailboxService::new(store.clone(), &config.limits), Resolver::new(&config.dns));
        let times = AttemptTimes { smtp: SHORT, ..AttemptTimes::default() };
        Queue::new(config, store, clock, mailboxes, self.keys.signer(), resolver.unwrap(), times).unwrap()
    }
}

#[tokio::test]
async fn two_queues_on_one_store_deliver_every_message_once() {
    let world = World::configured(|config| config.queue.concurrency = 4).await;
    let shutdown = Shutdown::new();
    for queue in [world.queue.clone(), world.another_queue()] {
        shutdown.spawn(queue.run(shutdown.clone()));
    }
    let domains = ["example.org", "other.example", "third.example"];
    for number in 0..60 {
        world.send(&[&format!("r{number}@{}", domains[number % 3])]).await;
    }
    while !world.queued().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.request();
    assert!(shutdown.finished(Duration::from_secs(10)).await);
    let heard = world.mx.heard();
    let mut recipients: Vec<&String> =
        heard.iter().flat_map(|heard| &heard.commands).filter(|command| command.starts_with("RCPT")).collect();
    recipients.sort();
    recipients.dedup();
    assert_eq!((world.mx.commands("RCPT"), recipients.len(), world.mx.messages()), (60, 60, 60));
}

#[tokio::test]
async fn a_queue_that_stops_renewing_loses_its_work_and_its_late_outcome_is_refused() {
    let world = World::open().await;
    let gate = Arc::new(Semaphore::new(0));
    world.mx.now(Script { gate: Some(Arc::clone(&gate)), ..Script::default() });
    world.send(&["a@example.org"]).await;
    let (first, second) = (world.queue.clone(), world.another_queue());
    let attempting = tokio::spawn(async move { first.settle().await });
    while world.mx.messages() < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // As long as it renews its lease, the work is its own.
    for _ in 0..3 {
        world.clock.advance_to(world.clock.now().after(LEASE / 2));
        world.queue.runner.renew().await;
    }
    second.settle().await;
    assert_eq!(world.mx.commands("RCPT"), 1);

    // From now on it is as good as dead.
    world.clock.advance_to(world.clock.now().after(LEASE));
    world.mx.now(Script { rules: vec![("RCPT", "451 4.2.1 later")], ..Script::default() });
    second.settle().await;
    assert_eq!((world.mx.commands("RCPT"), world.waiting().await.as_str()), (2, "451 4.2.1 later"));
    world.mx.now(Script { rules: vec![("END", "550 5.7.1 refused")], ..Script::default() });
    gate.add_permits(1);
    attempting.await.unwrap();
    assert_eq!(world.waiting().await, "451 4.2.1 later");
    assert_eq!(world.inbox("hello").await, [""; 0], "a bounce of a message that is in the queue");
}

impl World {
    /// An attempt that another daemon claims and is slow to make: when this returns, its lease has ended, and the queue here
    /// has made another one, which is deferred.
    async fn late_attempt(&self) -> Due {
        let now = self.clock.now();
        let destinations = self.queue.runner.work().deliverer.destinations.clone();
        let claimed = self.store.claim_due(Claim::new(now, now.after(LEASE), 1), destinations).await.unwrap();
        self.clock.advance_to(now.after(LEASE));
        self.queue.settle().await;
        claimed.due.into_iter().next().unwrap()
    }

    /// Makes it. What the message leaves as is not changed, and nothing is sent.
    async fn is_fenced(&self, late: Due) {
        let stored = async || {
            let (queued, message) = self.store.queued(&late.queued.id).await.unwrap().unwrap();
            (queued.mail_from, queued.is_unsigned, message.header)
        };
        let (before, sent) = (stored().await, self.mx.commands("RCPT"));
        let deliverer = &self.queue.runner.work().deliverer;
        let slot = Slot::new(self.login.account.clone(), Duration::from_secs(60));
        let settlement = deliverer.attempt(late.clone(), self.clock.now(), &slot, &[]).await;
        assert_eq!((stored().await, self.mx.commands("RCPT")), (before, sent));
        assert_eq!(settlement.deferred.iter().map(|deferral| deferral.wait).collect::<Vec<_>>(), [Wait::Attempt]);
    }
}

#[tokio::test]
async fn an_attempt_that_has_lost_its_lease_changes_no_identity_and_sends_nothing() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    world.mx.now(Script { rules: vec![("RCPT", "451 4.2.1 later")], ..Script::default() });
    world.send(&["a@example.org"]).await;
    let late = world.late_attempt().await;
    world.mx.now(Script::default());
    world.execute("UPDATE custom_domain SET status = 'failed'").await;
    world.is_fenced(late).await;
}

#[tokio::test]
async fn an_attempt_that_has_lost_its_lease_signs_nothing() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    world
        .execute("CREATE TABLE kept AS SELECT * FROM dkim_key; DELETE FROM dkim_key WHERE domain_id IS NOT NULL")
        .await;
    world.send(&["a@example.org"]).await;
    let late = world.late_attempt().await;
    assert_eq!(world.waiting().await, "no signing key is ready for acme.com");
    world.execute("INSERT INTO dkim_key SELECT * FROM kept WHERE token NOT IN (SELECT token FROM dkim_key)").await;
    world.is_fenced(late).await;
}
