//! `kill -9` at random moments, while everything is changed over every protocol, loses nothing that was acknowledged.
//!
//! `python/crash.py` makes the changes and compares: mail from inside and outside and its copies in Sent, APPEND, COPY, MOVE,
//! STORE, EXPUNGE, mailboxes and subscriptions, objects created and deleted over REST, the queue. Acknowledged changes are there
//! after the start; a change under way is there completely or not at all. Every second kill is during a change of thousands of
//! messages, unless that has just ended. 20 crashes; 1,000 with `NIGHTLY`; any other number with `CRASHES`.

use crate::clients::{python, python_command};
use crate::engine::Engine;
use crate::serve::{Relay, Serve, rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

pub const LIMITS: &str = "[limits]
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
    daemon.api().poll("/api/v1/queue?per_page=100", |answer| {
        answer.status == 200 && rows(&answer.body).iter().all(is_deferred)
    });
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
pub fn accounts(daemon: &Serve) -> Value {
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
    let ask = |sql: &str| daemon.engine().ask(&daemon.data_dir(), sql);
    if matches!(daemon.engine(), Engine::Sqlite) {
        assert_eq!(ask("PRAGMA integrity_check"), "ok");
        assert_eq!(ask("SELECT count(*) || '' FROM pragma_foreign_key_check"), "0", "foreign keys");
    }
    let orphans = "SELECT count(*) || '' FROM body WHERE id NOT IN (SELECT body_id FROM content)
                   AND id NOT IN (SELECT body_id FROM body_released)";
    assert_eq!(ask(orphans), "0", "bodies without a message");
    let orphans = "SELECT count(*) || '' FROM content WHERE id NOT IN (SELECT content_id FROM message)
                   AND id NOT IN (SELECT original_id FROM submission) AND id NOT IN (SELECT outgoing_id FROM submission)";
    assert_eq!(ask(orphans), "0", "contents without a message");
}

/// The clients, which work until the server is killed.
pub struct Clients {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
    /// Temporary errors may end workers.
    takes_ends: bool,
}

impl Clients {
    pub fn start(config: &Path, state: &Path) -> Self {
        let mut command = python_command("crash.py");
        command.arg("work").args([config, state]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (tell, lines) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines, takes_ends: false }
    }

    /// Temporary errors may end workers, at any time.
    pub fn takes_temporary_errors(self) -> Self {
        Self { takes_ends: true, ..self }
    }

    pub fn wait_for_answers(&self, count: usize) {
        const WORKERS: usize = 10;
        let (mut seen, mut has_begun) = (BTreeMap::new(), false);
        while !has_begun || seen.len() < WORKERS || seen.values().any(|answers| *answers < count) {
            let line = self.line();
            match line.split_once(' ').unwrap_or_default() {
                ("began", _) => has_begun = true,
                ("answered", worker) => *seen.entry(worker.to_owned()).or_insert(0_usize) += 1,
                // Ended by a temporary error.
                (_, rest) => {
                    let worker = rest.split(':').next().unwrap_or_default();
                    has_begun |= worker.starts_with("Large");
                    if !worker.starts_with("Large") {
                        seen.insert(worker.to_owned(), usize::MAX);
                    }
                }
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
        assert!(!line.starts_with("failed") && (self.takes_ends || !line.starts_with("ended")), "{line}");
        line
    }

    /// Waits until the server has gone for all of them.
    fn end(mut self) {
        // Its standard input stays open until then.
        let _stdin = self.child.stdin.take();
        assert!(self.child.wait().unwrap().success(), "the clients say why");
    }

    /// Lets them end what they do, and waits for that.
    pub fn stop(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success(), "the clients say why");
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Random in each run, so that many runs hit every moment.
pub fn rand_below(limit: u64) -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0) % limit
}
