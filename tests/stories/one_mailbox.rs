//! One mailbox: a random walk of actions over REST, IMAP and SMTP, with checks over the other protocols after each step.

use crate::clients::python;
use crate::daemon::Daemon;
use serde_json::json;

/// The walk that is taken where the environment names none.
const SEED: u64 = 10;
const STEPS: u64 = 150;

#[test]
fn every_protocol_shows_what_was_done_over_another() {
    let number = |name: &str, usual| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => usual,
    };
    let (seed, steps) = (number("WALK_SEED", SEED), number("WALK_STEPS", STEPS));
    // Its replies come faster than a person's.
    let daemon = Daemon::start_in(&[("INBOXLAYER_LIMITS__THREAD_MESSAGES_PER_HOUR", "1000")]);
    let other = daemon.api().post("/api/v1/inboxes", json!({"name": "walk-other"})).expect(201);
    let setting = json!({
        "seed": seed, "steps": steps, "ca": daemon.ready("ca"), "token": daemon.ready("token"), "http": daemon.ready("http"),
        "inbox": daemon.ready("inbox"), "inbox_id": daemon.ready("inbox_id"),
        "other": other.at("/platform_address"), "other_id": other.at("/id"),
        "imaps": daemon.address("imaps"), "submission": daemon.address("submission"), "mx": daemon.address("mx"),
    });
    let walked = python("one_mailbox.py", &[], setting.to_string().as_bytes()).succeeded().json();
    assert_eq!(walked["steps"], steps, "{walked}");
}
