//! Mail throughput of one machine: accepted submissions and deliveries per second, IMAP fetches per second, memory at rest and per
//! idle IMAP connection. With `--peers` Postfix and Dovecot do the same work in the same run, alternating.
//!
//! `cargo bench --bench mail` · `cargo bench --bench mail -- --peers` (root; Debian's postfix and dovecot-imapd)
//!
//! Everything is on loopback and ends by itself. Every server relays outbound mail to the same sink.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod load;
mod ours;
mod peers;
mod sink;

use anyhow::Result;
use load::Target;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 20;
const SIZE: usize = 10 * 1024;
const MESSAGES: usize = 500;
const IDLE: usize = 200;
/// Time limit for the queue to deliver accepted mail.
const DRAIN: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    // `cargo test --benches` and `cargo bench` pass options of the standard harness.
    let options: Vec<String> = std::env::args().skip(1).collect();
    let quick = options.iter().any(|o| o == "--quick");
    let with_peers = options.iter().any(|o| o == "--peers");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let span = Duration::from_secs(if quick { 1 } else { 8 });
        let sink = sink::Sink::start().await?;
        let pair = ours::Pair::make()?;
        let ours = ours::Server::start(&pair, sink.address).await?;
        let peers = if with_peers { Some(peers::Server::start(&pair, sink.address).await?) } else { None };
        let rounds = if quick { 1 } else { 3 };
        let mut targets = vec![ours.target.clone()];
        targets.extend(peers.iter().map(|p| p.target.clone()));
        let mut figures: Vec<Vec<[f64; 6]>> = vec![Vec::new(); targets.len()];
        for target in &targets {
            load::fill(target, MESSAGES, SIZE).await?;
        }
        for round in 1..=rounds {
            for (target, figures) in targets.iter().zip(&mut figures) {
                eprintln!("round {round} of {rounds}: {}", target.name);
                figures.push(measure(target, &sink, span, quick).await?);
            }
        }
        print(&targets, &figures);
        println!("sink: {} messages arrived", sink.count());
        ours.stop().await?;
        if let Some(peers) = peers {
            peers.stop().await?;
        }
        Ok(())
    })
}

async fn measure(target: &Target, sink: &sink::Sink, span: Duration, quick: bool) -> Result<[f64; 6]> {
    let idle = if quick { 20 } else { IDLE };
    let at_rest = resident(target);
    let waiting = load::idle(target, idle).await?;
    let per_idle = (resident(target) - at_rest) / idle as f64;
    drop(waiting);
    let (before, begin) = (sink.count(), Instant::now());
    let (submissions, accepted) = load::submissions(target, CONNECTIONS, SIZE, span).await?;
    // Each has one recipient.
    while sink.count() < before + accepted {
        anyhow::ensure!(begin.elapsed() < span + DRAIN, "{}: mail is still in the queue", target.name);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let delivered = accepted as f64 / begin.elapsed().as_secs_f64();
    let fetches = load::fetches(target, 4, MESSAGES, span).await?;
    let listings = load::listings(target, MESSAGES, span).await?;
    Ok([submissions, delivered, fetches, listings, at_rest, per_idle])
}

/// Proportional set size in KiB of the server's process tree: shared pages count once.
fn resident(target: &Target) -> f64 {
    std::thread::sleep(Duration::from_millis(300));
    let mut all = target.pids.clone();
    let mut next = 0;
    while next < all.len() {
        let children = format!("/proc/{0}/task/{0}/children", all[next]);
        let text = std::fs::read_to_string(children).unwrap_or_default();
        all.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        next += 1;
    }
    let pss = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Pss:"))?;
        line.split_ascii_whitespace().nth(1)?.parse::<f64>().ok()
    };
    all.iter().filter_map(pss).sum()
}

fn print(targets: &[Target], figures: &[Vec<[f64; 6]>]) {
    let rows = [
        "accepted submissions/s (TLS, AUTH, 10 KiB, 20 connections)",
        "messages delivered to the relay/s, from the first submission to the last delivery",
        "IMAP whole-message FETCHes/s (10 KiB, 4 connections)",
        "IMAP messages listed/s (flags, envelope, size)",
        "memory at rest, KiB",
        "memory per idle IMAP connection, KiB",
    ];
    print!("{:<84}", "median of the rounds");
    targets.iter().for_each(|t| print!("{:>20}", t.name));
    println!();
    for (row, label) in rows.iter().enumerate() {
        print!("{label:<84}");
        for figures in figures {
            let mut column: Vec<f64> = figures.iter().map(|f| f[row]).collect();
            column.sort_by(f64::total_cmp);
            print!("{:>20.1}", column[column.len() / 2]);
        }
        println!();
    }
}
