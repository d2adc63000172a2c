//! Under which address mail leaves, from taking it in to its last attempt.

use super::*;
use crate::verification::status::VerifiedStatus;

async fn lose_acme(world: &World) {
    world.execute("UPDATE custom_domain SET status = 'failed'").await;
}

#[tokio::test]
async fn mail_of_a_verified_domain_leaves_under_it_and_is_signed_by_it() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    let accepted = world.send(&["a@example.org"]).await;
    assert_eq!((accepted.from.to_string().as_str(), accepted.fallback.is_none()), ("hello@acme.com", true));
    world.queue.settle().await;
    let heard = world.mx.only_message();
    assert_eq!(heard.mail(), "MAIL FROM:<hello@acme.com>");
    assert!(heard.text().contains("d=acme.com") && heard.text().contains("\r\nFrom: Me <hello@acme.com>\r\n"));
}

#[tokio::test]
async fn a_domain_lost_between_acceptance_and_delivery_is_not_left_under() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    world.mx.now(Script { rules: vec![("RCPT", "451 later")], ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    lose_acme(&world).await;
    world.mx.now(Script::default());
    world.next_try().await;
    let heard = world.mx.only_message();
    let text = heard.text();
    assert_eq!(heard.mail(), "MAIL FROM:<hello@inboxlayer.dev>");
    assert!(text.contains("d=inboxlayer.dev") && !text.contains("d=acme.com"), "{text}");
    assert!(text.contains("\r\nFrom: Me <hello@inboxlayer.dev>\r\n"), "{text}");
    assert!(text.contains("Inboxlayer-Fallback: from=hello@acme.com; reason=failed"), "{text}");
    assert_eq!(text.matches("DKIM-Signature:").count(), 1, "{text}");
    assert!(text.ends_with("\r\n\r\nbody\r\n"));
    assert!(world.queued().await.is_empty());
}

#[tokio::test]
async fn a_deleted_domain_is_not_left_under_and_a_default_one_neither() {
    let world = World::open().await;
    world.execute("UPDATE custom_domain SET is_default = 1").await;
    let accepted = world.send(&["a@example.org"]).await;
    assert_eq!(accepted.from.to_string(), "hello@acme.com");
    world.execute("DELETE FROM custom_domain").await;
    world.queue.settle().await;
    let heard = world.mx.only_message();
    assert_eq!(heard.mail(), "MAIL FROM:<hello@inboxlayer.dev>");
    assert!(heard.text().contains("Inboxlayer-Fallback: from=hello@acme.com; reason=failed"), "{}", heard.text());
}

#[tokio::test]
async fn a_fallback_that_was_promised_stays_one() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    world.execute("UPDATE custom_domain SET status = 'pending'").await;
    let accepted = world.send(&["a@example.org"]).await;
    let fallback = accepted.fallback.unwrap();
    assert_eq!(accepted.from.to_string(), "hello@inboxlayer.dev");
    assert_eq!((fallback.from.to_string().as_str(), fallback.reason), ("hello@acme.com", VerifiedStatus::Pending));
    world.execute("UPDATE custom_domain SET status = 'verified'").await;
    world.queue.settle().await;
    let text = world.mx.only_message().text();
    assert!(text.contains("Inboxlayer-Fallback: from=hello@acme.com; reason=pending"), "{text}");
    assert!(text.contains("d=inboxlayer.dev"), "{text}");
}

#[tokio::test]
async fn an_owner_who_wants_no_fallback_gets_none() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    world.execute("UPDATE custom_domain SET on_unverified = 'reject'").await;
    world.send(&["a@example.org"]).await;
    lose_acme(&world).await;
    world.queue.settle().await;
    assert!(world.mx.heard().is_empty());
    assert!(world.bounce().await.contains("Status: 5.7.1"));
    let refused = world.submit(&["a@example.org"], MESSAGE).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unverified { .. }), "{refused}");
    assert!(world.queued().await.is_empty());
}

#[tokio::test]
async fn what_is_no_message_or_goes_in_circles_is_refused_and_leaves_nothing() {
    let world = World::configured(|config| config.limits.messages_per_hour = 1).await;
    for bad in [&b"Subject: x\r\n\r\na\nb\r\n"[..], b"\n", b"Subject: x\r\n\r\na\rb\r\n", b"x\r"] {
        let refused = world.submit(&["a@example.org"], bad).await.unwrap_err();
        assert!(matches!(refused, Refusal::Malformed(_)), "{refused}");
    }
    let circles = [b"Received: x\r\n".repeat(51), b"\r\nbody\r\n".to_vec()].concat();
    assert!(matches!(world.submit(&["a@example.org"], &circles).await, Err(Refusal::Loop)));
    world.send(&["a@example.org"]).await;
    let refused = world.submit(&["a@example.org"], MESSAGE).await.unwrap_err();
    assert!(matches!(refused, Refusal::RateLimited { what: "messages", limit: 1, .. }), "{refused}");
    assert_eq!([world.count("submission").await, world.count("body").await], [1, 1]);
    world.clock.advance_to(world.clock.now().after(Duration::from_secs(3600)));
    world.send(&["a@example.org"]).await;
}

#[tokio::test]
async fn mail_of_a_verified_domain_without_a_key_waits_for_it_and_leaves_signed() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    world.execute("DELETE FROM dkim_key WHERE domain_id IS NOT NULL").await;
    let accepted = world.send(&["a@example.org", "b@example.net", "friend@inboxlayer.dev"]).await;
    assert_eq!((accepted.from.to_string().as_str(), accepted.fallback.is_none()), ("hello@acme.com", true));
    world.queue.settle().await;
    assert!(world.mx.heard().is_empty());
    assert_eq!(world.inbox("friend").await.len(), 1, "an inbox here needs no signature");
    let waiting = world.queued().await.pop().unwrap().deliveries;
    for delivery in &waiting {
        assert_eq!((delivery.attempts, delivery.last_attempt_at), (0, None));
        assert_eq!(delivery.last_reply.as_deref(), Some("no signing key is ready for acme.com"));
    }
    assert_eq!(waiting.len(), 2);

    // The clock is not moved: the new key wakes the queue.
    let shutdown = Shutdown::new();
    shutdown.spawn(world.queue.clone().run(shutdown.clone()));
    world.keys.provision(&world.login.account, world.acme.clone());
    while !world.queued().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let left = world.mx.texts();
    assert_eq!((left.len(), world.mx.commands("MAIL FROM:<hello@acme.com>")), (2, 2));
    for text in left {
        assert_eq!(text.matches("DKIM-Signature:").count(), 1, "{text}");
        assert!(text.contains("d=acme.com") && !text.contains("Inboxlayer-Fallback"), "{text}");
    }
    assert_eq!([world.count("submission").await, world.count("content").await, world.count("body").await], [0, 1, 1]);
    shutdown.request();
    assert!(shutdown.finished(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn mail_that_waits_for_a_key_falls_back_when_its_domain_is_lost() {
    let mut world = World::open().await;
    world.log_in_at_acme();
    world.execute("DELETE FROM dkim_key WHERE domain_id IS NOT NULL").await;
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    lose_acme(&world).await;
    world.next_try().await;
    let text = world.mx.only_message().text();
    assert!(text.contains("d=inboxlayer.dev") && text.contains("reason=failed"), "{text}");
}

/// acme.com is pending and its mail is held: a message to an inbox here and to one elsewhere.
async fn held() -> (World, Accepted) {
    let mut world =
        World::configured(|config| config.verification.window = crate::config::HumanDuration::hours(1)).await;
    world.log_in_at_acme();
    world.execute("UPDATE custom_domain SET status = 'pending', on_unverified = 'hold'").await;
    let accepted = world.send(&["a@example.org", "friend@inboxlayer.dev"]).await;
    assert!(accepted.held && accepted.fallback.is_none(), "{accepted:?}");
    assert_eq!(accepted.from.to_string(), "hello@acme.com");
    world.queue.settle().await;
    let queued = world.queued().await.pop().unwrap();
    assert!(queued.held && queued.fallback.is_none(), "{queued:?}");
    for delivery in &queued.deliveries {
        let reply = delivery.last_reply.as_deref();
        assert_eq!((delivery.attempts, reply), (0, Some("kept until acme.com is verified")));
    }
    assert!(world.mx.heard().is_empty() && world.inbox("friend").await.is_empty());
    (world, accepted)
}

/// Changes the domain, and makes what is held for it due.
async fn change(world: &World, sql: &'static str) {
    world.execute(sql).await;
    for message in world.queued().await {
        world.store.queue_retry(message.id, world.clock.now()).await.unwrap();
    }
    world.queue.settle().await;
}

#[tokio::test]
async fn mail_that_is_held_leaves_under_its_domain_once_it_is_verified() {
    let (world, accepted) = held().await;
    change(&world, "UPDATE custom_domain SET status = 'verified'").await;
    let heard = world.mx.only_message();
    assert_eq!(heard.mail(), "MAIL FROM:<hello@acme.com>");
    let text = heard.text();
    assert!(text.contains("From: Me <hello@acme.com>") && text.contains("d=acme.com"), "{text}");
    assert!(!text.contains("Inboxlayer-Fallback") && text.contains(accepted.id.as_str()), "{text}");
    let here = world.inbox("friend").await;
    assert!(here.len() == 1 && here[0].contains("From: Me <hello@acme.com>"), "{here:?}");
    assert!(world.queued().await.is_empty());
}

#[tokio::test]
async fn mail_that_is_held_bounces_with_its_domain_or_goes_as_its_owner_wants_it() {
    for (sql, status) in [
        ("UPDATE custom_domain SET status = 'failed'", Some("Status: 5.7.1")),
        ("DELETE FROM custom_domain", Some("Status: 5.7.1")),
        ("UPDATE custom_domain SET on_unverified = 'reject'", Some("Status: 5.7.1")),
        ("UPDATE custom_domain SET on_unverified = 'fallback'", None),
    ] {
        let (world, _) = held().await;
        change(&world, sql).await;
        match status {
            Some(status) => {
                assert!(world.mx.heard().is_empty(), "{sql}");
                let bounces = world.inbox("hello").await;
                // Each recipient domain has an attempt of its own.
                assert_eq!(bounces.len(), 2, "{sql}");
                for bounce in bounces {
                    assert!(bounce.contains(status) && bounce.contains("From: Me <x@y.example>"), "{sql}: {bounce}");
                }
            }
            None => assert_eq!(world.mx.only_message().mail(), "MAIL FROM:<hello@inboxlayer.dev>"),
        }
        assert!(world.queued().await.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn mail_that_is_held_bounces_after_the_window_and_is_refused_for_a_domain_that_has_failed() {
    let (world, _) = held().await;
    let end = world.queued().await[0].expires_at;
    while let Some(due) = world.queue.next_due().await {
        assert!(due <= end, "{due:?}");
        world.clock.advance_to(due);
        world.queue.settle().await;
    }
    assert!(world.clock.now() >= end, "given up before its end");
    assert!(world.mx.heard().is_empty());
    assert!(world.inbox("hello").await[0].contains("kept until acme.com is verified"));
    world.execute("UPDATE custom_domain SET status = 'failed'").await;
    let refused = world.submit(&["a@example.org"], MESSAGE).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unverified { .. }), "{refused}");
}
