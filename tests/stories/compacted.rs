//! `inboxlayer store compact`, while the daemon is stopped, returns the disk space of deleted mail to the file system.

use crate::clients::{Outcome, run};
use crate::rude::Rude;
use crate::serve::{Relay, Serve, rows};
use std::process::Command;

const READER: &str = "reader@inboxlayer.dev";
/// The size of each deleted message.
const OCTETS: usize = 1_000_000;

fn compact(daemon: &Serve) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inboxlayer"));
    command.args(["store", "compact", "--config"]).arg(daemon.config());
    run(command, b"")
}

/// Text that hardly gets shorter by compression, another one for each number.
fn noise(number: u64) -> String {
    let mut state = number;
    let characters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(33 + u8::try_from((state >> 33) % 94).unwrap())
    });
    characters.take(OCTETS).collect()
}

fn hand_in(daemon: &Serve, text: &str) {
    let mut sender = Rude::connect(daemon.mx);
    sender.reply("220");
    sender.say("EHLO outside.example", "250");
    sender.envelope(READER);
    sender.send(format!("From: a@outside.example\r\nSubject: stays\r\n\r\n{text}\r\n.\r\n"));
    sender.reply("250");
}

#[test]
fn a_stopped_daemons_database_gets_smaller_and_what_is_left_is_served() {
    if crate::engine::skips("store compact, of a database in a file") {
        return;
    }
    let relay = Relay::start();
    let mut daemon = Serve::start(relay.address, "");
    let (_, inbox, token) = daemon.account("reader");
    hand_in(&daemon, "before");
    let mut user = Rude::secure(daemon.imaps, &daemon.ca());
    user.line();
    user.ask(&format!("LOGIN {READER} {token}"), "OK");
    user.ask("CREATE Large", "OK");
    for number in 0..5_u64 {
        let large = format!("Subject: goes\r\n\r\n{}\r\n", noise(number));
        user.ask(&format!("APPEND Large {{{}+}}\r\n{large}", large.len()), "OK");
    }
    user.ask("SELECT Large", "OK");
    user.ask("STORE 1:* +FLAGS.SILENT (\\Deleted)", "OK");
    user.ask("EXPUNGE", "OK");

    let refused = compact(&daemon);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("is in use") && refused.stderr.contains("\n  fix: stop "), "{refused:?}");
    assert!(refused.stdout.is_empty(), "{refused:?}");

    assert!(daemon.terminate());
    // The database and its write-ahead log.
    let size = || {
        let octets = |name: &str| std::fs::metadata(daemon.data_dir().join(name)).map_or(0, |file| file.len());
        octets("inboxlayer.db") + octets("inboxlayer.db-wal")
    };
    let before = size();
    let printed = compact(&daemon).succeeded().stdout;
    let after = size();
    assert!(before - after > 4 * OCTETS as u64, "{before} octets, then {after}");
    // Before it measures, it removes the bodies that the daemon's sweep has not come to.
    let is_shown = printed.starts_with("before: ") && printed.ends_with(&format!(" octets\nafter:  {after} octets\n"));
    assert!(is_shown, "{printed}");

    daemon.launch();
    hand_in(&daemon, "after");
    let api = crate::rest::Rest::new(&format!("http://{}", daemon.http), &token);
    let path = format!("/api/v1/emails?inbox={inbox}");
    let listed = api.get(&path).expect(200).body;
    let ids = rows(&listed).iter().map(|row| row["id"].as_str().unwrap());
    let texts: Vec<_> = ids.map(|id| api.get(&format!("/api/v1/emails/{id}/raw")).expect(200).text).collect();
    assert_eq!(texts.len(), 2, "{listed}");
    for text in ["before", "after"] {
        assert!(texts.iter().any(|raw| raw.ends_with(&format!("\r\n\r\n{text}\r\n"))), "{text} is not in {texts:?}");
    }
    println!("{printed}");
}
