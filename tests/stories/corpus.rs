//! ENVELOPE, BODYSTRUCTURE and sections of about a thousand strange messages are those of Debian's Dovecot, but for the differences in
//! `fixtures/imap/dovecot.txt`.

use crate::clients::python;
use crate::daemon::Daemon;
use std::time::{SystemTime, UNIX_EPOCH};

/// Number of messages that are mixed of strange values: usually, and with `NIGHTLY`.
const MIXED: [usize; 2] = [200, 5000];

#[test]
fn strange_messages_are_shown_as_dovecot_shows_them() {
    let is_nightly = std::env::var_os("NIGHTLY").is_some();
    // At night another seed each time.
    let seed = std::env::var("SEED").unwrap_or_else(|_| match is_nightly {
        true => SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs()).to_string(),
        false => "1".to_owned(),
    });
    let daemon = Daemon::start();
    let (host, port) = daemon.address("imaps");
    let (ca, user, token) = (daemon.ready("ca"), daemon.ready("inbox"), daemon.ready("token"));
    let mixed = MIXED[usize::from(is_nightly)].to_string();
    let root = env!("CARGO_MANIFEST_DIR");
    let outcome = python("corpus.py", &[&host, &port, ca, user, token, root, &seed, &mixed], b"");
    assert_eq!(outcome.code, 0, "SEED={seed}: {}", outcome.stderr);
    let read = outcome.json();
    assert!(read["messages"].as_u64() >= Some(950), "{}", read["messages"]);
    let wrong: Vec<_> = read["wrong"].as_array().unwrap().iter().filter_map(|text| text.as_str()).collect();
    assert!(wrong.is_empty(), "SEED={seed}: {} differences\n{}", wrong.len(), wrong.join("\n"));
}
