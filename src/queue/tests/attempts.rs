//! How often, when, and what becomes of it.

use super::server::Script;
use super::*;
use crate::dns::authority::play::Fault;
use crate::id::MessageId;
use crate::jobs::LEASE;
use crate::resources::concurrency::{DestinationLimits, Scope};
use crate::store::jobs::Claim;
use std::collections::BTreeMap;

#[tokio::test]
async fn a_message_arrives_signed_and_intact_with_one_transaction_for_one_domain() {
    let world = World::open().await;
    let raw = b"Subject: dots\r\n\r\n.\r\nMAIL FROM:<evil@example.org>\r\n..\r\n.x\r\nno end";
    let rcpt_to: Vec<String> = (0..10).map(|i| format!("r{i}@example.org")).collect();
    let rcpt_to: Vec<&str> = rcpt_to.iter().map(String::as_str).collect();
    let accepted = world.submit(&rcpt_to, raw).await.unwrap();
    assert_eq!([world.count("body").await, world.count("content").await, world.count("delivery").await], [1, 2, 10]);
    world.queue.settle().await;

    let heard = world.mx.only_message();
    assert_eq!(world.mx.heard().len(), 1);
    assert_eq!(heard.commands.iter().filter(|c| c.starts_with("RCPT TO:")).count(), 10);
    assert_eq!(heard.mail(), "MAIL FROM:<hello@inboxlayer.dev>");
    let (header, body) = heard.text().split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
    assert_eq!(body, ".\r\nMAIL FROM:<evil@example.org>\r\n..\r\n.x\r\nno end\r\n");
    assert!(header.starts_with("DKIM-Signature:") && header.contains("d=inboxlayer.dev"), "{header}");
    assert!(header.contains("\r\nFrom: ") && header.contains(&format!("id {}", accepted.id)), "{header}");
    assert!(world.queued().await.is_empty());
    assert_eq!([world.count("body").await, world.count("content").await], [0, 0]);
}

#[tokio::test]
async fn each_recipient_has_an_outcome_of_its_own() {
    let world = World::open().await;
    world.mx.now(Script {
        rules: vec![("RCPT TO:<no@", "550 5.1.1 no such user"), ("RCPT TO:<later@", "451 4.3.0 not now")],
        ..Script::default()
    });
    world.send(&["yes@example.org", "no@example.org", "later@example.org"]).await;
    world.queue.settle().await;

    assert!(world.mx.only_message().text().contains("body"));
    assert_eq!(world.waiting().await, "451 4.3.0 not now");
    let bounce = world.bounce().await;
    assert!(bounce.contains("Final-Recipient: rfc822; no@example.org"), "{bounce}");
    assert!(bounce.contains("Status: 5.1.1") && !bounce.contains("later@example.org"), "{bounce}");
    assert!(bounce.contains("Diagnostic-Code: smtp; 550 5.1.1 no such user"), "{bounce}");
    assert!(bounce.starts_with("Return-Path: <>\r\n"), "{bounce}");

    world.mx.now(Script::default());
    world.next_try().await;
    assert!(world.queued().await.is_empty());
    assert_eq!(world.inbox("hello").await.len(), 1);
}

#[tokio::test]
async fn the_id_that_a_host_gives_a_message_is_kept_for_each_recipient() {
    let world = World::open().await;
    let rules = vec![("END", "250 2.0.0 Ok: queued as 4XYZ1")];
    let _other = world.server([127, 0, 0, 3], Script { rules, ..Script::default() }).await;
    world.set("other.example", Kind::A, &["127.0.0.3"]);
    world.mx.now(Script { rules: vec![("RCPT TO:<no@", "550 5.1.1 no such user")], ..Script::default() });
    let accepted = world.send(&["a@other.example", "b@example.org", "no@example.org", "hello@inboxlayer.dev"]).await;
    let sent = async || {
        let id = MessageId::of_sent(&accepted.id);
        world.store.sent_email(&id, world.clock.now()).await.unwrap().unwrap()
    };
    let ids = async || {
        let recipients = sent().await.recipients.into_iter();
        recipients.map(|one| (one.address, one.provider_message_id)).collect::<BTreeMap<_, _>>()
    };
    assert!(ids().await.values().all(Option::is_none));
    world.queue.settle().await;
    let wanted = [
        ("a@other.example", Some("4XYZ1")),
        ("b@example.org", Some("taken as 42")),
        ("hello@inboxlayer.dev", None),
        ("no@example.org", None),
    ];
    let wanted = wanted.map(|(address, id)| (address.to_owned(), id.map(str::to_owned)));
    assert_eq!(ids().await, BTreeMap::from(wanted));
    assert_eq!(sent().await.provider_message_id(), Some("4XYZ1"));
}

#[tokio::test]
async fn pauses_grow_and_at_the_end_there_is_a_bounce() {
    let world = World::open().await;
    world.mx.now(Script { rules: vec![("MAIL", "421 4.3.2 busy")], ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    let mut pauses = Vec::new();
    while world.inbox("hello").await.iter().all(|report| report.contains("Action: delayed")) {
        pauses.push(world.queue.next_due().await.unwrap().since(world.clock.now()).as_secs());
        assert_eq!(world.waiting().await, "421 4.3.2 busy");
        world.next_try().await;
    }
    for (pause, configured) in pauses.iter().zip([300, 900, 1800, 3600, 7200, 14_400, 14_400]) {
        assert!((configured - 5..=configured + configured / 10).contains(pause), "{pauses:?}");
    }
    let bounce = world.bounce().await;
    assert!(bounce.contains("Status: 4.4.7") && bounce.contains("Diagnostic-Code: smtp; 421 4.3.2 busy"), "{bounce}");
    assert_eq!(world.count("body").await, 2, "those of the bounce and of the report of the delay");
}

#[tokio::test]
async fn a_clock_that_jumps_past_the_end_bounces_nothing_before_an_attempt_on_time_has_failed() {
    let world = World::open().await;
    world.mx.now(Script { rules: vec![("MAIL", "421 4.3.2 busy")], ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    // The machine slept for ten days, and the network is not up when it wakes.
    world.clock.advance_to(world.clock.now().after(Duration::from_secs(10 * 24 * 3600)));
    world.play.set_fault("example.org", Some(Fault::Servfail)).unwrap();
    world.queue.settle().await;
    assert!(world.inbox("hello").await.is_empty());
    assert!(world.waiting().await.contains("SERVFAIL"));
    assert!(world.queue.next_due().await.unwrap() > world.clock.now(), "it is not tried in a loop");
    world.play.set_fault("example.org", None).unwrap();
    world.mx.now(Script::default());
    world.next_try().await;
    assert!(world.mx.heard().last().unwrap().text().contains("body"));
    assert!(world.queued().await.is_empty() && world.inbox("hello").await.is_empty());

    // Where that one fails too, it is over.
    world.mx.now(Script { rules: vec![("MAIL", "421 4.3.2 busy")], ..Script::default() });
    world.send(&["b@example.org"]).await;
    world.queue.settle().await;
    world.clock.advance_to(world.clock.now().after(Duration::from_secs(10 * 24 * 3600)));
    world.queue.settle().await;
    assert!(world.inbox("hello").await.is_empty());
    world.next_try().await;
    assert!(world.bounce().await.contains("Status: 4.4.7"));
}

#[tokio::test]
async fn a_dropped_connection_is_no_answer() {
    let world = World::open().await;
    for rule in [("HELLO", "!"), ("EHLO", "!"), ("MAIL", "!"), ("RCPT", "!"), ("DATA", "!"), ("END", "!")] {
        world.mx.now(Script { rules: vec![rule], ..Script::default() });
        let accepted = world.send(&["a@example.org"]).await;
        world.queue.settle().await;
        assert!(world.waiting().await.contains("closed the connection"), "{rule:?}: {}", world.waiting().await);
        assert!(world.store.queue_drop(accepted.id).await.unwrap());
    }
}

#[tokio::test]
async fn a_positive_reply_before_the_message_is_no_delivery() {
    let world = World::open().await;
    for rule in [("HELLO", "250 hi"), ("EHLO", "220 hi again"), ("DATA", "250 what?")] {
        world.mx.now(Script { rules: vec![rule], ..Script::default() });
        let accepted = world.send(&["a@example.org"]).await;
        world.queue.settle().await;
        assert_eq!(world.queued().await.len(), 1, "{rule:?}");
        assert!(world.store.queue_drop(accepted.id).await.unwrap());
    }
    assert!(world.inbox("hello").await.is_empty());
}

#[tokio::test]
async fn a_lookup_that_fails_is_tried_again_and_one_that_says_no_is_final() {
    let world = World::open().await;
    world.play.set_fault("example.org", Some(Fault::Servfail)).unwrap();
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    assert!(world.waiting().await.contains("SERVFAIL"));
    world.play.set_fault("example.org", None).unwrap();
    world.next_try().await;
    assert!(world.queued().await.is_empty() && world.inbox("hello").await.is_empty());

    world.set("silent.example", Kind::Mx, &["0 ."]);
    world.send(&["a@silent.example"]).await;
    world.send(&["a@no.where.invalid"]).await;
    world.queue.settle().await;
    let bounces = world.inbox("hello").await.join("");
    assert!(bounces.contains("Status: 5.1.10") && bounces.contains("Status: 5.1.2"), "{bounces}");
    // No SMTP server has said so.
    assert_eq!(bounces.matches("Diagnostic-Code: X-Inboxlayer; the domain").count(), 2, "{bounces}");
    assert!(!bounces.contains("Diagnostic-Code: smtp"), "{bounces}");
    assert!(world.queued().await.is_empty());
}

#[tokio::test]
async fn an_attempt_cut_off_by_a_crash_is_made_again_after_the_lease() {
    let world = World::open().await;
    world.send(&["a@example.org"]).await;
    let now = world.clock.now();
    let destinations = DestinationLimits::new(Scope::Domain, 4);
    let claimed = world.store.claim_due(Claim::new(now, now.after(LEASE), 10), destinations).await.unwrap().due;
    assert_eq!(claimed.len(), 1);
    // The one who claimed it is gone. Until the lease ends it is not claimed again.
    world.queue.settle().await;
    assert!(world.mx.heard().is_empty());
    world.clock.advance_to(now.after(LEASE));

    let shutdown = Shutdown::new();
    let running = tokio::spawn(world.queue.clone().run(shutdown.clone()));
    while !world.queued().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.mx.only_message();
    // A running queue takes what comes, and ends when asked.
    world.send(&["b@example.org"]).await;
    while !world.queued().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test]
async fn a_sender_without_an_inbox_gets_no_bounce_and_keeps_nothing_in_the_queue() {
    let world = World::open().await;
    world.mx.now(Script { rules: vec![("RCPT", "550 5.1.1 no such user")], ..Script::default() });
    world.send(&["nobody@example.org"]).await;
    world.execute("DELETE FROM inbox WHERE name = 'hello'").await;
    world.queue.settle().await;
    assert!(world.queued().await.is_empty());
    assert_eq!([world.count("message").await, world.count("body").await], [0, 0]);
}

#[tokio::test]
async fn settling_waits_for_all_that_is_due_beside_a_running_queue() {
    let world = World::open().await;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(world.queue.clone().run(shutdown.clone()));
    for i in 0..40 {
        world.send(&[format!("r{i}@example.org").as_str(), format!("r{i}@other.example").as_str()]).await;
    }
    world.queue.settle().await;
    assert!(world.queued().await.is_empty());
    let mut arrived: Vec<_> =
        world.mx.heard().into_iter().flat_map(|h| h.commands).filter(|c| c.starts_with("RCPT")).collect();
    arrived.sort();
    assert_eq!(arrived.len(), 80);
    arrived.dedup();
    assert_eq!(arrived.len(), 80, "none twice");
    shutdown.request();
    running.await.unwrap();
}

#[tokio::test]
async fn a_large_message_leaves_whole_though_it_is_read_as_it_leaves() {
    let world = World::open().await;
    let line = |n: usize| format!(".{n} {}\r\n", "x".repeat(n % 70));
    let text: String = (0..60_000).map(line).collect();
    assert!(text.len() > 2 * 1024 * 1024);
    world.submit(&["a@example.org"], format!("Subject: large\r\n\r\n{text}").as_bytes()).await.unwrap();
    world.queue.settle().await;
    let heard = world.mx.only_message();
    let (_, body) = heard.text().split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
    assert!(body == text, "{} octets, not {}", body.len(), text.len());
}
