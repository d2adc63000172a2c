//! Clients that disconnect at random moments affect no other client: requests are served, no slot is lost, memory stays flat.
//!
//! For a minute (five with `NIGHTLY`; `CANCEL_SECONDS` any other time) every listener is kept busy by clients that are cut off
//! anywhere, while another tenant works. The log must have no warning: a client that disconnects is normal.

use crate::clients::{python, python_command};
use crate::crash_keeps_mail::number;
use crate::engine::Engine;
use crate::rude::Rude;
use crate::serve::{Relay, Serve};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;

/// Connections at once from one address.
const PLACES: usize = 120;

#[test]
fn clients_that_go_away_take_nothing_from_others() {
    let seconds = number("CANCEL_SECONDS", 60, 300);
    let relay = Relay::start();
    let limits = format!(
        "[limits]\nmessages_per_hour = 1000000\nrecipients_per_hour = 1000000\nmx_messages_per_hour = 1000000\n\
         mx_recipients_per_hour = 1000000\nconnections_per_address = {PLACES}\n"
    );
    let daemon = Serve::start(relay.address, &limits);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let mut accounts = tenants(&daemon, &["honest", "rude"]);
    // Each address has its own places: what a slow machine still does for clients that are gone takes those of their address alone.
    accounts["honest"]["address"] = json!("127.0.0.2");
    std::fs::write(&config, accounts.to_string()).unwrap();

    // Warm up: the memory that a busy daemon needs anyway.
    run(&config, 10);
    let warm = memory(&daemon);
    let (begun, honest) = run(&config, seconds);
    assert!(begun.as_object().unwrap().len() == 11 && begun["login"].as_u64() > Some(seconds / 10), "{begun}");
    assert_eq!(honest["errors"], json!([]), "{honest}");
    // On PostgreSQL each statement is a request to a server that shares the machine's cores.
    let least = if matches!(daemon.engine(), Engine::Sqlite) { seconds / 10 } else { seconds / 60 };
    for (kind, served) in honest["served"].as_object().unwrap() {
        assert!(served.as_u64() > Some(least), "{kind} was starved: {honest}");
    }
    every_place_is_there(&daemon, accounts["honest"]["token"].as_str().unwrap());
    let after = memory(&daemon);
    assert!(after < warm * 2 + 64 * 1024, "memory grew from {warm} kB to {after} kB");
    let problems = daemon.problems();
    assert!(problems.is_empty(), "{} lines, first {:#?}", problems.len(), &problems[..problems.len().min(10)]);
    println!("{begun} sessions cut off; {honest}; {warm} kB, then {after} kB");
}

/// The addresses of the listeners, and an account with an inbox for each name.
pub fn tenants(daemon: &Serve, names: &[&str]) -> Value {
    let mut config = json!({
        "host": daemon.imaps.ip().to_string(), "http": daemon.http.port(), "submission": daemon.submission.port(),
        "submissions": daemon.submissions.port(), "mx": daemon.mx.port(), "imaps": daemon.imaps.port(), "ca": daemon.ca(),
    });
    for name in names {
        let (_, inbox, token) = daemon.account(name);
        config[name] = json!({"user": format!("{name}@inboxlayer.dev"), "inbox": inbox, "token": token});
    }
    config
}

/// Runs both kinds of clients for some seconds: how many sessions were cut off, and how many requests of the others were served.
fn run(config: &Path, seconds: u64) -> (Value, Value) {
    let seconds = seconds.to_string();
    let mut cancel = python_command("cancel.py");
    let cancel = cancel.arg(config).arg(&seconds).stdout(Stdio::piped()).spawn().unwrap();
    let honest = python("honest.py", &[config.to_str().unwrap(), &seconds], b"").succeeded().json();
    let cancelled = cancel.wait_with_output().unwrap();
    assert!(cancelled.status.success(), "the clients say why");
    (serde_json::from_slice(&cancelled.stdout).unwrap(), honest)
}

/// Each listener accepts as many connections as one address may have, and serves all of them.
fn every_place_is_there(daemon: &Serve, token: &str) {
    let many = |connect: &dyn Fn() -> Rude| (0..PLACES).map(|_| connect()).collect::<Vec<_>>();
    for listener in [daemon.mx, daemon.submission] {
        let mut clients = many(&|| Rude::connect(listener));
        clients.iter_mut().for_each(|client| drop(client.reply("220")));
        clients.iter_mut().for_each(|client| drop(client.say("EHLO x", "250")));
        clients.iter_mut().for_each(|client| drop(client.say("QUIT", "221")));
    }
    let mut clients = many(&|| Rude::secure(daemon.imaps, &daemon.ca()));
    clients.iter_mut().for_each(|client| drop(client.line()));
    for client in &mut clients {
        client.ask(&format!("LOGIN honest@inboxlayer.dev {token}"), "OK");
    }
    // All at once, so that they need every reader of the store.
    clients.iter_mut().for_each(|client| client.send("s STATUS INBOX (MESSAGES)\r\nx SELECT INBOX\r\n"));
    for client in &mut clients {
        while let Some(line) = client.line().filter(|line| !line.starts_with("x OK")) {
            assert!(!line.contains(" NO ") && !line.contains("BYE"), "{line}");
        }
    }
}

/// What the daemon has in memory, in kB.
pub fn memory(daemon: &Serve) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process().unwrap())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}
