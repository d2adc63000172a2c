//! Two queues on one store, as two daemons on one database have them.

use super::*;
use crate::jobs::LEASE;
use tokio::sync::Semaphore;

impl World {
    /// The queue of another daemon.
    fn another_queue(&self) -> Queue {
        let (config, store, clock) = (Arc::clone(&self.config), self.store.clone(), self.clock.clone());
        let (mailboxes, resolver) = (MailboxService::new(store.clone(), &config.limits), Resolver::new(&config.dns));
        let timeouts = (SHORT, SLOT_TIME);
        Queue::with_timeouts(config, store, clock, mailboxes, self.keys.signer(), resolver.unwrap(), timeouts).unwrap()
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
