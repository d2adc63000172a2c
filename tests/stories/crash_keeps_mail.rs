//! `kill -9` at random moments, while everything is changed over every protocol, loses nothing that was acknowledged.
//!
//! `python/crash.py` makes the changes and compares: mail from inside and outside and its copies in Sent, APPEND, COPY, MOVE,
//! STORE, EXPUNGE, mailboxes and subscriptions, objects created and deleted over REST, the queue. Acknowledged changes are there
//! after the start; a change under way is there completely or not at all. Every second kill is during a change of thousands of
//! messages, unless that has just ended. 20 crashes; 1,000 with `NIGHTLY`; any other number with `CRASHES`.

use crate::clients::{python, python_command};
use crate::serve::{Relay, Serve, rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

const LIMITS: &str = "[limits]
messages_per_hour = 1000000
recipients_per_hour = 1000000
mx_messages_per_hour = 1000000
mx_recipients_per_hour = 1000000
claims_per_hour = 1000000
failed_logins = 1000000
inboxes = 1000000
inbox_names = 1000000
domain_names = 1000000
aliases = 1000000
tokens = 1000000
creations_per_hour = 1000000
";

#[test]
fn what_was_answered_outlives_kill_9() {
    let crashes = number("CRASHES", 20, 1000);
    let relay = Relay::start();
    let mut daemon = Serve::start(relay.address, LIMITS);
    let folder = tempfile::tempdir().unwrap();
    let (config, state) = (folder.path().join("config.json"), folder.path().join("state.json"));
    std::fs::write(&config, accounts(&daemon).to_string()).unwrap();
    let mut made: BTreeMap<String, u64> = BTreeMap::new();
    for crash in 0..crashes {
        let clients = Clients::start(&config, &state);
        // After every worker has had answers, at a random moment.
        clients.wait_for_answers(2);
        if crash % 2 == 0 {
            clients.wait_for_a_long_change();
            std::thread::sleep(Duration::from_micros(rand_below(200_000)));
        } else {
            std::thread::sleep(Duration::from_micros(rand_below(700_000)));
        }
        daemon.kill();
        clients.end();
        check_store(&daemon);
        daemon.launch();
        let checked = python("crash.py", &["check", text(&config), text(&state)], b"");
        assert_eq!(checked.code, 0, "after crash {crash}: {}", checked.stderr);
        made = serde_json::from_value(checked.json()).unwrap();
        if crash % 100 == 99 {
            println!("{} of {crashes} crashes", crash + 1);
        }
    }
    made.values().for_each(|changes| assert!(*changes >= crashes / 4, "too little was done: {made:?}"));

    // Deferred mail stays queued; the rest is delivered.
    let is_deferred = |row: &Value| row["deliveries"][0]["rcpt_to"] == "later@elsewhere.example";
    daemon
        .api()
        .poll("/api/v1/queue?limit=100", |answer| answer.status == 200 && rows(&answer.body).iter().all(is_deferred));
    let outside = relay.subjects();
    let state: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    let arrived = state["arrived"].as_array().unwrap();
    for subject in arrived {
        assert!(outside.contains_key(subject.as_str().unwrap()), "{subject} was acknowledged and never delivered");
    }
    assert!(daemon.terminate(), "the end on SIGTERM");
    check_store(&daemon);
    let under_way: BTreeMap<String, u64> = serde_json::from_value(state["under way"].clone()).unwrap_or_default();
    println!("{crashes} crashes, {} messages left, numbers by worker: {made:?}", arrived.len());
    println!("long changes requested and not acknowledged: {under_way:?}");
    let count: u64 = under_way.iter().filter(|(change, _)| !change.contains("in part")).map(|(_, count)| count).sum();
    assert!(count >= crashes / 4, "too few kills were during a long change: {under_way:?}");
}

/// A number from the environment; the default depends on `NIGHTLY`.
pub fn number(variable: &str, usual: u64, nightly: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")),
        Err(_) if std::env::var_os("NIGHTLY").is_some() => nightly,
        Err(_) => usual,
    }
}

/// An account for each kind of work, and the addresses of the listeners.
fn accounts(daemon: &Serve) -> Value {
    let mut config = json!({
        "host": daemon.imaps.ip().to_string(), "http": daemon.http.port(), "submissions": daemon.submissions.port(),
        "mx": daemon.mx.port(), "imaps": daemon.imaps.port(), "ca": daemon.ca(),
    });
    for name in ["sender", "reader", "keeper", "collector", "holder", "waiter"] {
        let (_, inbox, token) = daemon.account(name);
        config[name] = json!({"user": format!("{name}@inboxlayer.dev"), "inbox": inbox, "token": token});
    }
    config
}

/// The database is consistent, and has no unreferenced bodies or contents.
pub fn check_store(daemon: &Serve) {
    let database = rusqlite::Connection::open(daemon.data_dir().join("inboxlayer.db")).unwrap();
    let ask = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(ask("PRAGMA integrity_check"), "ok");
    let broken = database.prepare("PRAGMA foreign_key_check").unwrap().query_map([], |_| Ok(())).unwrap().count();
    assert_eq!(broken, 0, "foreign keys");
    let orphans = "SELECT count(*) || '' FROM body WHERE id NOT IN (SELECT body_id FROM content)
                   AND id NOT IN (SELECT body_id FROM body_released)";
    assert_eq!(ask(orphans), "0", "bodies without a message");
    let orphans = "SELECT count(*) || '' FROM content WHERE id NOT IN (SELECT content_id FROM message)
                   AND id NOT IN (SELECT original_id FROM submission) AND id NOT IN (SELECT outgoing_id FROM submission)";
    assert_eq!(ask(orphans), "0", "contents without a message");
}

/// The clients, which work until the server is killed.
struct Clients {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Clients {
    fn start(config: &Path, state: &Path) -> Self {
        let mut command = python_command("crash.py");
        command.arg("work").args([config, state]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (tell, lines) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    fn wait_for_answers(&self, count: usize) {
        const WORKERS: usize = 10;
        let (mut seen, mut has_begun) = (BTreeMap::new(), false);
        while !has_begun || seen.len() < WORKERS || seen.values().any(|answers| *answers < count) {
            let line = self.line();
            match line.starts_with("began") {
                true => has_begun = true,
                false => *seen.entry(line).or_insert(0) += 1,
            }
        }
    }

    /// Waits until the next change of thousands of messages is about to be requested.
    fn wait_for_a_long_change(&self) {
        self.lines.try_iter().for_each(drop);
        while !self.line().starts_with("began") {}
    }

    fn line(&self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("an answer within a minute");
        assert!(!line.starts_with("failed"), "{line}");
        line
    }

    fn end(mut self) {
        assert!(self.child.wait().unwrap().success(), "the clients say why");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Random in each run, so that many runs hit every moment.
fn rand_below(limit: u64) -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0) % limit
}
