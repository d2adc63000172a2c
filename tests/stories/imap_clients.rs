//! Several sessions of Python's imaplib on one inbox, with mail from outside arriving meanwhile. The API shows the same result.

use crate::clients::python;
use crate::daemon::Daemon;
use serde_json::json;
use std::collections::BTreeMap;

#[test]
fn several_sessions_see_one_mailbox() {
    let daemon = Daemon::start();
    let ((host, port), (mx_host, mx_port)) = (daemon.address("imaps"), daemon.address("mx"));
    let (ca, user, token) = (daemon.ready("ca"), daemon.ready("inbox"), daemon.ready("token"));
    let held = python("imap_client.py", &[&host, &port, ca, user, token, &mx_host, &mx_port], b"").succeeded().json();
    let expected = json!({
        "INBOX": ["fifth", "from outside", "to both"],
        "Archive": ["first", "third"],
        "Trash": ["second"],
        "Projects/2024": ["fifth"],
    });
    assert_eq!(held, expected);

    let messages = daemon.api().get(&format!("/api/v1/emails?inbox={}", daemon.ready("inbox_id"))).expect(200);
    let mut shown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for message in crate::serve::rows(&messages.body) {
        shown.entry(message["mailbox"].as_str().unwrap()).or_default().push(message["subject"].as_str().unwrap());
    }
    shown.values_mut().for_each(|subjects| subjects.sort_unstable());
    assert_eq!(json!(shown), expected);
}
