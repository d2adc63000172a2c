//! Delivery reports, as the sender requests them (RFC 3461).

use super::*;
use crate::envelope::{Notify, OriginalRecipient, Returned, Xtext};

fn notifying(notify: &str) -> RecipientParameters {
    let original = OriginalRecipient::parse("rfc822;A+2Bx@old.example");
    RecipientParameters { notify: Notify::parse(notify), original }
}

fn returning(returned: Returned) -> MailParameters {
    MailParameters { returned: Some(returned), envelope_id: Xtext::envelope_id("job+2B7") }
}

async fn send(world: &World, to: &str, notify: &str, returned: Returned) {
    let of_each = notifying(notify);
    world.submit_with(&world.login, &[to], MESSAGE, returning(returned), &of_each).await.unwrap();
    world.queue.settle().await;
}

#[tokio::test]
async fn the_request_goes_to_a_host_that_reports_and_no_report_is_made_here() {
    let world = World::open().await;
    world.mx.now(Script { offers: vec!["DSN"], ..Script::default() });
    send(&world, "a@example.org", "SUCCESS,DELAY", Returned::Headers).await;
    let heard = world.mx.only_message();
    let command = |start: &str| heard.commands.iter().find(|line| line.starts_with(start)).unwrap();
    assert_eq!(command("MAIL"), "MAIL FROM:<hello@inboxlayer.dev> RET=HDRS ENVID=job+2B7");
    assert_eq!(command("RCPT"), "RCPT TO:<a@example.org> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;A+2Bx@old.example");
    assert!(world.inbox("hello").await.is_empty());
}

#[tokio::test]
async fn a_host_that_does_not_report_is_named_as_the_one_that_has_the_message() {
    let world = World::open().await;
    send(&world, "a@example.org", "SUCCESS", Returned::Full).await;
    assert!(world.mx.only_message().commands.iter().all(|command| !command.contains("NOTIFY")));
    let report = world.report().await;
    for part in [
        "Subject: Your message was passed on\r\n",
        "Original-Envelope-Id: job+7\r\n",
        "\r\nOriginal-Recipient: rfc822; A+x@old.example\r\nFinal-Recipient: rfc822; a@example.org\r\nAction: relayed\r\nStatus: 2.",
        "Content-Type: text/rfc822-headers\r\n",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    // Without NOTIFY, a success is not reported.
    world.send(&["b@example.org"]).await;
    world.queue.settle().await;
    world.report().await;
}

#[tokio::test]
async fn a_delivery_to_an_inbox_here_is_reported() {
    let world = World::open().await;
    send(&world, "friend@inboxlayer.dev", "SUCCESS", Returned::Full).await;
    assert_eq!(world.inbox("friend").await.len(), 1);
    let report = world.report().await;
    assert!(report.contains("Action: delivered\r\nStatus: 2.1.5"), "{report}");
    assert!(world.queued().await.is_empty());
}

#[tokio::test]
async fn a_failure_returns_the_message_or_its_header_or_is_not_reported() {
    let world = World::open().await;
    let refusing = Script { rules: vec![("RCPT", "550 5.1.1 no")], ..Script::default() };
    for (notify, returned, expected) in [
        ("FAILURE", Returned::Full, Some("Content-Type: message/rfc822\r\n\r\n")),
        ("FAILURE,DELAY", Returned::Headers, Some("Content-Type: text/rfc822-headers\r\n")),
        ("NEVER", Returned::Full, None),
        ("SUCCESS", Returned::Full, None),
    ] {
        world.queue.close_idle().await;
        world.mx.now(refusing.clone());
        let before = world.inbox("hello").await.len();
        send(&world, "a@example.org", notify, returned).await;
        assert!(world.queued().await.is_empty());
        let reports = world.inbox("hello").await.split_off(before);
        match expected {
            Some(part) => {
                assert_eq!(reports.len(), 1);
                assert!(reports[0].contains(part) && reports[0].contains("Action: failed"), "{}", reports[0]);
                assert_eq!(reports[0].contains("\r\n\r\nbody\r\n\r\n--"), returned == Returned::Full, "{}", reports[0]);
            }
            None => assert!(reports.is_empty(), "{reports:?}"),
        }
    }
}

#[tokio::test]
async fn a_delay_is_reported_once() {
    let world = World::open().await;
    world.mx.now(Script { rules: vec![("RCPT", "451 4.3.0 later")], ..Script::default() });
    world.send(&["a@example.org"]).await;
    let silent = notifying("FAILURE");
    world.submit_with(&world.login, &["b@example.net"], MESSAGE, MailParameters::default(), &silent).await.unwrap();
    world.queue.settle().await;
    let hours = |count: u64| Duration::from_secs(count * 3600);
    let begun = world.clock.now();
    while world.clock.now() < begun.after(hours(3)) {
        world.next_try().await;
    }
    assert!(world.inbox("hello").await.is_empty());
    while world.clock.now() < begun.after(hours(30)) {
        world.next_try().await;
    }
    let report = world.report().await;
    for part in
        ["Subject: Your message has not been delivered yet", "Action: delayed\r\nStatus: 4.3.0", "Will-Retry-Until: "]
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!report.contains("b@example.net"), "{report}");
}

#[tokio::test]
async fn a_full_inbox_gets_bounces_and_no_other_report() {
    let world = World::open().await;
    world.execute("UPDATE inbox SET size = 1099511627776 WHERE name = 'hello'").await;
    send(&world, "a@example.org", "SUCCESS", Returned::Full).await;
    assert_eq!((world.mx.only_message().messages.len(), world.inbox("hello").await.len()), (1, 0));
    world.queue.close_idle().await;
    world.mx.now(Script { rules: vec![("RCPT", "550 5.1.1 no")], ..Script::default() });
    send(&world, "a@example.org", "SUCCESS,FAILURE", Returned::Full).await;
    assert!(world.report().await.contains("Action: failed"));
}

#[tokio::test]
async fn a_bounce_returns_no_body_that_is_large() {
    let world = World::open().await;
    world.mx.now(Script { rules: vec![("RCPT", "550 5.1.1 no")], ..Script::default() });
    let raw = [MESSAGE, "x\r\n".repeat(30_000).as_bytes()].concat();
    let of_each = notifying("FAILURE");
    world.submit_with(&world.login, &["a@example.org"], &raw, returning(Returned::Full), &of_each).await.unwrap();
    world.queue.settle().await;
    assert!(world.report().await.contains("Content-Type: text/rfc822-headers\r\n"));
}
