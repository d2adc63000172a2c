//! A daemon started long after its queued mail has expired: each message is tried once more, and bounces only after an attempt
//! at its due time has failed.

use crate::daemon::Daemon;
use crate::outside::Outside;
use crate::serve::rows;
use serde_json::{Value, json};

const DAY: u64 = 24 * 3600;

/// The attempts of each message in the queue, by recipient.
fn attempts(daemon: &Daemon) -> Vec<(String, u64)> {
    let queue = daemon.api().get("/api/v1/queue").expect(200);
    let attempts = |row: &Value| {
        let delivery = &row["deliveries"][0];
        (delivery["rcpt_to"].as_str().unwrap().to_owned(), delivery["attempts"].as_u64().unwrap())
    };
    let mut found: Vec<_> = rows(&queue.body).iter().map(attempts).collect();
    found.sort();
    found
}

#[test]
fn mail_is_tried_once_more_after_a_jump_of_the_clock_and_bounces_only_when_that_has_failed() {
    let mut daemon = Daemon::start();
    let messages = format!("/api/v1/emails?inbox={}", daemon.ready("inbox_id"));
    // One host does not answer for now; another always defers.
    daemon.api().post("/sandbox/dns/faults", json!({"name": "silent.example", "fault": "servfail"})).expect(204);
    for to in ["ann@silent.example", "defer@simulator.test"] {
        daemon
            .api()
            .post("/api/v1/emails/send", json!({"to": to, "subject": format!("to {to}"), "text_body": "hello"}))
            .expect(201);
    }
    let tried = |answer: &crate::rest::Answer| {
        rows(&answer.body).iter().all(|row| row["deliveries"][0]["attempts"].as_u64() > Some(0))
    };
    daemon.api().poll("/api/v1/queue", tried);
    let before = attempts(&daemon);
    assert_eq!(before.len(), 2);

    // The machine is off for six days, one more than the lifetime of queued mail. Meanwhile the silent host is repaired.
    daemon.kill();
    let path = daemon.data_dir().join("sandbox.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let ahead = state["clock_ahead_seconds"].as_u64().unwrap();
    state["clock_ahead_seconds"] = json!(ahead + 6 * DAY);
    state["faults"] = json!({});
    std::fs::write(&path, state.to_string()).unwrap();
    daemon.launch();
    let outside = Outside::of(&daemon);
    assert_eq!(outside.wait_for("to ann@silent.example").rcpt_to, ["ann@silent.example"]);

    // The other one is tried as well and stays queued, since that attempt was late.
    let tried_again = |answer: &crate::rest::Answer| {
        let rows = rows(&answer.body);
        rows.len() == 1 && rows[0]["deliveries"][0]["attempts"].as_u64() > Some(before[1].1)
    };
    daemon.api().poll("/api/v1/queue", tried_again);
    assert_eq!(attempts(&daemon)[0].0, "defer@simulator.test");
    let inbox = || daemon.api().get(&messages).expect(200).text;
    assert!(!inbox().contains("mailer-daemon"), "{}", inbox());

    // The next attempt is made at its due time, and is the last.
    daemon.api().post("/sandbox/clock", json!({"advance_seconds": DAY})).expect(200);
    assert_eq!(attempts(&daemon), []);
    let bounces = inbox().to_lowercase().matches("mailer-daemon@").count();
    assert!(bounces > 0, "{}", inbox());
    assert!(!outside.list().iter().any(|mail| mail["subject"] == "to defer@simulator.test"));
}
