//! Which hosts are dialled, and how they are spoken to.

use super::server::{Script, certificate};
use super::*;
use crate::config::Relay;
use crate::secret::Secret;

#[tokio::test]
async fn hosts_are_tried_in_order_until_one_takes_the_message() {
    let world = World::open().await;
    // No server listens at 127.0.0.2; 127.0.0.3 is busy; 127.0.0.4 takes it.
    let busy = world.server([127, 0, 0, 3], Script { rules: vec![("HELLO", "421 busy")], ..Script::default() }).await;
    let good = world.server([127, 0, 0, 4], Script::default()).await;
    let worse = world.server([127, 0, 0, 5], Script::default()).await;
    world.set(
        "example.org",
        Kind::Mx,
        &["40 worse.example.org.", "30 good.example.org.", "20 busy.example.org.", "10 down.example.org."],
    );
    for (host, ip) in [("down", "127.0.0.2"), ("busy", "127.0.0.3"), ("good", "127.0.0.4"), ("worse", "127.0.0.5")] {
        world.set(&format!("{host}.example.org"), Kind::A, &[ip]);
    }
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    good.only_message();
    assert_eq!((busy.heard().len(), worse.heard().len(), world.mx.heard().len()), (1, 0, 0));
    assert!(world.queued().await.is_empty());
}

#[tokio::test]
async fn one_hosts_final_no_does_not_outweigh_another_that_is_only_down() {
    let world = World::open().await;
    let refusing = Script { rules: vec![("HELLO", "554 5.7.1 go away")], ..Script::default() };
    let _refusing = world.server([127, 0, 0, 6], refusing).await;
    world.set("example.org", Kind::Mx, &["10 down.example.org.", "20 refusing.example.org."]);
    world.set("down.example.org", Kind::A, &["127.0.0.2"]);
    world.set("refusing.example.org", Kind::A, &["127.0.0.6"]);
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    assert!(world.waiting().await.contains("cannot connect to down.example.org"), "{}", world.waiting().await);
}

#[tokio::test]
async fn we_never_dial_ourselves() {
    let world = World::open().await;
    world.set("loop.example", Kind::Mx, &["10 smtp.inboxlayer.dev.", "20 backup.loop.example."]);
    world.send(&["a@loop.example"]).await;
    world.queue.settle().await;
    assert!(world.waiting().await.contains("is this host"), "{}", world.waiting().await);
    assert!(world.mx.heard().is_empty());
    // By another name, at our own socket.
    let port = world.config.queue.smtp_port;
    let world = World::configured(|config| {
        config.queue.smtp_port = port;
        config.smtp.mx = Some(([127, 0, 0, 1], port).into());
    })
    .await;
    world.send(&["a@alias.example"]).await;
    world.queue.settle().await;
    assert!(world.waiting().await.contains("is this host"), "{}", world.waiting().await);
}

#[tokio::test]
async fn addresses_that_are_not_on_the_internet_are_not_dialled() {
    let world = World::configured(|config| config.queue.allow_networks = AllowedNetworks::default()).await;
    world.set("inside.example", Kind::A, &["10.0.0.1"]);
    world.send(&["a@inside.example"]).await;
    world.queue.settle().await;
    assert!(world.waiting().await.contains("not on the internet: 10.0.0.1"), "{}", world.waiting().await);
    world.send(&["a@loopback.example"]).await;
    world.queue.settle().await;
    assert!(world.mx.heard().is_empty());
}

#[tokio::test]
async fn tls_is_used_when_offered_whatever_the_certificate_and_plaintext_when_it_is_broken() {
    let world = World::open().await;
    let (_, tls) = certificate(&["unrelated.example"]);
    world.mx.now(Script { tls: Some(tls), ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    world.queue.close_idle().await;
    let heard = world.mx.only_message();
    assert!(heard.tls);
    let verbs: Vec<_> = heard.commands.iter().map(|c| c.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(verbs, ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]);

    let world = World::open().await;
    world.mx.now(Script { breaks_tls: true, ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    assert!(!world.mx.only_message().tls);
    assert_eq!(world.mx.heard().len(), 2, "a connection of its own");

    let world = World::open().await;
    let (_, tls) = certificate(&["unrelated.example"]);
    world.mx.now(Script { tls: Some(tls), rules: vec![("STARTTLS", "454 4.7.0 not now")], ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    assert!(!world.mx.only_message().tls);
}

#[tokio::test]
async fn what_a_server_cannot_carry_bounces_with_the_reason() {
    let world = World::open().await;
    world.mx.now(Script { offers: vec!["SIZE 100"], ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.submit(&["b@eight.example"], "Subject: x\r\n\r\ngr\u{fc}n\r\n".as_bytes()).await.unwrap();
    world.set("eight.example", Kind::A, &["127.0.0.7"]);
    let seven_bit =
        world.server([127, 0, 0, 7], Script { rules: vec![("EHLO", "502 what")], ..Script::default() }).await;
    world.queue.settle().await;
    let bounces = world.inbox("hello").await.join("");
    assert!(bounces.contains("Status: 5.3.4") && bounces.contains("Status: 5.6.3"), "{bounces}");
    assert!(seven_bit.heard()[0].commands.iter().any(|c| c.starts_with("HELO ")));
    assert!(world.queued().await.is_empty());

    world.queue.close_idle().await;
    world.mx.now(Script { offers: vec!["SIZE", "8BITMIME"], ..Script::default() });
    world.submit(&["a@example.org"], "Subject: x\r\n\r\ngr\u{fc}n\r\n".as_bytes()).await.unwrap();
    world.queue.settle().await;
    let heard = world.mx.only_message();
    let size = format!("MAIL FROM:<hello@inboxlayer.dev> SIZE={} BODY=8BITMIME", heard.messages[0].len());
    assert_eq!(heard.mail(), size);
}

fn relay(host: &str, port: u16) -> Option<Relay> {
    let (username, password) = (Some("user".into()), Some(Secret::new("pass")));
    Some(Relay { host: host.into(), port, username, password })
}

#[tokio::test]
async fn a_relay_gets_our_credentials_only_once_it_has_proven_its_name() {
    let (pem, tls) = certificate(&["relay.example"]);
    let script = Script { tls: Some(tls), offers: vec!["AUTH CRAM-MD5 PLAIN"], ..Script::default() };
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), script.clone()).await;
    let roots = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(roots.path(), pem).unwrap();

    let trusting = World::configured(|config| {
        config.queue.relay = relay("relay.example", server.address.port());
        config.queue.extra_roots = Some(roots.path().to_owned());
    })
    .await;
    trusting.send(&["a@example.org"]).await;
    trusting.queue.settle().await;
    let heard = server.only_message();
    assert!(heard.tls && heard.commands.iter().any(|c| c == "AUTH PLAIN AHVzZXIAcGFzcw=="), "{:?}", heard.commands);
    assert!(trusting.mx.heard().is_empty());

    // The same relay under a name its certificate does not carry, and without the root.
    for name in ["other.example", "relay.example"] {
        let roots = (name == "other.example").then(|| roots.path().to_owned());
        let world = World::configured(|config| {
            config.queue.relay = relay(name, server.address.port());
            config.queue.extra_roots = roots;
        })
        .await;
        world.send(&["a@example.org"]).await;
        world.queue.settle().await;
        assert!(world.waiting().await.contains("no TLS with"), "{}", world.waiting().await);
    }
    // And one that offers no TLS.
    trusting.queue.close_idle().await;
    server.now(Script { offers: vec!["AUTH PLAIN"], ..Script::default() });
    trusting.send(&["a@example.org"]).await;
    trusting.queue.settle().await;
    assert!(trusting.waiting().await.contains("does not offer STARTTLS"));
    let auths = server.heard().iter().flat_map(|h| h.commands.clone()).filter(|c| c.starts_with("AUTH")).count();
    assert_eq!(auths, 1);
    // One that does not let us in is our operator's trouble: the mail waits.
    server.now(Script { rules: vec![("AUTH", "535 5.7.8 no")], ..script });
    trusting.next_try().await;
    assert!(trusting.waiting().await.contains("credentials"));
}

#[tokio::test]
async fn an_answer_without_end_is_not_listened_to() {
    let world = World::open().await;
    // Empty lines that are never the last one, and far more than is read.
    let endless: &'static str = Box::leak("250-\r\n".repeat(4_000_000).into_boxed_str());
    world.mx.now(Script { rules: vec![("MAIL", endless)], ..Script::default() });
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    assert!(world.waiting().await.contains("no end"), "{}", world.waiting().await);
}
