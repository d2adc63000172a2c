//! One tenant and one outsider do the worst they can; another tenant sends, receives and reads over every listener as if they
//! were not there.
//!
//! Quiet and noisy times take turns, so that what else the machine does counts for both. In the noisy ones no request of the
//! tenant is refused, and of each kind of its work a share of the quiet times' is done. The share asserted is far below what
//! a release build on an idle machine serves (docs/benchmarks.md): here tests, attackers and daemon share the processors.
//! `python/noise.py` has the attacks.

use crate::cancelled_clients::{memory, tenants};
use crate::clients::{python, python_command};
use crate::serve::{Relay, Serve};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Stdio;

/// What the daemon may have in memory, in kB: its budget of 512 MB, and as much again for itself and the attackers' work.
const MEMORY: u64 = 1024 * 1024;

/// Of what is served in quiet times, what is served at least under attack: one part in so many.
const SHARE: u64 = 50;

#[test]
fn noisy_neighbours() {
    let (rounds, seconds) = if std::env::var_os("NIGHTLY").is_some() { (5, 60) } else { (3, 10) };
    let relay = Relay::start();
    let daemon = Serve::start(relay.address, "[limits]\nmessages_per_hour = 1000000\nrecipients_per_hour = 1000000\n");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    std::fs::write(&config, tenants(&daemon, &["honest", "noisy"]).to_string()).unwrap();
    let (config, seconds) = (config.to_str().unwrap(), seconds.to_string());

    let mut served = [BTreeMap::new(), BTreeMap::new()];
    let mut attacks = Vec::new();
    for _ in 0..rounds {
        for (is_noisy, counts) in [false, true].into_iter().zip(&mut served) {
            let noise = is_noisy.then(|| {
                let mut command = python_command("noise.py");
                command.args([config, &seconds]).stdout(Stdio::piped()).spawn().unwrap()
            });
            let honest = python("honest.py", &[config, &seconds], b"").succeeded().json();
            assert_eq!(honest["errors"], json!([]), "noisy: {is_noisy}, {honest}");
            for (kind, count) in honest["served"].as_object().unwrap() {
                *counts.entry(kind.clone()).or_insert(0) += count.as_u64().unwrap();
            }
            if let Some(noise) = noise {
                let ended = noise.wait_with_output().unwrap();
                assert!(ended.status.success(), "the attackers say why");
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
