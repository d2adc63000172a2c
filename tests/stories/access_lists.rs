//! Allow and block lists: what is blocked is kept aside, and mail to whom sending is blocked is refused, over every protocol.

use crate::clients::python;
use crate::daemon::Daemon;
use crate::outside::Outside;
use serde_json::json;

const ENTRIES: &str = "/api/v1/access_entries";

/// Mail from outside; its envelope sender and From differ.
fn receive(daemon: &Daemon, mail_from: &str, from: &str, to: &str, subject: &str) {
    let raw = format!("From: {from}\r\nSubject: {subject}\r\n\r\nHello.\r\n");
    daemon.api().post("/sandbox/inbound", json!({"mail_from": mail_from, "rcpt_to": to, "raw": raw})).expect(200);
}

/// The labels of the message with this subject.
fn labels(daemon: &Daemon, inbox: &str, subject: &str) -> Vec<String> {
    let list = daemon.api().get(&format!("/api/v1/emails?inbox={inbox}")).expect(200);
    let emails = list.body["data"].as_array().unwrap();
    let email = emails.iter().find(|email| email["subject"] == subject).unwrap_or_else(|| panic!("{}", list.text));
    email["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_owned()).collect()
}

#[test]
fn mail_of_blocked_senders_is_kept_in_junk() {
    let daemon = Daemon::start();
    let (address, inbox) = (daemon.ready("inbox"), daemon.ready("inbox_id"));
    let add = |direction: &str, action: &str, pattern: &str, inbox: Option<&str>| {
        let entry = json!({"direction": direction, "action": action, "pattern": pattern, "inbox_id": inbox});
        daemon.api().post(ENTRIES, entry).expect(201).at("/id").to_owned()
    };
    add("receive", "block", "Spam.test", None);
    receive(&daemon, "a@ok.test", "Ann <ann@ok.test>", address, "fine");
    receive(&daemon, "a@ok.test", "Offer <news@mail.spam.test>", address, "by from");
    receive(&daemon, "bounce@spam.test", "Ann <ann@ok.test>", address, "by envelope");
    assert_eq!(labels(&daemon, inbox, "fine"), ["inbox", "unread"]);
    for subject in ["by from", "by envelope"] {
        assert_eq!(labels(&daemon, inbox, subject), ["junk", "unread", "blocked"], "{subject}");
    }
    // The inbox's own entry is narrower than the account's, and everybody wider than both.
    let allowed = add("receive", "allow", "spam.test", Some(inbox));
    receive(&daemon, "bounce@spam.test", "news@spam.test", address, "allowed");
    assert_eq!(labels(&daemon, inbox, "allowed"), ["inbox", "unread"]);
    daemon.api().delete(&format!("{ENTRIES}/{allowed}")).expect(204);
    receive(&daemon, "bounce@spam.test", "news@spam.test", address, "no longer");
    assert_eq!(labels(&daemon, inbox, "no longer"), ["junk", "unread", "blocked"]);

    // IMAP shows the same.
    let (host, port) = daemon.address("imap");
    let arguments = [&host, &port, daemon.ready("ca"), address, daemon.ready("token")];
    let seen = python("blocked.py", &arguments, b"").succeeded().json();
    assert_eq!(seen["INBOX"], json!([["allowed", []], ["fine", []]]));
    assert_eq!(
        seen["Junk"],
        json!([["by envelope", ["blocked"]], ["by from", ["blocked"]], ["no longer", ["blocked"]]])
    );

    // Webhooks, streams and long polls act on the event of received mail, which blocked mail has not.
    let listed = daemon.api().get(&format!("{ENTRIES}?direction=receive&action=block")).expect(200);
    assert_eq!(listed.at("/data/0/pattern"), "spam.test");
    let twice = daemon.api().post(ENTRIES, json!({"direction": "receive", "action": "block", "pattern": "spam.test"}));
    assert_eq!((twice.status, twice.at("/error_code")), (409, "entry_exists"));
    let wrong = daemon.api().post(ENTRIES, json!({"direction": "both", "pattern": "a b"}));
    assert_eq!(wrong.status, 422, "{}", wrong.text);
    for field in ["direction", "action", "pattern"] {
        assert!(wrong.text.contains(&format!("\"field\":\"{field}\"")), "{}", wrong.text);
    }
}

#[test]
fn recipients_to_whom_sending_is_blocked_are_refused() {
    let daemon = Daemon::start();
    for (action, pattern) in [("block", "*"), ("allow", "outside.test"), ("block", "friend@outside.test")] {
        let mut arguments = vec!["access", action, "--sending", pattern];
        arguments.retain(|argument| !argument.is_empty());
        daemon.cli(daemon.ready("token"), &arguments).succeeded();
    }
    let send = |to: &str, subject: &str| {
        daemon.api().post("/api/v1/emails/send", json!({"to": to, "subject": subject, "text_body": "x"}))
    };
    send("other@outside.test", "allowed").expect(201);
    Outside::of(&daemon).wait_for("allowed");
    for blocked in ["Friend+x@outside.test", "ann@elsewhere.test"] {
        let refused = send(blocked, "blocked");
        assert_eq!((refused.status, refused.at("/error_code")), (403, "recipient_blocked"), "{}", refused.text);
        assert!(refused.text.contains(blocked), "{}", refused.text);
        let (host, port) = daemon.address("submission");
        let user = daemon.ready("inbox");
        let message = format!("From: {user}\r\nTo: {blocked}\r\nSubject: blocked\r\n\r\nx\r\n");
        let arguments = [&host, &port, "starttls", daemon.ready("ca"), user, daemon.ready("token"), user, blocked];
        let reply = python("send.py", &arguments, message.as_bytes()).succeeded().json();
        assert_eq!(reply["code"], 550, "{reply}");
        assert!(reply["text"].as_str().unwrap().starts_with("5.7.1 "), "{reply}");
    }
    // However many recipients come before it.
    let mut many: Vec<String> = (0..60).map(|n| format!("r{n}@outside.test")).collect();
    many.push("friend@outside.test".into());
    let refused = daemon.api().post("/api/v1/emails/send", json!({"to": many, "subject": "many", "text_body": "x"}));
    assert_eq!((refused.status, refused.at("/error_code")), (403, "recipient_blocked"), "{}", refused.text);
    // The list is shown, and an entry removed, by the command line.
    let shown = daemon.cli(daemon.ready("token"), &["access", "list", "--json"]).succeeded().json();
    let entry = shown.as_array().unwrap().iter().find(|entry| entry["pattern"] == "friend@outside.test").unwrap();
    daemon.cli(daemon.ready("token"), &["access", "remove", entry["id"].as_str().unwrap()]).succeeded();
    send("friend@outside.test", "again").expect(201);
}
