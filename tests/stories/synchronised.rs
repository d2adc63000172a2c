//! Programs that keep a copy of the mailboxes, and programs that append what they have sent to Sent: no message comes twice.

use crate::clients::python;
use crate::daemon::Daemon;
use serde_json::json;

#[test]
fn sent_mail_that_clients_append_again_is_synchronised_without_duplicates() {
    let daemon = Daemon::start();
    let ((_, smtp), (_, imap)) = (daemon.address("submissions"), daemon.address("imaps"));
    let arguments = [&smtp, &imap, daemon.ready("ca"), daemon.ready("inbox"), daemon.ready("token")];
    let held = python("synchronise.py", &arguments, b"").succeeded().json();
    // The flags that the client gave to its copy are those of the message.
    let expected = json!([["appended", true], ["filed", false]]);
    assert_eq!(held, json!({"mbsync": expected, "offlineimap": expected, "server": expected}));
    let sent = daemon.api().get(&format!("/api/v1/emails?inbox={}", daemon.ready("inbox_id"))).expect(200);
    let labels: Vec<_> = sent.body["data"].as_array().unwrap().iter().map(|email| &email["labels"]).collect();
    assert_eq!(labels, [&json!(["sent"]), &json!(["sent", "starred"])]);
}

#[test]
fn thunderbird_and_rest_see_what_the_other_does() {
    let daemon = Daemon::start();
    let (inbox, api) = (daemon.ready("inbox_id"), daemon.api());
    for subject in ["News", "Offer"] {
        let raw = format!("From: Ann <ann@example.org>\r\nSubject: {subject}\r\n\r\nThe text of {subject}.\r\n");
        api.post("/api/v1/emails", json!({"inbox_id": inbox, "raw": raw})).expect(201);
    }
    let ((_, smtp), (_, imap)) = (daemon.address("submissions"), daemon.address("imaps"));
    let (user, token, http) = (daemon.ready("inbox"), daemon.ready("token"), daemon.ready("http"));
    let arguments = [&smtp, &imap, daemon.ready("ca"), user, token, http, inbox];
    let seen = python("thunderbird.py", &arguments, b"").succeeded().json();
    assert_eq!(seen["folders"], json!(["Archive", "Drafts", "INBOX", "Junk", "Sent", "Trash"]));
    assert!(seen["text"].as_str().unwrap().ends_with("\r\nThe text of News.\r\n"), "{}", seen["text"]);
    let shown = json!({
        "Archive": [["News", true, true]],
        "INBOX": [["Grüße", false, false]],
        "Sent": [["Grüße", true, false]],
        "Trash": [["Offer", false, false]],
    });
    assert_eq!(seen["shown"], shown);
    assert_eq!(seen["rest"], shown);
    assert_eq!(seen["appended"], 1, "copies that Thunderbird has appended to Sent");
    let after = json!({
        "Archive": [],
        "INBOX": [["Grüße", false, false], ["New", false, false], ["News", false, false]],
        "Sent": shown["Sent"],
        "Trash": shown["Trash"],
    });
    assert_eq!(seen["after"], after);
}
