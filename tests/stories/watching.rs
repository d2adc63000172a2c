//! `domain verify --watch`: in a terminal a table that turns green, elsewhere a line for each change.

use crate::clients::{python_command, run};
use crate::daemon::Daemon;
use serde_json::json;

const DOMAINS: &str = "/api/v1/custom_domains";

#[test]
fn a_table_turns_green_in_the_terminal() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let id = api.post(DOMAINS, json!({"domain": "acme.test"})).expect(201).at("/id").to_owned();
    let mut command = python_command("terminal.py");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    command.args(["100", "40"]).arg(&log);
    command.args([env!("CARGO_BIN_EXE_inboxlayer"), "domain", "verify", "acme.test", "--watch"]);
    command.env("INBOXLAYER_URL", daemon.ready("http")).env("INBOXLAYER_TOKEN", daemon.ready("token"));
    command.env_remove("NO_COLOR").env("TERM", "xterm");
    let watching = std::thread::spawn(move || run(command, b""));

    // The requested check finds no records; then they are published.
    let shown = || std::fs::read_to_string(&log).unwrap_or_default();
    api.poll(&format!("{DOMAINS}/{id}"), |_| shown().contains("\u{2717} missing"));
    api.post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
    api.post("/sandbox/clock", json!({"advance_seconds": 7200})).expect(200);

    let seen = watching.join().unwrap().succeeded().json();
    assert_eq!(seen["code"], 0, "{seen}");
    let screens: Vec<&str> = seen["screens"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    let missing = screens.iter().find(|screen| screen.contains("\u{2717} missing")).unwrap_or_else(|| panic!("{seen}"));
    assert!(missing.contains("acme.test  pending") && missing.contains("fix: Create a CNAME record"), "{missing}");
    let last = screens.last().unwrap();
    assert!(last.starts_with("acme.test  verified  6 of 6 records valid"), "{last}");
    assert_eq!(last.matches("\u{2713} valid").count(), 6, "{last}");
    // The table is redrawn in place.
    assert_eq!(last.matches("records valid").count(), 1, "{last}");
    let written = seen["written"].as_str().unwrap();
    assert!(written.contains("\u{1b}[31m") && written.contains("\u{1b}[32m"), "{written:?}");
}

#[test]
fn elsewhere_what_changes_is_said_in_lines_and_the_exit_code_tells_the_end() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let token = daemon.ready("token");
    let id = api.post(DOMAINS, json!({"domain": "acme.test"})).expect(201).at("/id").to_owned();
    let watch = ["domain", "verify", "acme.test", "--watch", "--timeout", "3"];
    let early = daemon.cli(token, &watch);
    assert_eq!(early.code, 1, "{early:?}");
    assert!(early.stderr.contains("acme.test is not verified yet"), "{early:?}");
    let lines: Vec<&str> = early.stdout.lines().collect();
    assert_eq!(lines[6], "acme.test: pending", "{early:?}");
    assert!(lines[..6].iter().all(|line| line.ends_with(": not_checked")), "{early:?}");
    assert!(lines[7..].iter().all(|line| line.ends_with(": not_checked -> missing")), "{early:?}");
    assert!(!early.stdout.contains('\u{1b}'), "{early:?}");

    api.post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
    api.post("/sandbox/clock", json!({"advance_seconds": 7200})).expect(200);
    let done = daemon.cli(token, &watch);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("acme.test: verified\n"), "{done:?}");

    // The other commands show the result.
    let checks = daemon.cli(token, &["domain", "checks", "acme.test"]).succeeded().stdout;
    assert!(
        checks.starts_with("CHECKED") && checks.contains("pending   0 of 6  CNAME") && checks.contains("6 of 6"),
        "{checks}"
    );
    let events = daemon.cli(token, &["domain", "events", "acme.test"]).succeeded().stdout;
    assert!(events.lines().next().unwrap().ends_with("pending: The domain was claimed."), "{events}");
    assert!(events.contains("pending -> verified: Every required record was valid."), "{events}");
    let file = daemon.cli(token, &["domain", "zone-file", "acme.test"]).succeeded().stdout;
    assert!(file.contains("\n$ORIGIN acme.test.\n"), "{file}");
    let inbox = daemon.ready("inbox").split('@').next().unwrap().to_owned();
    let login = format!("{inbox}@acme.test");
    let identity = daemon.cli(token, &["inbox", "identity", &inbox, "--login", &login]).succeeded().stdout;
    assert!(identity.starts_with(&login) && identity.contains("DMARC  acme.test: aligned, passes"), "{identity}");
}
