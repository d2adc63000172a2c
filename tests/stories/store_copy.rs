//! `inboxlayer store copy` moves a stopped deployment from SQLite to PostgreSQL and back, cut off by `kill -9` again and again; then all
//! that was there is served. Beside a daemon it is refused, and so is `seal change`.

use crate::clients::{Outcome, run};
use crate::crash_keeps_mail::LIMITS;
use crate::engine::{Engine, Server};
use crate::rest::Rest;
use crate::rude::Rude;
use crate::serve::{Relay, Serve, rows};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

const READER: &str = "reader@inboxlayer.dev";
/// Several batches of a copy, also of its smallest.
const MESSAGES: usize = 700;
/// 32 octets each, in base64.
const KEY: &str = "b2Zhbm9mYW5vZmFub2Zhbm9mYW5vZmFub2Zhbm9mYW4=";
const NEXT_KEY: &str = "bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmU=";
/// Tables that are of a database itself.
const OWN: [&str; 4] = ["incomplete_copy", "overview", "rate", "schema_version"];

struct Account {
    inbox: String,
    token: String,
    domain: String,
}

fn imap(daemon: &Serve, account: &Account) -> Rude {
    let mut user = Rude::secure(daemon.imaps, &daemon.ca());
    user.line();
    user.ask(&format!("LOGIN {READER} {}", account.token), "OK");
    user
}

fn api(daemon: &Serve, account: &Account) -> Rest {
    Rest::new(&format!("http://{}", daemon.http), &account.token)
}

/// An account with mail in two mailboxes, a claim with its keys, and a message in the queue.
fn fill(daemon: &Serve) -> Account {
    let (_, inbox, token) = daemon.account("reader");
    let mut account = Account { inbox, token, domain: String::new() };
    let mut user = imap(daemon, &account);
    for number in 0..MESSAGES {
        let message = format!("Message-ID: <{number}@test>\r\nSubject: gr\u{fc}n {number}\r\n\r\nbody {number}\r\n");
        user.send(format!("a{number} APPEND INBOX {{{}+}}\r\n{message}\r\n", message.len()));
    }
    for number in 0..MESSAGES {
        user.answer(&format!("a{number}"), "OK");
    }
    for command in [
        "CREATE Projects/2026",
        "SUBSCRIBE Projects/2026",
        "SELECT INBOX",
        "STORE 1:90 +FLAGS.SILENT (\\Flagged urgent)",
        "COPY 1:300 Projects/2026",
        "STORE 10:20 +FLAGS.SILENT (\\Deleted)",
        "EXPUNGE",
    ] {
        user.ask(command, "OK");
    }
    let api = api(daemon, &account);
    let claim = json!({"domain": "acme-of-the-tests.com"});
    api.post("/api/v1/custom_domains", claim).expect(201).at("/id").clone_into(&mut account.domain);
    let keys = format!("/api/v1/custom_domains/{}/dkim_keys", account.domain);
    api.poll(&keys, |keys| (0..3).all(|at| keys.body["data"][at]["public"].is_string()));
    let deferred = json!({"to": "later@elsewhere.example", "subject": "later", "text_body": "later"});
    api.post(&format!("/api/v1/emails/send?inbox_id={}", account.inbox), deferred).expect(201);
    account
}

/// What clients see.
fn served(daemon: &Serve, account: &Account) -> Vec<String> {
    let mut user = imap(daemon, account);
    let mut seen = user.ask("LIST \"\" \"*\"", "OK");
    seen.extend(user.ask("LSUB \"\" \"*\"", "OK"));
    for mailbox in ["INBOX", "Sent", "Projects/2026"] {
        seen.extend(user.ask(&format!("STATUS {mailbox} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"), "OK"));
        seen.extend(user.ask(&format!("EXAMINE {mailbox}"), "OK"));
        seen.extend(user.ask("UID FETCH 1:* (FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[])", "OK"));
    }
    let api = api(daemon, account);
    for path in [
        "/api/v1/inboxes".to_owned(),
        format!("/api/v1/emails?inbox={}", account.inbox),
        format!("/api/v1/custom_domains/{}/dkim_keys", account.domain),
    ] {
        seen.push(api.get(&path).expect(200).text);
    }
    let queue = api.get("/api/v1/queue").expect(200).body;
    seen.extend(rows(&queue).iter().map(|row| format!("{} {}", row["id"], row["deliveries"][0]["rcpt_to"])));
    seen
}

/// The rows of each table of a stopped deployment.
fn counts(daemon: &Serve, engine: &Engine, data_dir: &Path) -> BTreeMap<String, u64> {
    let tables = match engine {
        Engine::Sqlite => {
            "SELECT group_concat(name) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        Engine::Postgres(..) => "SELECT string_agg(tablename, ',') FROM pg_tables WHERE schemaname = 'public'",
    };
    assert!(daemon.process().is_none());
    let tables: BTreeSet<String> = engine.ask(data_dir, tables).split(',').map(str::to_owned).collect();
    let count = |table: String| {
        let rows = engine.ask(data_dir, &format!("SELECT count(*) || '' FROM {table}")).parse().unwrap();
        (table, rows)
    };
    // The search index is built again.
    let is_copied = |table: &String| !OWN.contains(&table.as_str()) && !table.starts_with("search_");
    tables.into_iter().filter(is_copied).map(count).collect()
}

/// Another place for a deployment.
struct Target {
    engine: Engine,
    folder: tempfile::TempDir,
    /// As `--to` takes it.
    url: String,
}

impl Target {
    fn postgres(server: &'static Server) -> Self {
        let engine = Engine::fresh_on(server);
        let Engine::Postgres(_, name) = &engine else { unreachable!() };
        let url = format!("postgres://mail@/{name}?host={}&port={}", server.directory().display(), server.port());
        Self { engine, folder: tempfile::tempdir().unwrap(), url }
    }

    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().display());
        Self { engine: Engine::Sqlite, folder, url }
    }

    fn count(&self, table: &str) -> u64 {
        self.engine.ask(self.folder.path(), &format!("SELECT count(*) || '' FROM {table}")).parse().unwrap()
    }

    /// The program on it; what it says where it refuses.
    fn refuses(&self, daemon: &Serve, arguments: &[&str]) -> String {
        let mut command = daemon.program(arguments);
        for variable in ["ENGINE", "URL"] {
            command.env_remove(format!("INBOXLAYER_STORE__{variable}"));
        }
        command.envs(self.engine.environment()).env("INBOXLAYER_DATA_DIR", self.folder.path());
        refused(run(command, b""))
    }
}

fn refused(outcome: Outcome) -> String {
    assert!(outcome.code == 1 && outcome.stdout.is_empty(), "{outcome:?}");
    outcome.stderr
}

/// A copy under way.
struct Copying {
    child: Child,
    lines: Receiver<String>,
}

impl Copying {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    /// Waits until it reports of this, and stops it there.
    fn stop_at(&self, report: &str) {
        let mut seen = Vec::new();
        while seen.last().is_none_or(|line: &String| !line.starts_with(report)) {
            let line = self.lines.recv_timeout(Duration::from_secs(60));
            seen.push(line.unwrap_or_else(|error| panic!("{report}: {error} after {seen:?}")));
        }
        let stopped = Command::new("kill").args(["-STOP", &self.child.id().to_string()]).status().unwrap();
        assert!(stopped.success());
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moves a stopped deployment; the copy is cut off at each of these reports.
fn move_to(daemon: &mut Serve, target: &Target, cuts: &[&str]) {
    let before = counts(daemon, daemon.engine(), &daemon.data_dir());
    let arguments = ["store", "copy", "--to", &target.url];
    for cut in cuts {
        let copying = Copying::start(daemon.program(&arguments));
        copying.stop_at(cut);
        let beside = target.refuses(daemon, &["serve"]);
        let names = match target.engine {
            Engine::Sqlite => "another inboxlayer process has this data directory open",
            Engine::Postgres(..) => "inboxlayer exclusive from this machine since ",
        };
        assert!(beside.contains(names) && beside.contains("\n  fix: "), "{beside}");
        drop(copying);
        let (step, table) = cut.split_once(' ').unwrap();
        assert!(step == "compared" || target.count(table) < before[table], "{cut}: it was not cut off in the middle");
        let incomplete = target.refuses(daemon, &["serve"]);
        assert!(
            incomplete.contains("incomplete copy of ") && incomplete.contains("run `inboxlayer store copy`"),
            "{incomplete}"
        );
    }
    let copied = run(daemon.program(&arguments), b"").succeeded();
    let total: u64 = before.values().sum();
    assert_eq!(copied.stdout, format!("copied and compared: {total} rows\n"));
    assert_eq!(counts(daemon, &target.engine, target.folder.path()), before);
    daemon.move_to(target.engine.clone(), target.folder.path().to_owned());
    daemon.launch();
}

/// Programs that need the store for themselves are refused beside the daemon, also from another machine, and do not disturb it.
fn refuses_beside(daemon: &Serve, target: &Target) {
    let elsewhere = tempfile::tempdir().unwrap();
    let next = [("INBOXLAYER_NEXT_SECRET_KEY", NEXT_KEY)];
    for arguments in [&["store", "copy", "--to", &target.url][..], &["seal", "change"]] {
        let here = refused(run(with(daemon.program(arguments), &next), b""));
        assert!(here.contains("another inboxlayer process has this data directory open"), "{here}");
        let mut command = with(daemon.program(arguments), &next);
        command.env("INBOXLAYER_DATA_DIR", elsewhere.path());
        let there = refused(run(command, b""));
        assert!(
            there.contains("inboxlayer from this machine since ") && there.contains("  fix: stop every daemon"),
            "{there}"
        );
        assert!(!there.contains(KEY) && !there.contains(NEXT_KEY), "{there}");
    }
    daemon.api().get("/readyz").expect(200);
}

fn with(mut command: Command, environment: &[(&str, &str)]) -> Command {
    command.envs(environment.iter().copied());
    command
}

#[test]
#[cfg_attr(not(feature = "cluster"), ignore = "needs --features cluster")]
fn a_deployment_moves_to_postgresql_and_back_and_serves_what_it_had() {
    let server: &'static Server = Box::leak(Box::new(Server::start(400)));
    let relay = Relay::start();
    let queue = format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.address.port());
    let environment = [("INBOXLAYER_SECRET_KEY", KEY)];
    let dns = "resolvers = [\"127.0.0.1:9\"]";
    let mut daemon = Serve::start_on(Engine::Sqlite, &environment, dns, &queue, LIMITS);
    let account = fill(&daemon);
    let before = served(&daemon, &account);
    assert!(before.iter().filter(|line| line.contains(" FETCH (")).count() >= MESSAGES + 300 - 11, "{before:?}");
    assert!(daemon.terminate());

    let between = Target::postgres(server);
    move_to(&mut daemon, &between, &["copied body", "copied message", "compared message"]);
    assert_eq!(served(&daemon, &account), before);
    let back = Target::sqlite();
    refuses_beside(&daemon, &back);
    // It is a daemon's store now: it changes.
    let mut user = imap(&daemon, &account);
    user.ask("SELECT INBOX", "OK");
    user.ask("UID COPY 1:9 Archive", "OK");
    let message = json!({"to": "x@elsewhere.example", "subject": "from PostgreSQL", "text_body": "x"});
    api(&daemon, &account).post(&format!("/api/v1/emails/send?inbox_id={}", account.inbox), message).expect(201);
    api(&daemon, &account).poll("/api/v1/queue", |queue| rows(&queue.body).len() == 1);
    assert!(relay.subjects().contains_key("from PostgreSQL"));
    let after = served(&daemon, &account);
    assert!(daemon.terminate());

    move_to(&mut daemon, &back, &["copied body", "copied message", "compared body"]);
    assert_eq!(served(&daemon, &account), after);
    let status = imap(&daemon, &account).ask("STATUS Archive (MESSAGES)", "OK");
    assert!(status[0].contains("MESSAGES 9"), "{status:?}");
    assert!(daemon.terminate());
}
