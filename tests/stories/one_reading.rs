//! REST, FETCH and SEARCH read a message alike and correctly: the messages of `fixtures/messages/strange`, each with its expected
//! reading, and random ones.

use crate::clients::python;
use crate::daemon::Daemon;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Number of random messages: usually, and with `NIGHTLY`.
const GENERATED: [usize; 2] = [60, 2000];

#[test]
fn rest_fetch_and_search_read_alike() {
    let seed = std::env::var("SEED").unwrap_or_else(|_| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()).to_string()
    });
    let generated = GENERATED[usize::from(std::env::var_os("NIGHTLY").is_some())];
    let daemon = Daemon::start();
    let (host, port) = daemon.address("imaps");
    let (ca, user, token) = (daemon.ready("ca"), daemon.ready("inbox"), daemon.ready("token"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/messages/strange");
    let arguments = [host.as_str(), &port, ca, user, token, daemon.ready("http"), daemon.ready("inbox_id")];
    let (folder, count) = (folder.to_str().unwrap(), generated.to_string());
    let outcome = python("reading.py", &[&arguments[..], &[folder, &seed, &count]].concat(), b"");
    assert_eq!(outcome.code, 0, "SEED={seed}: {}", outcome.stderr);
    let read = outcome.json();
    assert!(read["messages"].as_u64() >= Some(generated as u64 + 60), "{read}");
    let wrong: Vec<_> = read["wrong"].as_array().unwrap().iter().filter_map(|text| text.as_str()).collect();
    assert!(wrong.is_empty(), "SEED={seed}:\n{}", wrong.join("\n"));
}
