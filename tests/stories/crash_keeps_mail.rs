//! `kill -9` at random moments in a burst of submissions and deliveries loses nothing that was answered 250.
//!
//! Each message goes to the outside (through a relay that outlives the daemon) and to an inbox here. What was answered must
//! arrive at both, once the daemon runs in peace; what was not answered may arrive or not, but never in halves.

use crate::clients::python;
use crate::serve::{Relay, Serve};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

const CRASHES: u64 = 12;

#[test]
fn what_was_answered_250_outlives_kill_9() {
    let relay = Relay::start();
    let limits = "[limits]\nmessages_per_hour = 1000000\nrecipients_per_hour = 1000000\n";
    let mut daemon = Serve::start(relay.address, limits);
    let (_, _, token) = daemon.account("sender");
    let (_, inbox, reader) = daemon.account("reader");
    let mut acked = BTreeSet::new();
    let mut sent = BTreeSet::new();
    for crash in 0..CRASHES {
        let burst = Burst::start(&daemon, &token, crash * 1_000_000);
        // Not before mail flows; then at a moment that is another one each time.
        burst.wait_for_acks(3);
        std::thread::sleep(Duration::from_micros(rand_below(700_000)));
        daemon.kill();
        let (some_sent, some_acked) = burst.end();
        sent.extend(some_sent);
        acked.extend(some_acked);
        check_store(&daemon);
        daemon.launch();
    }
    assert!(acked.len() as u64 > CRASHES * 3, "too little mail to show anything: {}", acked.len());

    let api = daemon.api();
    let queue = api.poll("/api/v1/queue", |answer| answer.status == 200 && crate::serve::rows(&answer.body).is_empty());
    assert_eq!(queue.status, 200);
    let outside = relay.subjects();
    let (host, port) = (daemon.imaps.ip().to_string(), daemon.imaps.port().to_string());
    let read = python("subjects.py", &[&host, &port, &daemon.ca().display().to_string(), "reader", &reader], b"");
    let inside: BTreeMap<String, u32> = serde_json::from_str(&read.succeeded().stdout).unwrap();
    for number in &acked {
        let subject = format!("burst {number}");
        assert!(outside.contains_key(&subject), "{subject} was answered 250 and never left");
        assert!(inside.contains_key(&subject), "{subject} was answered 250 and never came to the inbox");
    }
    for subject in outside.keys().chain(inside.keys()) {
        let number = subject.strip_prefix("burst ").and_then(|n| n.parse().ok());
        assert!(number.is_some_and(|n| sent.contains(&n)), "{subject:?} was never sent");
    }
    // The inbox is in the store: there, a message that was answered stands exactly once.
    for (subject, copies) in &inside {
        assert_eq!(*copies, 1, "{subject} stands {copies} times in {inbox}");
    }
    assert!(daemon.terminate(), "the end on SIGTERM");
    check_store(&daemon);
    println!("{CRASHES} crashes, {} messages answered, {} begun", acked.len(), sent.len());
}

/// The database opens clean, and no bytes are left that nothing refers to.
pub fn check_store(daemon: &Serve) {
    let database = rusqlite::Connection::open(daemon.data_dir().join("inboxlayer.db")).unwrap();
    let ask = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(ask("PRAGMA integrity_check"), "ok");
    let broken = database.prepare("PRAGMA foreign_key_check").unwrap().query_map([], |_| Ok(())).unwrap().count();
    assert_eq!(broken, 0, "foreign keys");
    let orphans = "SELECT count(*) || '' FROM body WHERE id NOT IN (SELECT body_id FROM content)";
    assert_eq!(ask(orphans), "0", "bodies without a message");
    let orphans = "SELECT count(*) || '' FROM content WHERE id NOT IN (SELECT content_id FROM message)
                   AND id NOT IN (SELECT original_id FROM submission) AND id NOT IN (SELECT outgoing_id FROM submission)";
    assert_eq!(ask(orphans), "0", "contents without a message");
}

/// A Python client that submits until the server is gone.
struct Burst {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
    seen: std::cell::RefCell<Vec<String>>,
}

impl Burst {
    fn start(daemon: &Serve, token: &str, first: u64) -> Self {
        let address = daemon.submissions;
        let mut child = crate::clients::python_command("burst.py")
            .args([&address.ip().to_string(), &address.port().to_string(), &daemon.ca().display().to_string()])
            .args(["sender@inboxlayer.dev", token, &first.to_string()])
            .args(["someone@elsewhere.example", "reader@inboxlayer.dev"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, lines) = std::sync::mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines, seen: Default::default() }
    }

    fn wait_for_acks(&self, count: usize) {
        let began = Instant::now();
        while self.seen.borrow().iter().filter(|line| line.starts_with("acked")).count() < count {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).expect("mail flows");
            self.seen.borrow_mut().push(line);
            assert!(began.elapsed() < Duration::from_secs(60), "mail flows: {:?}", self.seen.borrow());
        }
    }

    /// What was sent, and what was answered.
    fn end(mut self) -> (Vec<u64>, Vec<u64>) {
        self.child.wait().unwrap();
        let mut lines = self.seen.into_inner();
        lines.extend(self.lines.iter());
        let numbers = |what: &str| {
            lines.iter().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok()).collect::<Vec<u64>>()
        };
        (numbers("sent"), numbers("acked"))
    }
}

/// Not the same moment in every run: the point is to hit all of them over time.
fn rand_below(limit: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % limit
}
