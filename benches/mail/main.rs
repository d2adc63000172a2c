//! Mail throughput of one machine: accepted submissions and deliveries per second, IMAP fetches per second, the server's CPU
//! time for each, memory at rest and per idle IMAP connection. With `--peers` Postfix and Dovecot do the same work in the same
//! run, alternating; with `--engines` one daemon on SQLite, and one, two and three on PostgreSQL.
//!
//! `cargo bench --bench mail` · `cargo bench --bench mail -- fetch list` (some of the stages) ·
//! `cargo bench --bench mail -- --peers` (root; Debian's postfix and dovecot-imapd) ·
//! `cargo bench --bench mail --features cluster -- --engines` (Debian's postgresql) · the same with `--inboxes=100000`: one daemon on
//! PostgreSQL, with that number of other inboxes, of ten messages each
//!
//! Everything is on loopback and ends by itself. Every server relays outbound mail to the same sink.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod load;
#[path = "../common/ours.rs"]
mod ours;
mod peers;
mod postgres;
mod sink;
#[path = "../common/target.rs"]
mod target;

use anyhow::Result;
use std::time::{Duration, Instant};
use target::{Target, cpu_time, resident};

const CONNECTIONS: usize = 20;
const SIZE: usize = 10 * 1024;
const MESSAGES: usize = 500;
const IDLE: usize = 200;
/// That write, where engines are compared.
const ACCOUNTS: usize = 20;
/// In each of the inboxes that are only there.
const MESSAGES_EACH: usize = 10;
/// Time limit for the queue to deliver accepted mail.
const DRAIN: Duration = Duration::from_secs(300);

/// What is measured, by the names that select it on the command line.
const STAGES: &[&str] = &["memory", "accept", "submit", "append", "commit", "fetch", "list", "receive"];

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    // `cargo test --benches` and `cargo bench` pass options of the standard harness.
    let options: Vec<String> = std::env::args().skip(1).collect();
    let quick = options.iter().any(|o| o == "--quick");
    let with_peers = options.iter().any(|o| o == "--peers");
    let with_engines = options.iter().any(|o| o == "--engines");
    // Inboxes that are there beside the one that is used, with ten messages each; on PostgreSQL alone.
    let inboxes: usize = options.iter().find_map(|o| o.strip_prefix("--inboxes=")?.parse().ok()).unwrap_or(0);
    let named: Vec<&str> = STAGES.iter().copied().filter(|stage| options.iter().any(|o| o == stage)).collect();
    let stages = if named.is_empty() { STAGES.to_vec() } else { named };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let span = Duration::from_secs(match (quick, with_engines) {
            (true, _) => 1,
            // For each of four setups.
            (false, true) => 4,
            (false, false) => 8,
        });
        let sink = sink::Sink::start().await?;
        let pair = ours::Pair::make()?;
        let database = if with_engines { Some(postgres::Cluster::start().await?) } else { None };
        let ours = start_ours(&pair, &sink, database.as_ref(), inboxes).await?;
        let peers = if with_peers { Some(peers::Server::start(&pair, sink.address).await?) } else { None };
        let rounds = if quick { 1 } else { 3 };
        let mut targets: Vec<Target> = ours.iter().map(|ours| ours.target.clone()).collect();
        targets.extend(peers.iter().map(|p| p.target.clone()));
        let mut figures = vec![Figures::default(); targets.len()];
        for target in &targets {
            load::fill(target, MESSAGES, SIZE).await?;
        }
        for round in 1..=rounds {
            for (target, figures) in targets.iter().zip(&mut figures) {
                eprintln!("round {round} of {rounds}: {}", target.name);
                for stage in &stages {
                    figures.extend(measure(stage, target, &sink, span, quick, inboxes).await?);
                }
            }
        }
        print(&targets, &figures);
        println!("sink: {} messages arrived", sink.count());
        for ours in ours {
            let name = ours.target.name;
            let (writes, retries) = ours.stop().await?;
            if writes > 0 {
                println!("{name}: {writes} writes, run again {retries} times");
            }
        }
        if let Some(peers) = peers {
            peers.stop().await?;
        }
        Ok(())
    })
}

/// One daemon on SQLite; where there is a server of PostgreSQL, also one, two and three on that.
async fn start_ours(
    pair: &ours::Pair,
    sink: &sink::Sink,
    database: Option<&postgres::Cluster>,
    inboxes: usize,
) -> Result<Vec<ours::Server>> {
    if let Some(database) = database.filter(|_| inboxes > 0) {
        let setup = ours::Setup {
            name: "PostgreSQL, 1",
            daemons: 1,
            accounts: ACCOUNTS,
            postgres: Some((database.create("scale")?, database.pid())),
        };
        let server = ours::Server::start(pair, sink.address, &setup).await?;
        eprintln!("filling {inboxes} inboxes");
        database.fill("scale", inboxes, MESSAGES_EACH)?;
        return Ok(vec![server]);
    }
    let accounts = if database.is_some() { ACCOUNTS } else { 1 };
    let mut setups = vec![ours::Setup { name: "Inboxlayer", daemons: 1, accounts, postgres: None }];
    if let Some(database) = database {
        for (name, daemons) in [("PostgreSQL, 1", 1), ("PostgreSQL, 2", 2), ("PostgreSQL, 3", 3)] {
            let url = database.create(&format!("bench{daemons}"))?;
            setups.push(ours::Setup { name, daemons, accounts, postgres: Some((url, database.pid())) });
        }
    }
    let mut servers = Vec::new();
    for setup in &setups {
        servers.push(ours::Server::start(pair, sink.address, setup).await?);
    }
    Ok(servers)
}

/// Figures with their labels, of all rounds.
type Figures = Vec<(&'static str, f64)>;

async fn measure(
    stage: &str,
    target: &Target,
    sink: &sink::Sink,
    span: Duration,
    quick: bool,
    inboxes: usize,
) -> Result<Figures> {
    let (cpu, begin) = (cpu_time(target), Instant::now());
    // Microseconds for each of `count`.
    let cpu_of_each = |count: f64| (cpu_time(target) - cpu).as_secs_f64() * 1e6 / count;
    Ok(match stage {
        "memory" => {
            let idle = if quick { 20 } else { IDLE };
            let at_rest = resident(target);
            let waiting = load::idle(target, idle).await?;
            let per_idle = (resident(target) - at_rest) / idle as f64;
            drop(waiting);
            vec![("memory at rest, KiB", at_rest), ("memory per idle IMAP connection, KiB", per_idle)]
        }
        "accept" => {
            let before = sink.count();
            sink.pause(true);
            let (rate, accepted) = load::submissions(target, CONNECTIONS, SIZE, span).await?;
            let cpu = cpu_of_each(accepted as f64);
            sink.pause(false);
            arrived(target, sink, before + accepted).await?;
            vec![("accepted submissions/s, the relay not answering", rate), ("  CPU µs for each", cpu)]
        }
        "submit" => {
            let before = sink.count();
            let (rate, accepted) = load::submissions(target, CONNECTIONS, SIZE, span).await?;
            arrived(target, sink, before + accepted).await?;
            let delivered = accepted as f64 / begin.elapsed().as_secs_f64();
            vec![
                ("accepted submissions/s (TLS, AUTH, 10 KiB, 20 connections)", rate),
                ("messages delivered to the relay/s, from the first submission to the last delivery", delivered),
                ("  CPU µs for each, accepted and delivered", cpu_of_each(accepted as f64)),
            ]
        }
        "append" => {
            let (rate, appended) = load::appends(target, 8, SIZE, span).await?;
            let cpu = cpu_of_each(appended as f64);
            vec![
                ("IMAP APPENDs/s (10 KiB, 8 connections, each to its mailbox)", rate),
                ("  CPU µs for each appended", cpu),
            ]
        }
        "commit" => {
            let (rate, done) = load::commits(target, span).await?;
            let cpu = cpu_of_each(done as f64);
            vec![("commits/s of one client, one after the other (IMAP STORE)", rate), ("  CPU µs for each commit", cpu)]
        }
        "receive" if inboxes > 0 && !target.mx.is_empty() => {
            let (rate, accepted) = load::received(target, CONNECTIONS, inboxes, SIZE, span).await?;
            let cpu = cpu_of_each(accepted as f64);
            vec![("messages from outside accepted/s, each to another inbox", rate), ("  CPU µs for each accepted", cpu)]
        }
        "receive" => Vec::new(),
        "fetch" => {
            let (rate, fetched) = load::fetches(target, 4, MESSAGES, span).await?;
            let cpu = cpu_of_each(fetched as f64);
            vec![("IMAP whole-message FETCHes/s (10 KiB, 4 connections)", rate), ("  CPU µs for each fetched", cpu)]
        }
        "list" => {
            let (rate, listed) = load::listings(target, MESSAGES, span).await?;
            let cpu = cpu_of_each(listed as f64);
            vec![("IMAP messages listed/s (flags, envelope, size)", rate), ("  CPU µs for each listed", cpu)]
        }
        other => anyhow::bail!("no stage {other}"),
    })
}

/// Waits until `count` messages have arrived.
async fn arrived(target: &Target, sink: &sink::Sink, count: u64) -> Result<()> {
    let begin = Instant::now();
    while sink.count() < count {
        anyhow::ensure!(begin.elapsed() < DRAIN, "{}: mail is still in the queue", target.name);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn print(targets: &[Target], figures: &[Figures]) {
    print!("{:<84}", "median of the rounds");
    targets.iter().for_each(|t| print!("{:>20}", t.name));
    println!();
    let mut labels: Vec<&str> = Vec::new();
    for (label, _) in figures.iter().flatten() {
        if !labels.contains(label) {
            labels.push(label);
        }
    }
    for label in labels {
        print!("{label:<84}");
        for figures in figures {
            let mut of_rounds: Vec<f64> = figures.iter().filter(|(of, _)| *of == label).map(|(_, f)| *f).collect();
            of_rounds.sort_by(f64::total_cmp);
            print!("{:>20.1}", of_rounds[of_rounds.len() / 2]);
        }
        println!();
    }
}
