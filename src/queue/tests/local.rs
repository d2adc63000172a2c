//! Mail for inboxes here, and the copies in Sent.

use super::*;
use crate::events::Event;
use crate::mailbox::MailboxService;
use crate::store::quota::ROW;
use crate::store::sent::Note;
use crate::store::testing::limits;

const WITH_BCC: &[u8] =
    b"From: Me <x@y.example>\r\nTo: a@example.org\r\nbcc: b@example.net,\r\n friend@inboxlayer.dev\r\nSubject: hi\r\n\r\nbody\r\n";

/// Sends to acme.com while its MX is elsewhere, and moves that here.
async fn comes_here_after(world: &World, rcpt_to: &[&str]) -> Accepted {
    let sent = world.send(rcpt_to).await;
    world.execute("UPDATE custom_domain SET receiving = 1").await;
    sent
}

fn fields<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let header = message.split("\r\n\r\n").next().unwrap_or_default();
    header.lines().filter(|line| line.starts_with(name)).collect()
}

#[tokio::test]
async fn mail_for_inboxes_here_is_delivered_by_the_commit_that_accepts_it_and_never_leaves() {
    let world = World::open().await;
    let mut events = world.store.events().subscribe(&world.login.account, 1).unwrap();
    let accepted = world.send(&["friend@inboxlayer.dev", "Friend+tag@inboxlayer.dev"]).await;
    assert!(matches!(events.try_recv().unwrap(), Event::MessageReceived { .. }));
    assert_eq!([world.count("submission").await, world.count("body").await, world.count("content").await], [0, 1, 1]);
    let friend = world.inbox("friend").await;
    assert_eq!(friend.len(), 1, "two addresses of one inbox");
    assert!(friend[0].starts_with("Return-Path: <hello@inboxlayer.dev>\r\nReceived: "), "{}", friend[0]);
    assert!(friend[0].contains(&format!("id {}", accepted.id)) && friend[0].ends_with("\r\n\r\nbody\r\n"));
    assert_eq!((fields(&friend[0], "Received:").len(), fields(&friend[0], "DKIM-Signature:").len()), (1, 0));

    // Only what leaves is queued.
    world.send(&["friend@inboxlayer.dev", "a@example.org"]).await;
    assert_eq!((world.inbox("friend").await.len(), world.count("delivery").await), (2, 1));
    world.queue.settle().await;
    assert_eq!(world.mx.only_message().commands.iter().filter(|c| c.starts_with("RCPT")).count(), 1);
    assert_eq!(world.inbox("friend").await.len(), 2);

    let unknown = world.recipients(&["a@example.org", "nobody@inboxlayer.dev"], 10).await.unwrap_err();
    assert!(matches!(&unknown, RecipientError::NoSuchUser(who) if who.to_string() == "nobody@inboxlayer.dev"));
}

#[tokio::test]
async fn case_tells_recipients_apart_elsewhere_and_not_here() {
    let world = World::open().await;
    let named =
        ["Ann@example.org", "ann@example.org", "Friend@inboxlayer.dev", "friend@INBOXLAYER.dev", "ann@example.org"];
    let found = world.recipients(&named, 10).await.unwrap();
    let found: Vec<String> = found.iter().map(|recipient| recipient.address().to_string()).collect();
    assert_eq!(found, ["Ann@example.org", "ann@example.org", "Friend@inboxlayer.dev"]);
    world.send(&named).await;
    assert_eq!((world.count("delivery").await, world.inbox("friend").await.len()), (2, 1));
}

#[tokio::test]
async fn a_verified_domain_is_delivered_here_only_while_its_mx_leads_here() {
    let world = World::open().await;
    world.send(&["friend@acme.com", "unknown@acme.com"]).await;
    world.queue.settle().await;
    assert_eq!(world.mx.only_message().commands.iter().filter(|c| c.starts_with("RCPT")).count(), 2);
    world.execute("UPDATE custom_domain SET receiving = 1").await;
    assert!(matches!(world.recipients(&["unknown@acme.com"], 10).await, Err(RecipientError::NoSuchUser(_))));
    world.send(&["friend@acme.com"]).await;
    assert_eq!((world.mx.heard().len(), world.inbox("friend").await.len()), (1, 1));
    // A claim that is not verified reserves nothing.
    world.execute("UPDATE custom_domain SET status = 'failed'").await;
    world.send(&["friend@acme.com"]).await;
    assert_eq!((world.count("delivery").await, world.inbox("friend").await.len()), (1, 1));
}

#[tokio::test]
async fn mail_that_was_queued_before_its_domain_came_here_is_delivered_here() {
    let world = World::open().await;
    comes_here_after(&world, &["friend@acme.com", "Friend+tag@acme.com", "nobody@acme.com"]).await;
    world.queue.settle().await;
    assert!(world.mx.heard().is_empty() && world.queued().await.is_empty());
    let friend = world.inbox("friend").await;
    assert_eq!(friend.len(), 1, "two addresses of one inbox");
    assert!(friend[0].starts_with("Return-Path: <hello@inboxlayer.dev>\r\n"), "{}", friend[0]);
    assert_eq!(fields(&friend[0], "Received:").len(), 1, "{}", friend[0]);
    let bounce = world.bounce().await;
    assert!(bounce.contains("Status: 5.1.1") && bounce.contains("nobody@acme.com"), "{bounce}");
}

#[tokio::test]
async fn mail_for_a_full_inbox_here_waits_and_bounces_in_the_end_even_into_a_full_one() {
    let world = World::configured(|config| config.limits.inbox_size = 100).await;
    comes_here_after(&world, &["friend@acme.com", "hello@acme.com"]).await;
    world.queue.settle().await;
    let queued = world.queued().await;
    let waiting: Vec<_> = queued[0].deliveries.iter().map(|d| d.last_reply.clone().unwrap()).collect();
    assert_eq!(waiting, ["the inbox is full", "the inbox is full"]);
    assert!(world.inbox("friend").await.is_empty());
    while !world.queued().await.is_empty() {
        world.next_try().await;
    }
    let bounce = world.bounce().await;
    let words = bounce.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("Status: 4.4.7") && words.contains("the inbox is full"), "{bounce}");
    assert_eq!((world.count("message").await, world.count("body").await), (1, 1));
}

#[tokio::test]
async fn an_inbox_that_fills_up_during_the_attempt_defers_its_recipient_alone() {
    let world = World::open().await;
    // Full when the outcome is written down, and not when it was asked before: the header that is added is what is too much.
    let sent = comes_here_after(&world, &["friend@acme.com", "hello@acme.com"]).await;
    let size = world.store.read(|c| {
        let sql = "SELECT c.size FROM submission s JOIN content c ON c.id = s.outgoing_id";
        c.query_row(sql, params![], |row| row.get::<i64>(0))
    });
    let held =
        i64::try_from(world.config.limits.inbox_size).unwrap() - size.await.unwrap() - i64::try_from(ROW).unwrap();
    let fill = move |c: &crate::store::Transaction<'_>| {
        c.execute("UPDATE inbox SET size = ?1 WHERE name = 'friend'", params![held])
    };
    world.store.write(move |c| fill(c)).await.unwrap();
    world.queue.settle().await;
    assert_eq!(world.waiting().await, "the inbox is full");
    assert_eq!(world.queued().await[0].id, sent.id);
    assert_eq!((world.inbox("friend").await.len(), world.inbox("hello").await.len()), (0, 1));
}

#[tokio::test]
async fn a_full_inbox_here_refuses_the_message_and_nothing_of_it_stays() {
    let world = World::open().await;
    let to = world.recipients(&["a@example.org", "friend@inboxlayer.dev"], MESSAGE.len()).await.unwrap();
    world.execute("UPDATE inbox SET size = 1099511627776 WHERE name = 'friend'").await;
    let full = world.recipients(&["a@example.org", "friend@inboxlayer.dev"], 0).await.unwrap_err();
    assert!(matches!(&full, RecipientError::Full(who) if who.to_string() == "friend@inboxlayer.dev"), "{full}");
    let rcpt_to = Recipients::new(to).unwrap();
    let draft = Draft {
        parameters: MailParameters::default(),
        rcpt_to: rcpt_to.map(|to| (to, RecipientParameters::default())),
        raw: MESSAGE.into(),
        protocol: "ESMTPSA",
        client: None,
        send_at: None,
        note: Note::default(),
    };
    let refused = world.submission.accept(&world.login, draft).await.unwrap_err();
    assert!(matches!(&refused, Refusal::RecipientFull(who) if who.len() == 1), "{refused}");
    for table in ["submission", "delivery", "content", "body", "message"] {
        assert_eq!(world.count(table).await, 0, "{table}");
    }
}

#[tokio::test]
async fn a_copy_in_sent_is_the_message_as_it_left_with_its_bcc_field() {
    let world = World::open().await;
    world.execute("UPDATE inbox SET save_sent = 1").await;
    world.submit(&["a@example.org", "b@example.net", "friend@inboxlayer.dev"], WITH_BCC).await.unwrap();
    world.send(&["a@example.org"]).await;
    // Two header blocks in the queue for each message, one for the friend; the copy without a Bcc field is the queue's.
    assert_eq!([world.count("body").await, world.count("content").await], [1, 6], "both messages have the same body");
    let sent = world.mailbox("hello", "Sent").await;
    let (with_bcc, plain) = (&sent[0], &sent[1]);
    world.queue.settle().await;
    let left = world.mx.texts();
    let bcc = "bcc: b@example.net,\r\n friend@inboxlayer.dev\r\n";
    assert_eq!(with_bcc.matches(bcc).count(), 1, "{with_bcc}");
    let without = with_bcc.replacen(bcc, "", 1);
    assert_eq!(left.iter().filter(|text| **text == without).count(), 2, "{left:?}\n{with_bcc}");
    assert_eq!(left.iter().filter(|text| *text == plain).count(), 1, "{left:?}\n{plain}");
    assert!(!world.inbox("friend").await[0].to_ascii_lowercase().contains("bcc"));
    let flags = world.store.read(|c| {
        c.query_row(
            "SELECT max(flags), min(flags) FROM message m JOIN mailbox p ON p.id = m.mailbox_id WHERE p.name = 'Sent'",
            params![],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    });
    assert_eq!(flags.await.unwrap(), (1, 1), "seen");
}

#[tokio::test]
async fn a_copy_in_sent_stays_as_it_is_when_the_identity_changes_later() {
    let mut world = World::open().await;
    world.execute("UPDATE inbox SET save_sent = 1").await;
    world.log_in_at_acme();
    world.send(&["a@example.org"]).await;
    let sent = world.mailbox("hello", "Sent").await;
    assert!(sent[0].contains("<hello@acme.com>") && sent[0].contains("d=acme.com"), "{}", sent[0]);
    world.execute("UPDATE custom_domain SET status = 'failed'").await;
    world.queue.settle().await;
    assert!(world.mx.only_message().text().contains("<hello@inboxlayer.dev>"));
    assert_eq!(world.mailbox("hello", "Sent").await, sent);
}

#[tokio::test]
async fn copies_go_to_the_mailbox_whose_use_it_is_and_count_in_the_quota() {
    let world = World::open().await;
    world.execute("UPDATE inbox SET save_sent = 1").await;
    let hello = &world.login.inbox;
    let mailboxes = MailboxService::new(world.store.clone(), limits(u64::MAX));
    mailboxes.rename(hello, "Sent", "Out").await.unwrap();
    world.send(&["a@example.org"]).await;
    assert_eq!(world.mailbox("hello", "Out").await.len(), 1);
    mailboxes.delete(hello, "Out").await.unwrap();
    world.send(&["hello@inboxlayer.dev"]).await;
    assert_eq!((world.mailbox("hello", "Sent").await.len(), world.inbox("hello").await.len()), (1, 1));
    let sent = world.store.mailboxes(hello).await.unwrap().into_iter().find(|mailbox| mailbox.name == "Sent").unwrap();
    assert_eq!(sent.special_use.as_deref(), Some("\\Sent"));

    world.execute("UPDATE inbox SET size = 1099511627776 WHERE name = 'hello'").await;
    let before = world.count("content").await;
    let refused = world.submit(&["a@example.org"], MESSAGE).await.unwrap_err();
    assert!(matches!(refused, Refusal::SenderFull), "{refused}");
    assert_eq!(world.count("content").await, before);
    world.execute("UPDATE inbox SET save_sent = 0").await;
    world.send(&["a@example.org"]).await;
}
