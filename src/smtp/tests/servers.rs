//! What the servers store, and how sessions end.

use super::{Client, Listener, World};
use crate::auth::login::Scope;
use crate::auth::token::Token;
use crate::config::HumanDuration;
use crate::events::Event;
use crate::id::{DomainId, InboxId, MailboxId, TokenId};
use crate::store::params;
use crate::store::tokens::NewToken;
use std::time::Duration;

const MESSAGE: &str =
    "From: Zoe <zoe@x.example>\r\nTo: ann@inboxlayer.dev\r\nSubject: hello\r\n\r\n..a dot\r\n\u{fc}\r\n.\r\n";

async fn greeted(world: &World) -> Client {
    let mut client = world.connect(Listener::Mx).await;
    client.expect("220 ").await;
    client.say("EHLO client.example", "250").await;
    client
}

async fn envelope(client: &mut Client, recipients: &[&str]) {
    client.say("MAIL FROM:<zoe@x.example>", "250").await;
    for recipient in recipients {
        client.say(&format!("RCPT TO:<{recipient}>"), "250").await;
    }
    client.say("DATA", "354").await;
}

#[tokio::test]
async fn a_message_for_one_gets_trace_fields_and_is_otherwise_unchanged() {
    let world = World::new().await;
    let mut client = greeted(&world).await;
    envelope(&mut client, &["Ann+tag@acme.test"]).await;
    client.send(MESSAGE.as_bytes()).await;
    let reply = client.expect("250 2.0.0 received as arr_").await;
    let id = reply[0].rsplit(' ').next().unwrap();
    let [stored] = world.mail(&world.ann).await.try_into().unwrap();
    let (trace, rest) = stored.split_at(stored.find("From: Zoe").unwrap());
    assert_eq!(rest, MESSAGE.replace("..a dot", ".a dot").strip_suffix(".\r\n").unwrap());
    assert!(
        trace.starts_with("Return-Path: <zoe@x.example>\r\nReceived: from client.example ([127.0.0.1])"),
        "{trace}"
    );
    assert!(trace.contains(&format!("with ESMTP id {id}")) && trace.contains("for <Ann+tag@acme.test>"), "{trace}");
}

#[tokio::test]
async fn forged_authentication_results_are_removed() {
    let world = World::new().await;
    let mut client = greeted(&world).await;
    envelope(&mut client, &["ann@inboxlayer.dev"]).await;
    let forged = "Authentication-Results: inboxlayer.dev; dkim=pass\r\n";
    let theirs = "Authentication-Results: x.example; spf=pass\r\n";
    client.send(format!("{forged}{theirs}Subject: s\r\n\r\nhello\r\n.\r\n").as_bytes()).await;
    client.expect("250 2.0.0").await;
    let [stored] = world.mail(&world.ann).await.try_into().unwrap();
    assert!(stored.ends_with(&format!("\r\n{theirs}Subject: s\r\n\r\nhello\r\n")), "{stored}");
    assert!(!stored.contains("dkim=pass"), "{stored}");
}

#[tokio::test]
async fn a_message_for_several_is_stored_once_and_names_none_of_them() {
    let world = World::new().await;
    let mut client = world.connect(Listener::Mx).await;
    client.expect("220 ").await;
    client.say("STARTTLS", "220").await;
    client.start_tls().await;
    client.say("EHLO client.example", "250").await;
    envelope(&mut client, &["ann@inboxlayer.dev", "ben@inboxlayer.dev", "ann@acme.test"]).await;
    client.send(MESSAGE.as_bytes()).await;
    client.expect("250 2.0.0").await;
    for inbox in [&world.ann, &world.ben] {
        let [stored] = world.mail(inbox).await.try_into().unwrap();
        assert!(stored.contains("with ESMTPS id") && !stored.contains("for <"), "{stored}");
    }
    assert_eq!(world.count("body").await, 1);
}

#[tokio::test]
async fn mail_to_an_inbox_that_is_disabled_is_refused_temporarily() {
    let world = World::new().await;
    let disable = "UPDATE inbox SET disabled_at = 1 WHERE name = 'ann'";
    world.store.write(move |c| c.execute(disable, crate::store::params![])).await.unwrap();
    let mut client = greeted(&world).await;
    client.say("MAIL FROM:<x@client.example>", "250").await;
    client.say("RCPT TO:<ann@inboxlayer.dev>", "450 4.2.1").await;
    client.say("RCPT TO:<ben@inboxlayer.dev>", "250").await;
}

#[tokio::test]
async fn mail_for_an_inbox_that_is_disabled_after_rcpt_is_refused_temporarily() {
    let world = World::new().await;
    let mut client = greeted(&world).await;
    envelope(&mut client, &["ann@inboxlayer.dev", "ben@inboxlayer.dev"]).await;
    let disable = "UPDATE inbox SET disabled_at = 1 WHERE name = 'ann'";
    world.store.write(move |c| c.execute(disable, crate::store::params![])).await.unwrap();
    client.send(b"Subject: x\r\n\r\n.\r\n").await;
    client.expect("450 4.2.1").await;
    assert!(world.mail(&world.ann).await.is_empty() && world.mail(&world.ben).await.is_empty());
}

#[tokio::test]
async fn a_message_without_header_and_an_empty_one_are_stored() {
    let world = World::new().await;
    let mut client = greeted(&world).await;
    for data in [".\r\n", "\r\n.\r\n", "Subject: x\r\n.\r\n", "Subject: x\r\n\r\n.\r\n"] {
        envelope(&mut client, &["ann@inboxlayer.dev"]).await;
        client.send(data.as_bytes()).await;
        client.expect("250 2.0.0").await;
    }
    let mail = world.mail(&world.ann).await;
    assert_eq!(mail.len(), 4);
    assert!(mail.iter().all(|m| m.matches("\r\n\r\n").count() == 1 && m.ends_with("\r\n\r\n")), "{mail:?}");
}

#[tokio::test]
async fn smuggled_messages_are_refused_as_a_whole() {
    let world = World::new().await;
    let mut client = greeted(&world).await;
    for ending in
        ["\n.\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\n.\r\n", "\r.\r\n", "\r\n.\r\r\n", "\r\n.\n\r\n", "\r\r\n.\n"]
    {
        envelope(&mut client, &["ann@inboxlayer.dev"]).await;
        let data = format!(
            "Subject: a\r\n\r\nb{ending}MAIL FROM:<evil@x.example>\r\nRCPT TO:<ben@inboxlayer.dev>\r\nDATA\r\n"
        );
        client.send(format!("{data}Subject: smuggled\r\n\r\nc\r\n.\r\n").as_bytes()).await;
        client.expect("550 5.5.2").await;
        client.say("NOOP", "250").await;
        // A good message fills the credit up again.
        envelope(&mut client, &["ben@inboxlayer.dev"]).await;
        client.send(b"Subject: good\r\n\r\n.\r\n").await;
        client.expect("250").await;
    }
    // With NUL in it the ending is no ending, and what follows is part of the one message, which is refused.
    envelope(&mut client, &["ann@inboxlayer.dev"]).await;
    client.send(b"Subject: a\r\n\r\nb\r\n\0.\r\nMAIL FROM:<evil@x.example>\r\nDATA\r\nc\r\n.\r\n").await;
    client.expect("550 5.6.0").await;
    client.say("NOOP", "250").await;
    assert!(world.mail(&world.ann).await.is_empty());
    assert!(world.mail(&world.ben).await.iter().all(|m| m.contains("Subject: good")));
}

#[tokio::test]
async fn a_message_too_big_in_a_loop_or_cut_off_leaves_nothing() {
    let world = World::new().await;
    let mut client = greeted(&world).await;
    envelope(&mut client, &["ann@inboxlayer.dev"]).await;
    for _ in 0..100 {
        client.send(format!("{}\r\n", "x".repeat(4096)).as_bytes()).await;
    }
    client.send(b".\r\n").await;
    client.expect("552 5.3.4").await;
    client.say("MAIL FROM:<zoe@x.example> SIZE=65537", "552 5.3.4").await;

    envelope(&mut client, &["ann@inboxlayer.dev"]).await;
    client.send("Received: from x\r\n by y; date\r\n".repeat(6).as_bytes()).await;
    client.send(b"\r\nloop\r\n.\r\n").await;
    client.expect("554 5.4.6").await;

    envelope(&mut client, &["ann@inboxlayer.dev"]).await;
    client.send(b"Subject: half\r\n\r\nhalf a mess").await;
    drop(client);
    // Whatever the server makes of it, the next message comes after it.
    let mut client = greeted(&world).await;
    envelope(&mut client, &["ann@inboxlayer.dev"]).await;
    // A line as long as the message may be is no fault.
    client.send(format!("Subject: whole\r\n\r\n{}\r\n.\r\n", "x".repeat(60_000)).as_bytes()).await;
    client.expect("250").await;
    let [only] = world.mail(&world.ann).await.try_into().unwrap();
    assert!(only.contains("Subject: whole"));
    assert_eq!(world.count("body").await, 1);
}

#[tokio::test]
async fn the_reply_of_submission_names_the_identity() {
    let world = World::new().await;
    for (user, reply) in [
        ("ann", "ann@inboxlayer.dev"),
        ("ann@acme.test", "ann@acme.test"),
        ("ann@pending.test", "ann@inboxlayer.dev (fallback: pending.test is pending)"),
        ("ann@failed.test", "ann@inboxlayer.dev (fallback: failed.test is failed)"),
    ] {
        let mut client = world.logged_in(user).await;
        envelope(&mut client, &["bob@elsewhere.example", "bob@elsewhere.example", "Postmaster"]).await;
        client.send(MESSAGE.as_bytes()).await;
        let replies = client.expect("250 2.0.0 queued as msg_").await;
        assert!(replies[0].ends_with(&format!(" from {reply}")), "{replies:?}");
        client.say("QUIT", "221").await;
        client.expect_end().await;
    }
    // Postmaster is here.
    assert_eq!([world.count("submission").await, world.count("delivery").await], [4, 4]);
}

#[tokio::test]
async fn the_token_of_another_account_is_refused_like_an_unknown_name() {
    let world = World::new().await;
    let other_account = crate::store::testing::account(&world.store).await;
    let token = Token::generate().unwrap();
    let new = NewToken::new("t", Scope::Account(other_account), token.hash());
    world.store.token_create(new, 10, crate::clock::Timestamp::real()).await.unwrap();
    let mut client = world.connect(Listener::Submissions).await;
    client.expect("220 ").await;
    client.say("EHLO client.example", "250").await;
    let mut answers = Vec::new();
    for user in ["ann", "ann@acme.test", "nobody", "nobody@nowhere.test"] {
        let response = super::base64(&format!("\0{user}\0{}", token.secret().reveal()));
        answers.extend(client.say(&format!("AUTH PLAIN {response}"), "535 5.7.8").await);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_session_ends_at_once_with_its_log_in() {
    let world = World::new().await;
    let ends = [
        Event::TokenRevoked { token_id: world.token_id.clone() },
        Event::InboxDeleted { inbox_id: world.ann.clone() },
        Event::DomainDeleted { domain_id: world.domain.clone(), domain: None },
    ];
    let others = [
        Event::TokenRevoked { token_id: TokenId::new() },
        Event::InboxDeleted { inbox_id: InboxId::new() },
        Event::DomainDeleted { domain_id: DomainId::new(), domain: None },
        Event::FlagsChanged { inbox_id: world.ann.clone(), mailbox: MailboxId::new(1), modseq: 1 },
    ];
    for end in ends {
        let mut idle = world.logged_in("ann@acme.test").await;
        let mut sending = world.logged_in("ann@acme.test").await;
        envelope(&mut sending, &["bob@elsewhere.example"]).await;
        sending.send(b"Subject: half").await;
        for other in &others {
            world.events.publish(&world.account, other.clone());
        }
        idle.say("NOOP", "250").await;
        world.events.publish(&world.account, end);
        for client in [&mut idle, &mut sending] {
            client.expect("421 4.7.0").await;
            client.expect_end().await;
        }
    }
    // A session at the platform's address does not care about the domain.
    let mut platform = world.logged_in("ann").await;
    world.events.publish(&world.account, Event::DomainDeleted { domain_id: world.domain.clone(), domain: None });
    platform.say("NOOP", "250").await;
    assert_eq!(world.count("submission").await, 0);
}

#[tokio::test]
async fn a_session_that_missed_events_is_checked() {
    let world = World::new().await;
    let mut client = world.logged_in("ann").await;
    let flood = || {
        for _ in 0..200 {
            world.events.publish(
                &world.account,
                Event::FlagsChanged { inbox_id: world.ann.clone(), mailbox: MailboxId::new(1), modseq: 1 },
            );
        }
    };
    flood();
    client.say("NOOP", "250").await;
    world.store.token_revoke(None, &world.token_id, crate::clock::Timestamp::real()).await.unwrap();
    flood();
    client.expect("421 4.7.0").await;
    client.expect_end().await;
}

#[tokio::test]
async fn an_expired_token_sends_nothing() {
    let world = World::new().await;
    let mut client = world.logged_in("ann").await;
    // As one that runs out: no event tells.
    let end = |c: &crate::store::Transaction<'_>| c.execute("UPDATE token SET revoked_at = 1", params![]);
    world.store.write(move |c| end(c)).await.unwrap();
    envelope(&mut client, &["bob@elsewhere.example"]).await;
    client.send(MESSAGE.as_bytes()).await;
    client.expect("421 4.7.0").await;
    client.expect_end().await;
    assert_eq!(world.count("submission").await, 0);
}

#[tokio::test]
async fn a_shutdown_ends_idle_sessions_and_finishes_messages() {
    let world = World::new().await;
    let mut idle = greeted(&world).await;
    let mut silent = world.connect(Listener::Submissions).await;
    silent.expect("220 ").await;
    let mut sending = greeted(&world).await;
    envelope(&mut sending, &["ann@inboxlayer.dev"]).await;
    sending.send(b"Subject: half").await;
    world.shutdown.request();
    for client in [&mut idle, &mut silent] {
        client.expect("421 4.3.2").await;
        client.expect_end().await;
    }
    sending.send(b" and the rest\r\n\r\n.\r\nMAIL FROM:<zoe@x.example>\r\n").await;
    sending.expect("250 2.0.0").await;
    sending.expect("421 4.3.2").await;
    assert!(world.shutdown.finished(Duration::from_secs(60)).await);
    assert_eq!(world.mail(&world.ann).await.len(), 1);
}

#[tokio::test]
async fn a_client_that_stalls_is_disconnected() {
    let world = World::with(|config| config.limits.smtp_timeout = HumanDuration(Duration::from_millis(400))).await;
    let mut silent_mx = world.connect(Listener::Mx).await;
    silent_mx.expect("220 ").await;
    silent_mx.expect("421 4.4.2").await;
    silent_mx.expect_end().await;

    let mut half = greeted(&world).await;
    envelope(&mut half, &["ann@inboxlayer.dev"]).await;
    half.send(b"Subject: half\r\n").await;
    half.expect("421 4.4.2").await;
    half.expect_end().await;

    // Drop by drop is no better: a command must be whole in time.
    let mut slow = world.connect(Listener::Mx).await;
    slow.expect("220 ").await;
    let drops = async {
        loop {
            let stream = slow.stream.as_mut().unwrap();
            if tokio::io::AsyncWriteExt::write_all(stream, b"N").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    drops.await;

    // No handshake: no session, and no word, since none would be understood.
    let [_, submissions, _] = world.addresses;
    let mut no_hello = tokio::net::TcpStream::connect(submissions).await.unwrap();
    let mut replies = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut no_hello, &mut replies).await.unwrap();
    assert_eq!(replies, b"");
    assert_eq!(world.count("body").await, 0);
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_421() {
    let world = World::with(|config| config.limits.connections_per_address = 1).await;
    let mut first = greeted(&world).await;
    let mut second = world.connect(Listener::Mx).await;
    second.expect("421 4.7.0").await;
    second.expect_end().await;
    first.say("QUIT", "221").await;
    first.expect_end().await;
}

#[tokio::test]
async fn a_full_inbox_is_refused_at_rcpt_and_after_data_and_others_get_their_mail() {
    let world = World::with(|config| config.limits.inbox_size = 3000 + 256).await;
    let mut client = greeted(&world).await;
    // It fits neither: announced, and not.
    client.say("MAIL FROM:<zoe@x.example> SIZE=3001", "250").await;
    client.say("RCPT TO:<ann@inboxlayer.dev>", "452 4.2.2").await;
    client.say("RSET", "250").await;
    let big = format!("Subject: big\r\n\r\n{}.\r\n", "0123456789\r\n".repeat(200));
    envelope(&mut client, &["ann@inboxlayer.dev", "ben@inboxlayer.dev"]).await;
    client.send(big.as_bytes()).await;
    client.expect("250 2.0.0").await;
    envelope(&mut client, &["ann@inboxlayer.dev", "postmaster"]).await;
    client.send(big.as_bytes()).await;
    client.expect("452 4.2.2").await;
    assert_eq!((world.count("message").await, world.count("body").await), (2, 1));
    // With its size announced, the others get it.
    client.say("MAIL FROM:<zoe@x.example> SIZE=2500", "250").await;
    client.say("RCPT TO:<ann@inboxlayer.dev>", "452 4.2.2").await;
    client.say("RCPT TO:<postmaster>", "250").await;
    client.say("DATA", "354").await;
    client.send(big.as_bytes()).await;
    client.expect("250 2.0.0").await;
}

#[tokio::test]
async fn submission_refuses_recipients_here_as_the_mx_does() {
    let world = World::with(|config| config.limits.inbox_size = 3000).await;
    let mut client = world.logged_in("ann").await;
    client.say("MAIL FROM:<ann@inboxlayer.dev> SIZE=2800", "250").await;
    for unknown in ["nobody@inboxlayer.dev", "nobody@acme.test"] {
        client.say(&format!("RCPT TO:<{unknown}>"), "550 5.1.1").await;
    }
    // A domain whose claim is not verified is like any other's.
    for elsewhere in ["nobody@pending.test", "nobody@failed.test", "Bo@elsewhere.example", "bo@elsewhere.example"] {
        client.say(&format!("RCPT TO:<{elsewhere}>"), "250").await;
        client.say("RSET", "250").await;
        client.say("MAIL FROM:<ann@inboxlayer.dev> SIZE=2800", "250").await;
    }
    client.say("RCPT TO:<ben@inboxlayer.dev>", "452 4.2.2").await;
    client.say("RSET", "250").await;

    // Spelling tells recipients apart elsewhere, and not here.
    envelope(&mut client, &["Bo@elsewhere.example", "bo@elsewhere.example", "Ben@inboxlayer.dev"]).await;
    client.send(MESSAGE.as_bytes()).await;
    client.expect("250 2.0.0 queued as msg_").await;
    envelope(&mut client, &["Ben@acme.test", "ben+tag@acme.test", "ben@acme.test"]).await;
    client.send(MESSAGE.as_bytes()).await;
    client.expect("250 2.0.0").await;
    assert_eq!([world.count("submission").await, world.count("delivery").await], [1, 2]);
    assert_eq!(world.mail(&world.ben).await.len(), 2);
}
