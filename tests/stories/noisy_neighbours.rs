//! Two tenants and an outsider attack the daemon, while another tenant sends, receives and reads over every listener.
//!
//! Quiet and noisy periods alternate, so that other load on the machine affects both. In the noisy ones no request of the tenant is
//! refused, and of each kind of its work, delivery of its mail included, a share of the quiet periods' is done. The asserted share is
//! far below that of a release build on an idle machine (docs/benchmarks.md): here tests, attackers and daemon share the processors.
//! `python/noise.py` has the attacks.

use crate::cancelled_clients::{memory, tenants};
use crate::clients::{python, python_command};
use crate::serve::{Relay, Serve};
use inboxlayer::dns::authority::play::{Kind, Play};
use inboxlayer::dns::authority::{Authority, Zones};
use inboxlayer::net::listener::Shutdown;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

/// The daemon's maximum memory in kB: its budget of 512 MiB, and as much again for itself and the attackers' work.
const MEMORY: u64 = 1024 * 1024;

/// Under attack, at least one part in this many of the quiet periods' work is done.
const SHARE: u64 = 50;
/// Mail hosts that accept connections and never greet: `slow1.example` at 127.9.0.1, and so on.
const SLOW_HOSTS: usize = 20;

/// A DNS server in which every other name is at 127.0.0.1, where the relay is.
fn dns() -> SocketAddr {
    let play = Play::new(Ipv4Addr::LOCALHOST);
    for n in 1..=SLOW_HOSTS {
        play.set(&format!("slow{n}.example"), Kind::A, &[format!("127.9.0.{n}")], 60).unwrap();
    }
    let (tell, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let authority = Authority::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
            tell.send(authority.address()).unwrap();
            authority.serve(Zones::of_play(play), false, Shutdown::new()).await;
        });
    });
    address.recv().unwrap()
}

#[test]
fn noisy_neighbours() {
    let (rounds, seconds) = if std::env::var_os("NIGHTLY").is_some() { (5, 60) } else { (3, 10) };
    let relay = Relay::start();
    let resolvers = format!("resolvers = [\"{}\"]", dns());
    let port = relay.address.port();
    let limits = "[limits]\nmessages_per_hour = 1000000\nrecipients_per_hour = 1000000\n";
    let daemon = Serve::start_in(&[], &resolvers, &format!("smtp_port = {port}"), limits);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let mut accounts = tenants(&daemon, &["honest", "noisy", "second"]);
    (accounts["smtp_port"], accounts["slow_hosts"]) = (json!(port), json!(SLOW_HOSTS));
    std::fs::write(&config, accounts.to_string()).unwrap();
    let (config, seconds) = (config.to_str().unwrap(), seconds.to_string());

    let mut served = [BTreeMap::new(), BTreeMap::new()];
    let mut attacks = Vec::new();
    for _ in 0..rounds {
        for (is_noisy, counts) in [false, true].into_iter().zip(&mut served) {
            let noise = is_noisy.then(|| {
                let mut command = python_command("noise.py");
                command.args([config, &seconds]).stdout(Stdio::piped()).spawn().unwrap()
            });
            let delivered = || relay.subjects().values().map(|count| u64::from(*count)).sum::<u64>();
            let before = delivered();
            let honest = python("honest.py", &[config, &seconds], b"").succeeded().json();
            assert_eq!(honest["errors"], json!([]), "noisy: {is_noisy}, {honest}");
            for (kind, count) in honest["served"].as_object().unwrap() {
                *counts.entry(kind.clone()).or_insert(0) += count.as_u64().unwrap();
            }
            *counts.entry("deliver".to_owned()).or_insert(0) += delivered() - before;
            if let Some(noise) = noise {
                let ended = noise.wait_with_output().unwrap();
                assert!(ended.status.success(), "the attackers' standard error says why");
                attacks.push(serde_json::from_slice::<Value>(&ended.stdout).unwrap());
                let memory = memory(&daemon);
                assert!(memory < MEMORY, "{memory} kB in memory");
            }
        }
    }
    let [quiet, noisy] = served;
    println!("quiet {quiet:?}, noisy {noisy:?}, {attacks:#?}");
    for (kind, count) in &quiet {
        assert!(*count > 0 && noisy[kind] * SHARE >= *count, "{kind}: {quiet:?} when quiet, {noisy:?} with noise");
    }
}
