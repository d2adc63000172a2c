//! A temporary refusal, wherever it comes: the next host is tried in the same attempt.

use super::server::{Script, certificate};
use super::*;

const FIRST: [u8; 4] = [127, 0, 0, 3];
const SECOND: [u8; 4] = [127, 0, 0, 4];

/// `example.org` has a preferred host at [`FIRST`] and another one at [`SECOND`].
async fn two_hosts(timeouts: Timeouts) -> World {
    let world = World::with_times(AttemptTimes { smtp: timeouts, ..AttemptTimes::default() }, |_| {}).await;
    world.set("example.org", Kind::Mx, &["10 first.example.org.", "20 second.example.org."]);
    world.set("first.example.org", Kind::A, &["127.0.0.3"]);
    world.set("second.example.org", Kind::A, &["127.0.0.4"]);
    world
}

fn rule(begin: &'static str, reply: &'static str) -> Script {
    Script { rules: vec![(begin, reply)], ..Script::default() }
}

#[tokio::test]
async fn every_kind_of_temporary_refusal_leads_to_the_next_host() {
    let world = two_hosts(SHORT).await;
    let second = world.server(SECOND, Script::default()).await;
    world.send(&["refused@example.org"]).await;
    world.queue.settle().await;
    assert_eq!(second.messages(), 1, "the first has no listener");

    let first = world.server(FIRST, Script::default()).await;
    let (_, tls) = certificate(&["unrelated.example"]);
    let wants_tls = Script { breaks_tls: true, ..rule("MAIL", "530 5.7.0 STARTTLS first") };
    let mut scripts = vec![wants_tls, Script { tls: Some(tls), ..rule("STARTTLS", "421 4.7.0 no TLS now") }];
    for begin in ["HELLO", "EHLO", "MAIL", "RCPT", "DATA"] {
        scripts.extend([rule(begin, "421 4.3.2 closing"), rule(begin, "451 4.3.0 not now"), rule(begin, "!")]);
    }
    scripts.push(rule("END", "451 4.3.0 not now"));
    for (done, script) in scripts.into_iter().enumerate() {
        let name = format!("{:?} breaks TLS: {}", script.rules, script.breaks_tls);
        first.now(script);
        let tried = first.heard().len();
        world.send(&["a@example.org"]).await;
        world.queue.settle().await;
        assert_eq!(second.messages(), done + 2, "{name}: {:?}", world.queued().await);
        assert!(world.queued().await.is_empty(), "{name}");
        assert!(first.heard().len() > tried, "{name}");
        world.queue.close_idle().await;
    }
}

#[tokio::test]
async fn a_host_that_does_not_answer_in_time_leads_to_the_next() {
    let timeouts = Timeouts { command: Duration::from_millis(300), ..SHORT };
    let world = two_hosts(timeouts).await;
    let second = world.server(SECOND, Script::default()).await;
    let first = world.server(FIRST, Script::default()).await;
    for (done, begin) in ["HELLO", "EHLO", "MAIL", "RCPT", "DATA"].into_iter().enumerate() {
        first.now(rule(begin, "?"));
        world.send(&["a@example.org"]).await;
        world.queue.settle().await;
        assert_eq!(second.messages(), done + 1, "{begin}: {:?}", world.queued().await);
        world.queue.close_idle().await;
    }
    assert!(world.queued().await.is_empty());
}

#[tokio::test]
async fn only_recipients_that_are_not_settled_are_offered_to_the_next_host() {
    let world = two_hosts(SHORT).await;
    let rules = vec![("RCPT TO:<no@", "550 5.1.1 no such user"), ("RCPT TO:<later@", "451 4.3.0 not now")];
    let first = world.server(FIRST, Script { rules, ..Script::default() }).await;
    let second = world.server(SECOND, Script::default()).await;
    world.send(&["yes@example.org", "no@example.org", "later@example.org"]).await;
    world.queue.settle().await;
    assert_eq!((first.messages(), second.messages()), (1, 1));
    let named: Vec<_> = second.only_message().commands.into_iter().filter(|c| c.starts_with("RCPT")).collect();
    assert_eq!(named, ["RCPT TO:<later@example.org>"]);
    assert!(world.queued().await.is_empty());
    let bounce = world.bounce().await;
    assert!(bounce.contains("no@example.org") && !bounce.contains("later@example.org"), "{bounce}");
}

#[tokio::test]
async fn what_a_host_may_have_taken_is_offered_to_no_other() {
    let world = two_hosts(SHORT).await;
    let first = world.server(FIRST, rule("END", "!")).await;
    let second = world.server(SECOND, Script::default()).await;
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    assert_eq!((first.messages(), second.heard().len()), (1, 0));
    assert!(world.waiting().await.contains("closed the connection"), "{}", world.waiting().await);
    // And what one has refused for good neither.
    first.now(rule("RCPT", "550 5.1.1 no such user"));
    world.next_try().await;
    assert!(world.queued().await.is_empty() && second.heard().is_empty());
    assert!(world.bounce().await.contains("550 5.1.1"));
}

#[tokio::test]
async fn with_every_host_refusing_the_message_waits() {
    let world = two_hosts(SHORT).await;
    let first = world.server(FIRST, rule("RCPT", "451 4.7.1 greylisted")).await;
    let second = world.server(SECOND, rule("RCPT", "451 4.7.1 greylisted")).await;
    world.send(&["a@example.org"]).await;
    world.queue.settle().await;
    assert_eq!(world.waiting().await, "451 4.7.1 greylisted");
    assert_eq!((first.commands("RCPT"), second.commands("RCPT")), (1, 1));
    second.now(Script::default());
    world.next_try().await;
    assert_eq!(second.messages(), 1);
    assert!(world.queued().await.is_empty());
}
