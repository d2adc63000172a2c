//! The command line against a running daemon: every command, and its errors.

use crate::daemon::Daemon;
use serde_json::Value;

#[test]
fn from_an_operators_token_to_a_verified_domain() {
    let daemon = Daemon::start();
    let operator = daemon.ready("operator_token").to_owned();
    let json = |token: &str, arguments: &[&str]| -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        daemon.cli(token, &arguments).succeeded().json()
    };

    let account = json(&operator, &["account", "create", "acme"]);
    let id = account["account_id"].as_str().unwrap();
    assert!(daemon.cli(&operator, &["account", "list"]).succeeded().stdout.contains(id));
    let made = daemon.cli(&operator, &["token", "create", "--account", id]).succeeded();
    let token = made.stdout.trim();
    assert!(token.starts_with("ilt_") && !made.stderr.contains(token), "{made:?}");
    assert!(daemon.cli(token, &["token", "list"]).succeeded().stdout.contains("account"));

    let inbox = json(token, &["inbox", "create", "acme-desk"]);
    assert_eq!(inbox["name"], "acme-desk");
    let set = json(token, &["inbox", "set", "acme-desk", "--save-sent", "false"]);
    assert_eq!((&set["name"], &set["save_sent"]), (&"acme-desk".into(), &false.into()));
    for disabled in [true, false] {
        let set = json(token, &["inbox", "set", "acme-desk", "--disabled", &disabled.to_string()]);
        assert_eq!(set["is_disabled"], disabled);
    }
    let set = json(token, &["inbox", "set", "acme-desk", "--trash-days", "7", "--junk-days", "0"]);
    assert_eq!((&set["trash_days"], &set["junk_days"]), (&7.into(), &0.into()));
    let set = json(token, &["inbox", "set", "acme-desk", "--trash-days", "default"]);
    assert_eq!((&set["trash_days"], &set["junk_days"]), (&Value::Null, &0.into()));
    assert!(daemon.cli(&operator, &["inbox", "list", "--account", id]).succeeded().stdout.contains("acme-desk"));

    let added = daemon.cli(token, &["domain", "add", "Acme-Corp.TEST."]).succeeded().stdout;
    assert!(added.contains("acme-corp.test  pending") && added.contains("dkim.amazonses.com"), "{added}");
    assert!(!added.contains('\u{1b}'), "no colour unless it is a terminal: {added:?}");
    daemon.cli(token, &["inbox", "alias", "acme-desk", "support@acme-corp.test"]).succeeded();
    let set = json(token, &["inbox", "set", "acme-desk", "--default-domain", "acme-corp.test"]);
    assert!(set["default_domain_id"].as_str().unwrap().starts_with("dom_"), "{set}");
    let set = json(token, &["inbox", "set", "acme-desk", "--default-domain", "none"]);
    assert!(set["default_domain_id"].is_null(), "{set}");
    assert!(
        daemon.cli(token, &["inbox", "aliases", "acme-desk"]).succeeded().stdout.contains("support@acme-corp.test")
    );

    let shown = daemon.cli(token, &["domain", "verify", "acme-corp.test", "--wait=1"]);
    assert_eq!(shown.code, 3, "{shown:?}");
    let domain = json(token, &["domain", "show", "acme-corp.test"])["id"].as_str().unwrap().to_owned();
    // The check waits for keys that are being generated.
    let path = format!("/api/v1/custom_domains/{domain}");
    daemon.api_as(token).poll(&path, |shown| shown.body["last_checked_at"].is_string());
    let shown = daemon.cli(token, &["domain", "show", "acme-corp.test"]).succeeded().stdout;
    assert!(shown.contains("missing") && shown.contains("  fix: "), "{shown}");
    let publish = format!("/sandbox/domains/{domain}/publish");
    daemon.api().call(reqwest::Method::POST, &publish, None, &[]).expect(200);
    daemon.api().post("/sandbox/clock", serde_json::json!({"advance_seconds": 7200})).expect(200);
    let shown = daemon.cli(token, &["domain", "show", "acme-corp.test"]).succeeded().stdout;
    assert!(shown.contains("acme-corp.test  verified"), "{shown}");
    let listed = daemon.cli(token, &["domain", "list"]).succeeded().stdout;
    assert!(listed.lines().any(|l| l.starts_with("acme-corp.test  verified  yes    yes")), "{listed}");
    daemon.cli(token, &["domain", "set", "acme-corp.test", "--default", "true"]).succeeded();
    assert_eq!(json(token, &["domain", "show", &domain])["is_default"], true);

    assert_eq!(daemon.cli(token, &["queue", "list"]).succeeded().stdout, "the queue is empty\n");
    daemon.cli(token, &["domain", "delete", "acme-corp.test"]).succeeded();
    daemon.cli(token, &["inbox", "delete", "acme-desk"]).succeeded();
}

#[test]
fn a_message_that_waits_is_listed_tried_and_dropped() {
    let daemon = Daemon::start();
    let (api, token) = (daemon.api(), daemon.ready("token"));
    api.post("/sandbox/dns/faults", serde_json::json!({"name": "silent.test", "fault": "servfail"})).expect(204);
    let draft = serde_json::json!({"to": "x@silent.test", "subject": "waits", "text_body": "Hello."});
    let sent = api.post(&format!("/api/v1/emails/send?inbox_id={}", daemon.ready("inbox_id")), draft).expect(201);
    let id = sent.at("/id");
    api.poll(&format!("/api/v1/queue/{id}"), |a| a.body["deliveries"][0]["last_reply"].is_string());
    let listed = daemon.cli(token, &["queue", "list"]).succeeded().stdout;
    // The queue's own id has the same ULID.
    assert!(listed.contains(id.trim_start_matches("msg_")) && listed.contains("x@silent.test"), "{listed}");
    daemon.cli(token, &["queue", "retry", id]).succeeded();
    let says = |token: &str, arguments: &[&str], wanted: &str| {
        let arguments: Vec<&str> = std::iter::once("queue").chain(arguments.iter().copied()).collect();
        let stdout = daemon.cli(token, &arguments).succeeded().stdout;
        assert!(stdout.contains(wanted), "{arguments:?}: {stdout}");
    };
    let operator = daemon.ready("operator_token");
    says(token, &["drop", "--domain", "silent.test", "--dry-run"], "deliveries that match: 1");
    says(token, &["drop", "--domain", "other.test"], "deliveries removed from the queue: 0");
    says(operator, &["hold", "--status", "deferred", "--older-than", "0s"], "deliveries on hold: 1");
    says(token, &["list"], "on hold");
    for (token, arguments, code, wanted) in [
        (token, vec!["retry", id], 1, "nothing of msg_"),
        (token, vec!["release", id], 1, "token of scope operator"),
        (token, vec!["drop"], 2, "nothing is selected"),
        (token, vec!["drop", "--status", "lost"], 1, "must be queued, deferred or held"),
    ] {
        let outcome = daemon.cli(token, &[&["queue"], &arguments[..]].concat());
        assert!(outcome.code == code && outcome.stderr.contains(wanted), "{arguments:?}: {outcome:?}");
    }
    says(operator, &["release", id], "deliveries released: 1");
    says(token, &["drop", id], "deliveries removed from the queue: 1");
    let gone = daemon.cli(token, &["queue", "show", id]);
    assert_eq!(gone.code, 1, "{gone:?}");
}

#[test]
fn failures_say_what_and_what_to_do() {
    let daemon = Daemon::start();
    let token = daemon.ready("token");
    for (token, arguments, code, says) in [
        ("ilt_wrong", vec!["inbox", "list"], 1, "error: "),
        (token, vec!["domain", "add", "co.uk"], 1, "  fix: "),
        (token, vec!["domain", "show", "nobody.test"], 1, "inboxlayer domain add nobody.test"),
        (token, vec!["account", "create", "x"], 1, "error: "),
        (token, vec!["inbox", "create", "postmaster"], 1, "  fix: "),
        (token, vec!["inbox", "create"], 2, "Usage: "),
        (token, vec!["inbox", "set", "acme-desk"], 2, "nothing to change"),
    ] {
        let outcome = daemon.cli(token, &arguments);
        assert_eq!(outcome.code, code, "{arguments:?}: {outcome:?}");
        assert!(outcome.stderr.contains(says), "{arguments:?}: {outcome:?}");
        assert!(outcome.stdout.is_empty(), "{arguments:?}: {outcome:?}");
    }
    let unknown = daemon.cli(token, &["inbox", "list", "--url", "http://127.0.0.1:1"]);
    assert!(
        unknown.code == 1 && unknown.stderr.contains("cannot reach the daemon at http://127.0.0.1:1"),
        "{unknown:?}"
    );
}
