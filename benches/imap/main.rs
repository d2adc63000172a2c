//! IMAP beside Debian's Dovecot, on Maildir and on sdbox: log-ins, APPEND, FETCH, SEARCH, SORT, STORE, the time from an accepted delivery
//! to EXISTS, resynchronisation by QRESYNC, and what idle connections take. Every server has the same messages, and syncs what it
//! accepts; they take turns in each round, and each ratio is of one run.
//!
//! `cargo bench --bench imap` (root; Debian's dovecot-imapd and dovecot-lmtpd) · `-- --quick` · `-- search sort` (some of the stages) ·
//! `-- --messages=20000` (in the large mailbox; 100,000) · `-- --idle=1000` (connections; 5,000) · `-- --rounds=1` (3) · `-- --alone` (no peers)
//!
//! Everything is on loopback and ends by itself.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod dovecot;
#[path = "../common/ours.rs"]
mod ours;
mod stages;
#[path = "../common/target.rs"]
mod target;

use anyhow::{Context, Result};
use stages::{Better, Figure, Scale, Stage};
use std::net::SocketAddr;
use std::time::Duration;
use target::Target;

/// A stage that takes longer has failed.
const STAGE: Duration = Duration::from_secs(300);

fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    // `cargo test --benches` and `cargo bench` pass options of the standard harness.
    let options: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| options.iter().any(|option| option == name);
    let number = |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.parse().ok());
    let quick = has("--quick");
    let scale = Scale {
        span: Duration::from_secs(if quick { 1 } else { 6 }),
        small: if quick { 500 } else { 10_000 },
        large: number("--messages=").unwrap_or(if quick { 2_000 } else { 100_000 }),
        idle: number("--idle=").unwrap_or(if quick { 50 } else { 5_000 }),
        pushes: if quick { 5 } else { 30 },
    };
    let named: Vec<Stage> = Stage::ALL.iter().copied().filter(|stage| has(stage.name())).collect();
    let stages = if named.is_empty() { Stage::ALL.to_vec() } else { named };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let rounds = number("--rounds=").unwrap_or(if quick { 1 } else { 3 });
    runtime.block_on(run(&scale, &stages, rounds, has("--alone")))
}

async fn run(scale: &Scale, stages: &[Stage], rounds: usize, alone: bool) -> Result<()> {
    let pair = ours::Pair::make()?;
    // Nothing is sent: the relay is not there.
    let relay = SocketAddr::from(([127, 0, 0, 1], 9));
    let setup = ours::Setup { name: "Inboxlayer", daemons: 1, accounts: 1, postgres: None };
    let ours = ours::Server::start(&pair, relay, &setup).await?;
    let mut peers = Vec::new();
    for storage in dovecot::Storage::ALL.iter().filter(|_| !alone) {
        peers.push(dovecot::Server::start(&pair, *storage).await?);
    }
    let targets: Vec<Target> =
        [&ours.target].into_iter().chain(peers.iter().map(|peer| &peer.target)).cloned().collect();
    for target in &targets {
        eprintln!("filling {}", target.name);
        stages::fill(target, scale).await.with_context(|| format!("filling {}", target.name))?;
    }
    let mut figures: Vec<Vec<Figure>> = vec![Vec::new(); targets.len()];
    // By stage: what the servers have kept in memory of a stage is old in its next round.
    for round in 1..=rounds {
        for stage in stages.iter().filter(|stage| round == 1 || stage.is_repeated()) {
            for (target, figures) in targets.iter().zip(&mut figures) {
                eprintln!("round {round} of {rounds}: {}, {}", stage.name(), target.name);
                let measured = tokio::time::timeout(STAGE, stage.measure(target, scale)).await;
                match measured.map_err(Into::into).and_then(|measured| measured) {
                    Ok(measured) => figures.extend(measured),
                    Err(error) => eprintln!("{} {}: {error:#}", target.name, stage.name()),
                }
            }
        }
    }
    let Scale { small, large, idle, .. } = scale;
    println!(
        "FETCH and STORE: {small} messages of 10 KiB; SEARCH, SORT, QRESYNC: {large} of 2 KiB; {idle} idle connections"
    );
    print(&targets, &figures);
    ours.stop().await?;
    peers.into_iter().try_for_each(dovecot::Server::stop)
}

/// The median of the rounds of each figure, and how many times better the first target is than each other.
fn print(targets: &[Target], figures: &[Vec<Figure>]) {
    print!("| median of the rounds |");
    targets.iter().for_each(|target| print!(" {} |", target.name));
    targets.iter().skip(1).for_each(|target| print!(" ratio to {} |", target.name));
    print!("\n| --- |");
    (1..targets.len() * 2).for_each(|_| print!(" ---: |"));
    println!();
    let mut labels: Vec<(&str, Better)> = Vec::new();
    for figure in figures.iter().flatten() {
        if labels.iter().all(|(label, _)| *label != figure.label) {
            labels.push((figure.label, figure.better));
        }
    }
    for (label, better) in labels {
        let medians: Vec<Option<f64>> = figures.iter().map(|figures| median(figures, label)).collect();
        print!("| {label} |");
        let shown =
            |number: Option<f64>, digits: usize| number.map_or("failed".to_owned(), |n| format!("{n:.digits$}"));
        medians.iter().for_each(|median| print!(" {} |", shown(*median, 2)));
        for other in medians.iter().skip(1) {
            let ratio = medians[0].zip(*other).map(|(ours, other)| match better {
                Better::Higher => ours / other,
                Better::Lower => other / ours,
            });
            print!(" {} |", shown(ratio, 1));
        }
        println!();
    }
}

fn median(figures: &[Figure], label: &str) -> Option<f64> {
    let mut all: Vec<f64> = figures.iter().filter(|figure| figure.label == label).map(|figure| figure.value).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}
