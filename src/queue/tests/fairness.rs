//! Slow and crowded servers: whose mail is delivered meanwhile.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(3600);

/// Servers that accept connections and never greet, and how many they have.
struct Tarpits(Arc<AtomicUsize>);

impl Tarpits {
    /// At these addresses, of which each has so many domains: `d<number>.<name>.example`.
    async fn start(world: &World, name: &str, addresses: std::ops::Range<u8>, domains: usize) -> Self {
        let held = Arc::new(AtomicUsize::new(0));
        for (number, last) in addresses.enumerate() {
            let address = Ipv4Addr::new(127, 0, 3, last);
            let listener = TcpListener::bind((address, world.config.queue.smtp_port)).await.unwrap();
            let held = Arc::clone(&held);
            tokio::spawn(async move {
                let mut silent = Vec::new();
                while let Ok((connection, _)) = listener.accept().await {
                    silent.push(connection);
                    held.fetch_add(1, Ordering::SeqCst);
                }
            });
            let host = format!("mx{number}.{name}.example");
            world.set(&host, Kind::A, &[&address.to_string()]);
            for domain in number * domains..(number + 1) * domains {
                world.set(&format!("d{domain}.{name}.example"), Kind::Mx, &[&format!("10 {host}.")]);
            }
        }
        Self(held)
    }

    async fn until(&self, connections: usize) {
        while self.0.load(Ordering::SeqCst) < connections {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl World {
    /// One message to each of the domains.
    async fn flood(&self, login: &Login, name: &str, domains: usize) {
        for domain in 0..domains {
            self.submit_as(login, &[&format!("x@d{domain}.{name}.example")], MESSAGE).await.unwrap();
        }
    }

    /// Sends some messages and waits until the MX of `example.org` has them.
    async fn delivers(&self, login: &Login, messages: usize) {
        for number in 0..messages {
            self.submit_as(login, &[&format!("r{number}@example.org")], MESSAGE).await.unwrap();
        }
        while self.mx.messages() < messages {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

const PATIENT: AttemptTimes =
    AttemptTimes { smtp: Timeouts { connect: LONG, command: LONG, block: LONG, end_of_data: LONG }, slot: LONG };

#[tokio::test]
async fn servers_of_two_accounts_that_never_greet_leave_places_for_a_third() {
    let world = World::with_times(PATIENT, |_| {}).await;
    let (one, two) = (world.other_account("one").await, world.other_account("two").await);
    let first = Tarpits::start(&world, "first", 10..20, 10).await;
    let second = Tarpits::start(&world, "second", 20..30, 10).await;
    world.flood(&one, "first", 100).await;
    world.flood(&two, "second", 100).await;
    let shutdown = Shutdown::new();
    tokio::spawn(world.queue.clone().run(shutdown.clone()));
    // Each has as many of the 64 places as are free.
    first.until(21).await;
    second.until(21).await;
    world.delivers(&world.login, 20).await;
    let held = first.0.load(Ordering::SeqCst) + second.0.load(Ordering::SeqCst);
    assert!((42..=43).contains(&held), "{held}");
}

#[tokio::test]
async fn with_every_place_taken_slow_servers_lose_theirs_to_whoever_waits() {
    let times = AttemptTimes { slot: Duration::from_secs(2), ..PATIENT };
    let world = World::with_times(times, |config| config.queue.concurrency = 4).await;
    let tarpits = Tarpits::start(&world, "slow", 30..40, 10).await;
    // More accounts than places, each with a server of its own.
    for number in 0..6 {
        let login = world.other_account(&format!("slow{number}")).await;
        world.flood(&login, "slow", 10).await;
    }
    let shutdown = Shutdown::new();
    tokio::spawn(world.queue.clone().run(shutdown.clone()));
    tarpits.until(4).await;
    world.delivers(&world.login, 2).await;
    // They count as attempts, so that they come back less and less often.
    let queued = world.queued().await;
    let slow = queued.iter().flat_map(|message| &message.deliveries).filter(|delivery| delivery.attempts > 0);
    assert!(slow.clone().count() > 0);
    assert!(
        slow.clone().all(|delivery| delivery.last_reply.as_deref() == Some("the server is slow, and other mail waits"))
    );
}

#[tokio::test]
async fn one_address_gets_a_few_connections_however_many_domains_lead_there() {
    let world = World::with_times(PATIENT, |config| config.queue.concurrency = 100).await;
    let login = world.other_account("one").await;
    let tarpit = Tarpits::start(&world, "crowded", 40..41, 40).await;
    world.flood(&login, "crowded", 40).await;
    let shutdown = Shutdown::new();
    tokio::spawn(world.queue.clone().run(shutdown.clone()));
    tarpit.until(16).await;
    // The others are put off soon, and that is no attempt.
    let postponed = async || {
        let queued = world.queued().await;
        queued.iter().flat_map(|message| &message.deliveries).filter(|delivery| delivery.last_reply.is_some()).count()
    };
    while postponed().await < 24 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let queued = world.queued().await;
    assert!(queued.iter().flat_map(|message| &message.deliveries).all(|delivery| delivery.attempts == 0));
    assert_eq!(tarpit.0.load(Ordering::SeqCst), 16);
    world.delivers(&world.login, 4).await;
}

#[tokio::test]
async fn messages_under_way_have_a_budget_of_memory_with_a_share_for_each_account() {
    let world = World::with_times(PATIENT, |config| {
        config.limits.memory = 4_000_000;
        config.limits.memory_per_account = 2_000_000;
    });
    let world = world.await;
    let login = world.other_account("one").await;
    let tarpit = Tarpits::start(&world, "large", 50..51, 8).await;
    let large = [MESSAGE, &b"x".repeat(600_000), b"\r\n"].concat();
    for domain in 0..8 {
        world.submit_as(&login, &[&format!("x@d{domain}.large.example")], &large).await.unwrap();
    }
    let shutdown = Shutdown::new();
    tokio::spawn(world.queue.clone().run(shutdown.clone()));
    tarpit.until(3).await;
    let refused = async || {
        let queued = world.queued().await;
        let replies = queued.iter().flat_map(|message| &message.deliveries).filter_map(|d| d.last_reply.clone());
        replies.filter(|reply| reply == "limits.memory_per_account is used up by deliveries under way").count()
    };
    while refused().await < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(tarpit.0.load(Ordering::SeqCst), 3);
    world.delivers(&world.login, 4).await;
}
