//! Connections that carry several messages, and how many there are at once.

use super::server::{Script, certificate};
use super::*;
use tokio::sync::Semaphore;

/// One attempt at a time, so that each message finds the connection of the one before.
async fn one_at_a_time() -> World {
    World::configured(|config| config.queue.concurrency = 1).await
}

impl World {
    async fn send_many(&self, messages: usize) {
        for number in 0..messages {
            self.send(&[&format!("r{number}@example.org")]).await;
        }
    }
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The recipients named so far: each once.
fn recipients(server: &Server) -> Vec<String> {
    let mut named: Vec<_> =
        server.heard().into_iter().flat_map(|h| h.commands).filter(|c| c.starts_with("RCPT")).collect();
    named.sort();
    named
}

#[tokio::test]
async fn several_messages_leave_over_one_connection() {
    let world = one_at_a_time().await;
    world.send_many(5).await;
    world.queue.settle().await;
    assert!(world.queued().await.is_empty());
    let [heard] = &world.mx.heard()[..] else { panic!("{:?}", world.mx.heard()) };
    assert_eq!(heard.messages.len(), 5);
    let verbs: Vec<_> = heard.commands.iter().map(|c| c.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(verbs, [&["EHLO"][..], &["MAIL", "RCPT", "DATA"].repeat(5)].concat());
    // One that was refused leaves a transaction open.
    world.mx.now(Script { rules: vec![("RCPT", "550 5.1.1 no such user")], ..Script::default() });
    world.send(&["nobody@example.org"]).await;
    world.queue.settle().await;
    world.mx.now(Script::default());
    world.send(&["somebody@example.org"]).await;
    world.queue.settle().await;
    let [heard] = &world.mx.heard()[..] else { panic!("{:?}", world.mx.heard()) };
    assert_eq!((heard.messages.len(), world.mx.commands("RSET")), (6, 1));
}

#[tokio::test]
async fn a_connection_carries_a_hundred_messages() {
    let world = World::configured(|config| {
        config.queue.concurrency = 1;
        config.limits.messages_per_hour = 10_000;
    });
    let world = world.await;
    world.send_many(101).await;
    world.queue.settle().await;
    let messages: Vec<_> = world.mx.heard().iter().map(|heard| heard.messages.len()).collect();
    assert_eq!(messages, [100, 1]);
    until(|| world.mx.commands("QUIT") == 1).await;
}

#[tokio::test]
async fn a_connection_that_is_dead_when_it_is_used_again_fails_no_attempt() {
    // Closed by the server after a message, or when the next one comes: with a reply or without, at any command.
    let mut scripts = vec![Script { closes: true, ..Script::default() }];
    for begin in ["MAIL", "RCPT", "DATA"] {
        for reply in ["421 4.4.2 too many messages on this connection", "!"] {
            scripts.push(Script { rules: vec![(begin, reply)], second_message: true, ..Script::default() });
        }
    }
    let later = vec![("MAIL", "451 4.7.1 too many messages on this connection")];
    scripts.push(Script { rules: later, second_message: true, ..Script::default() });
    for script in scripts {
        let name = format!("{:?}", script.rules);
        let world = one_at_a_time().await;
        world.mx.now(script);
        world.send_many(3).await;
        world.queue.settle().await;
        assert!(world.queued().await.is_empty(), "{name}: {:?}", world.queued().await);
        assert_eq!((world.mx.messages(), world.mx.heard().len()), (3, 3), "{name}");
    }
}

#[tokio::test]
async fn a_message_that_a_dead_connection_may_have_delivered_is_not_sent_twice() {
    let world = one_at_a_time().await;
    world.mx.now(Script { rules: vec![("END", "!")], second_message: true, ..Script::default() });
    world.send_many(2).await;
    world.queue.settle().await;
    assert_eq!((world.mx.messages(), world.mx.heard().len()), (2, 1));
    assert!(world.waiting().await.contains("closed the connection"));
    assert_eq!(world.queued().await[0].deliveries[0].attempts, 1);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_a_while() {
    let world = World::open().await;
    world.send_many(1).await;
    world.queue.settle().await;
    assert_eq!((world.mx.sessions(), world.mx.commands("QUIT")), (1, 0));
    until(|| world.mx.commands("QUIT") == 1 && world.mx.sessions() == 0).await;
}

#[tokio::test]
async fn the_queue_closes_its_connections_when_it_ends() {
    let world = World::open().await;
    world.send_many(1).await;
    let shutdown = Shutdown::new();
    let running = tokio::spawn(world.queue.clone().run(shutdown.clone()));
    until(|| world.mx.messages() == 1).await;
    shutdown.request();
    running.await.unwrap();
    assert_eq!(world.mx.commands("QUIT"), 1);
}

#[tokio::test]
async fn tls_sessions_are_resumed() {
    let world = World::open().await;
    let (_, tls) = certificate(&["unrelated.example"]);
    world.mx.now(Script { tls: Some(tls), ..Script::default() });
    for _ in 0..2 {
        world.send_many(1).await;
        world.queue.settle().await;
        world.queue.close_idle().await;
    }
    let heard = world.mx.heard();
    assert_eq!(
        heard.iter().map(|heard| (heard.tls, heard.is_resumed)).collect::<Vec<_>>(),
        [(true, false), (true, true)]
    );
}

#[tokio::test]
async fn a_server_that_takes_mail_gets_more_connections() {
    let patient = Timeouts { end_of_data: Duration::from_secs(3600), ..SHORT };
    let world = World::with_times(AttemptTimes { smtp: patient, ..AttemptTimes::default() }, |_| {}).await;
    let gate = Arc::new(Semaphore::new(0));
    world.mx.now(Script { gate: Some(Arc::clone(&gate)), ..Script::default() });
    world.send_many(60).await;
    let shutdown = Shutdown::new();
    tokio::spawn(world.queue.clone().run(shutdown.clone()));
    until(|| world.mx.messages() == 5).await;
    assert_eq!(world.mx.sessions(), 5);
    // Each success makes room for two.
    for done in 1..=11 {
        gate.add_permits(1);
        until(|| world.mx.messages() == done + 5 + done).await;
        assert_eq!(world.mx.sessions(), 5 + done);
    }
    gate.add_permits(1);
    until(|| world.mx.messages() == 12 + 16).await;
    assert_eq!(world.mx.sessions(), 16, "an address gets no more");
    gate.add_permits(100);
    until(|| world.mx.messages() == 60).await;
    assert_eq!(world.mx.heard().len(), 16);
    shutdown.request();
}

#[tokio::test]
async fn a_server_that_takes_few_connections_is_not_asked_again_and_again() {
    let world = World::open().await;
    world.mx.now(Script { sessions: Some(2), ..Script::default() });
    world.send_many(60).await;
    world.queue.settle().await;
    while !world.queued().await.is_empty() {
        world.next_try().await;
    }
    let named = recipients(&world.mx);
    assert_eq!((named.len(), world.mx.messages()), (60, 60), "{named:?}");
    let refused = world.mx.heard().iter().filter(|heard| heard.commands.is_empty()).count();
    assert!((1..=15).contains(&refused), "{refused}");
}

#[tokio::test]
async fn idle_connections_to_an_address_give_way_to_others() {
    let world = one_at_a_time().await;
    for number in 0..20 {
        world.send(&[&format!("a@d{number}.example")]).await;
    }
    world.queue.settle().await;
    assert_eq!((world.mx.messages(), world.mx.heard().len()), (20, 20), "each domain is a host of its own");
    until(|| world.mx.commands("QUIT") == 4).await;
    assert_eq!(world.mx.sessions(), 16);
}
