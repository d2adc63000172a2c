//! Mail that is moved into an inbox and out of it: Maildirs that Debian's Dovecot has made and reads, mbox files of Python's module
//! `mailbox`, the mailboxes of a running Dovecot; and runs that are killed in the middle.

use crate::clients::python;
use crate::daemon::Daemon;
use serde_json::{Value, json};

/// Runs a part of the script against the inbox of a new daemon.
fn moved(what: &str) -> Value {
    moved_in(&Daemon::start(), what)
}

fn moved_in(daemon: &Daemon, what: &str) -> Value {
    let (_, imaps) = daemon.address("imaps");
    let program = env!("CARGO_BIN_EXE_inboxlayer");
    let [url, token, inbox, user, ca] = ["http", "token", "inbox_id", "inbox", "ca"].map(|field| daemon.ready(field));
    python("moved_mail.py", &[what, program, url, token, inbox, user, &imaps, ca], b"").succeeded().json()
}

#[test]
fn a_maildir_goes_in_and_out_with_flags_keywords_and_dates() {
    let moved = moved("maildir");
    let lines = |of: [&str; 5]| json!([of, []]);
    let first = [
        "INBOX: 5 imported",
        "Archive/2024: 450 imported",
        "Empty: 0 imported",
        "Entwürfe: 1 imported",
        "Gesendet: 1 imported",
    ];
    assert_eq!(moved["first"], lines(first));
    let again = [
        "INBOX: 0 imported, 5 already there",
        "Archive/2024: 0 imported, 450 already there",
        "Empty: 0 imported",
        "Entwürfe: 0 imported, 1 already there",
        "Gesendet: 0 imported, 1 already there",
    ];
    assert_eq!(moved["again"], lines(again));
    assert_eq!((&moved["here"], &moved["back"]), (&json!([]), &json!([])), "differences");
    assert_eq!(moved["order"], json!(["number 0", "number 1", "number 2"]));
    let names = moved["names"].as_array().unwrap();
    assert!(names.contains(&"Empty".into()) && names.contains(&"Entw&APw-rfe".into()), "{names:?}");
    let exported = moved["exported"][0].as_array().unwrap();
    assert!(exported.contains(&"Archive/2024: 450 exported".into()), "{exported:?}");
    let again = moved["exported_again"][0].as_array().unwrap();
    assert!(again.contains(&"Archive/2024: 0 exported, 450 already there".into()), "{again:?}");
}

#[test]
fn mbox_files_go_in_and_out_and_what_cannot_be_read_is_named() {
    let moved = moved("mbox");
    assert_eq!(moved["first"], json!([["Old/2017: 3 imported"], []]));
    let not_an_mbox = "left out: /no mbox: it is not an mbox file: it does not begin with a `From ` line";
    let nul = "left out: /Old mail.mbox, message 4: the message contains NUL octets, which no mail may (RFC 5322 §4)";
    assert_eq!(moved["again"], json!([["Old/2017/Old mail: 3 imported, 1 left out"], [nul, not_an_mbox]]));
    assert_eq!(moved["named"], json!([["Old/2017: 0 imported, 3 already there, 1 left out"], [nul]]));
    let at = 1_500_000_000;
    let three = json!([
        ["one", ["\\Seen"], at],
        ["two", ["\\Answered", "\\Flagged"], at],
        ["three", ["\\Deleted", "\\Draft"], at],
    ]);
    assert_eq!(moved["here"], json!({"Old/2017": three, "Old/2017/Old mail": three}));
    assert_eq!(moved["exported"], json!([["Old/2017: 3 exported"], []]));
    let mut back = moved["back"].as_array().unwrap().clone();
    back.sort_by_key(|entry| entry[0].to_string());
    let from = "MAILER-DAEMON Fri Jul 14 02:40:00 2017";
    let wanted = json!([
        ["one", ["O", "R"], from, ">From the start.\n\n>From me\n>From you\n"],
        ["three", ["D", "O", "T"], from, "\n\n\n"],
        ["two", ["A", "F", "O"], from, "Hello.\n"],
    ]);
    assert_eq!(json!(back), wanted);
}

#[test]
fn runs_that_are_killed_are_continued_without_duplicates() {
    let moved = moved("cut_off");
    assert_eq!((&moved["killed"], &moved["imported"]), (&true.into(), &true.into()), "{moved}");
    assert_eq!(moved["messages"], json!([3000, 3000]));
    for kind in ["maildir", "mbox"] {
        assert_eq!(moved[kind], json!([true, true, 3000, 3000, []]), "{kind}");
    }
}

#[test]
fn a_full_inbox_ends_an_import_with_whole_requests() {
    let daemon = Daemon::start_in(&[("INBOXLAYER_LIMITS__MESSAGES", "300")]);
    let moved = moved_in(&daemon, "full");
    let [lines, errors] = [0, 1].map(|of| moved["ended"][of].as_array().unwrap().clone());
    assert!(lines.is_empty() && errors[0] == "error: The inbox is full.", "{lines:?} {errors:?}");
    let fix = errors[1].as_str().unwrap();
    assert!(fix.starts_with("  fix: Delete messages of the inbox. Then run it again"), "{fix}");
    // A request has 200 messages.
    assert_eq!(moved["held"], 200);
}

#[test]
fn mailboxes_are_fetched_from_dovecot_and_from_ourselves_once() {
    let moved = moved("fetch");
    for (case, what) in [
        ("not trusted", "no TLS with localhost"),
        ("wrong", "refuses the log-in of ann"),
        ("nowhere", "no mailbox Nowhere"),
    ] {
        let lines = moved["refused"][case].as_array().unwrap();
        assert!(lines.len() == 2 && lines[0].as_str().unwrap().contains(what), "{case}: {lines:?}");
    }
    assert_eq!((&moved["killed"], &moved["first"]), (&json!([true, true]), &json!([])), "{moved}");
    let none =
        ["Archive/2024: 0 fetched", "Empty: 0 fetched", "Entwürfe: 0 fetched", "Sent: 0 fetched", "INBOX: 0 fetched"];
    let sorted = |lines: &Value| {
        let mut lines: Vec<String> = lines.as_array().unwrap().iter().map(|l| l.as_str().unwrap().to_owned()).collect();
        lines.sort();
        lines
    };
    let mut wanted = none.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(sorted(&moved["second"][0]), wanted);
    // Another source by its URL: what is there is found by comparing.
    let start_tls = sorted(&moved["start_tls"][0]);
    assert!(start_tls.contains(&"Archive/2024: 0 fetched, 450 already there".to_owned()), "{start_tls:?}");
    assert_eq!(moved["here"], json!([]), "differences");
    assert_eq!(moved["later"], json!([["INBOX: 1 fetched"], []]));
    assert!(sorted(&moved["forgotten"][0]).contains(&"Archive/2024: 0 fetched, 450 already there".to_owned()));
    assert!(sorted(&moved["forgotten"][0]).contains(&"INBOX: 0 fetched, 6 already there".to_owned()));
    assert_eq!(moved["copied"], json!([]));
}
