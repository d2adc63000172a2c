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
