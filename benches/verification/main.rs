//! The cost of verification: checks per second with a DNS server on the same machine, the cost of a check with 10² to 10⁵ domains in
//! the store, the memory for 10⁵ domains, and the restart with 10⁵ overdue domains.
//!
//! `cargo bench --bench verification` · `cargo bench --bench verification -- --quick`
//!
//! The verifier, the store and the DNS server (over real sockets, with computed answers) share one process and its cores. Everything is
//! on loopback and ends by itself.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod dns;
mod fleet;

use anyhow::Result;
use fleet::Fleet;
use std::time::Duration;

/// Checks per round.
const CHECKS: usize = 100;

fn main() -> Result<()> {
    // `cargo bench` passes options of the standard harness.
    let quick = std::env::args().any(|option| option == "--quick");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (rounds, sizes): (usize, &[usize]) =
            if quick { (3, &[100, 1000]) } else { (21, &[100, 1000, 10_000, 100_000]) };
        let mut fleet = Fleet::new().await?;
        let empty = resident();
        println!("{:<12}{:>12}{:>16}{:>20}{:>12}", "domains", "checks/s", "CPU ms/check", "questions/check", "RSS MiB");
        for size in sizes {
            fleet.grow(*size).await?;
            // The first check of a domain inserts rows that later ones update.
            for round in 0..rounds {
                fleet.check(round, CHECKS).await?;
            }
            let (queries, used, mut rates) = (fleet.questions(), cpu(), Vec::new());
            for round in 0..rounds {
                rates.push(CHECKS as f64 / fleet.check(round, CHECKS).await?.as_secs_f64());
            }
            let checks = (rounds * CHECKS) as f64;
            rates.sort_by(f64::total_cmp);
            let (queries, used) = ((fleet.questions() - queries) as f64 / checks, (cpu() - used) * 1000.0 / checks);
            println!("{size:<12}{:>12.0}{used:>16.2}{queries:>20.1}{:>12.1}", rates[rates.len() / 2], resident());
        }
        println!("memory: {empty:.1} MiB with an empty store; {:.1} MiB with {} domains", resident(), fleet.size());

        let span = Duration::from_secs(if quick { 5 } else { 30 });
        let back = fleet.come_back(span).await?;
        println!("restart with {} overdue domains, at most {} checks/s:", back.overdue, back.most_per_second);
        println!("  spread in {:.0} ms", back.spread_ms);
        println!("  checks in each second: {:?}", back.per_second);
        println!("  memory then: {:.1} MiB", resident());
        let highest = back.per_second.iter().max().copied().unwrap_or_default();
        anyhow::ensure!(highest <= back.most_per_second as usize * 11 / 10 + 1, "a burst: {highest} in one second");
        Ok(())
    })
}

/// Resident set size of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// Processor time of this process in seconds; a tick is a hundredth.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let field =
        |at: usize| after_name.split(' ').nth(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (field(11) + field(12)) / 100.0
}
