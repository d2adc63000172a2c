//! Keys rotate behind three CNAMEs that the customer publishes once: by schedule, by command, across a crash. dkimpy and
//! OpenDKIM accept the signatures made before, during and after.

use crate::daemon::Daemon;
use crate::outside::Outside;
use crate::verifiers::{dkimpy, opendkim};
use serde_json::{Value, json};

const DOMAIN: &str = "acme.test";
const DOMAINS: &str = "/api/v1/custom_domains";
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

struct Story {
    daemon: Daemon,
    id: String,
    tokens: [String; 3],
    records: Value,
}

impl Story {
    /// A verified domain. Its records are not changed afterwards.
    fn begin() -> Self {
        let daemon = Daemon::start();
        let made = daemon.api().post(DOMAINS, json!({"domain": DOMAIN})).expect(201);
        let id = made.at("/id").to_owned();
        let tokens = [0, 1, 2].map(|at| made.at(&format!("/dkim_tokens/{at}")).to_owned());
        daemon.api().post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
        let wait = [("Prefer", "wait=30")];
        let verified = daemon.api().call(reqwest::Method::POST, &format!("{DOMAINS}/{id}/verify"), None, &wait);
        assert_eq!(verified.expect(200).at("/verified_status"), "verified");
        let mut story = Self { daemon, id, tokens, records: Value::Null };
        story.records = story.published();
        // All three keys are generated in the background.
        let path = story.path("dkim_keys");
        story.daemon.api().poll(&path, |keys| (0..3).all(|at| keys.body["data"][at]["public"].is_string()));
        story
    }

    fn path(&self, verb: &str) -> String {
        format!("{DOMAINS}/{}/{verb}", self.id)
    }

    /// The records that the owner has to publish.
    fn published(&self) -> Value {
        let domain = self.daemon.api().get(&format!("{DOMAINS}/{}", self.id)).expect(200);
        let records = domain.body["records"].as_array().unwrap();
        records.iter().map(|record| json!([record["name"], record["value"]])).collect()
    }

    /// A field of the three keys.
    fn keys(&self, field: &str) -> [String; 3] {
        let keys = self.daemon.api().get(&self.path("dkim_keys")).expect(200);
        [0, 1, 2].map(|at| keys.at(&format!("/data/{at}/{field}")).to_owned())
    }

    fn pass(&self, seconds: u64) {
        self.daemon.api().post("/sandbox/clock", json!({"advance_seconds": seconds})).expect(200);
    }

    /// Sends a message, which must be signed with the key at `position`; returns it as it left.
    #[track_caller]
    fn send(&self, subject: &str, position: usize) -> String {
        let name = self.daemon.ready("inbox").split('@').next().unwrap().to_owned();
        let message = json!({"from": format!("{name}@{DOMAIN}"), "to": "friend@outside.test", "subject": subject, "text_body": "Hello."});
        let path = format!("/api/v1/emails/send?inbox_id={}", self.daemon.ready("inbox_id"));
        self.daemon.api().post(&path, message).expect(201);
        let raw = Outside::of(&self.daemon).wait_for(subject).raw;
        let signed = raw.split("s=").nth(1).unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(signed, self.tokens[position], "{subject}");
        raw
    }

    /// True if both verifiers accept the signature. They must agree.
    #[track_caller]
    fn verifies(&self, raw: &str) -> bool {
        let dns = self.daemon.address("dns");
        let found = dkimpy(&dns, raw);
        let [(domain, valid)] = found.as_slice() else { panic!("one signature, not {found:?}") };
        assert_eq!(domain, DOMAIN);
        let (valid, other) = (*valid == json!(true), opendkim(&dns, raw));
        assert_eq!(valid, other.is_ok(), "dkimpy and OpenDKIM disagree: {found:?} {other:?}\n{raw}");
        valid
    }
}

#[test]
fn keys_rotate_without_the_customer_touching_the_dns() {
    let mut story = Story::begin();
    assert_eq!(story.keys("role"), ["signing", "ready", "ready"]);
    let before = story.send("before", 0);
    assert!(story.verifies(&before));
    assert!(!story.verifies(&before.replace("Hello.", "Hullo.")), "a changed message must fail");

    // By schedule, after 90 days: signatures of the old key stay valid.
    story.pass(90 * DAY + HOUR);
    assert_eq!(story.keys("role"), ["retiring", "signing", "ready"]);
    let during = story.send("during", 1);
    assert!(story.verifies(&before) && story.verifies(&during));
    story.daemon.crash_and_restart();
    assert_eq!(story.keys("role"), ["retiring", "signing", "ready"]);
    assert!(story.verifies(&before) && story.verifies(&during));

    // Later the old key is replaced by a new one behind the same token, which does not sign yet.
    let old = story.keys("public");
    story.pass(8 * DAY);
    assert_eq!(story.keys("role"), ["ready", "signing", "ready"]);
    let new = story.keys("public");
    assert!(old[0] != new[0] && old[1..] == new[1..]);
    assert!(!story.verifies(&before), "the key that signed it is gone");
    assert!(story.verifies(&during) && story.verifies(&story.send("after", 1)));

    // By command, until the new key signs.
    let token = story.daemon.ready("token").to_owned();
    let shown = story.daemon.cli(&token, &["domain", "rotate-key", DOMAIN]).succeeded().stdout;
    let line = shown.lines().find(|line| line.starts_with(&story.tokens[2])).unwrap_or_else(|| panic!("{shown}"));
    assert!(line.contains("signing"), "{line}");
    let second = story.send("by command", 2);
    story.pass(DAY);
    story.daemon.api().post(&story.path("rotate_key"), json!({})).expect(200);
    let fresh = story.send("by the fresh key", 0);
    for mail in [&during, &second, &fresh] {
        assert!(story.verifies(mail));
    }

    // No other key can sign now: the error has the reason and the fix. Other accounts get 404.
    let refused = story.daemon.cli(&token, &["domain", "rotate-key", DOMAIN]);
    assert!(refused.code == 1 && refused.stderr.contains("Both other keys have signed"), "{refused:?}");
    let refused = story.daemon.api().post(&story.path("rotate_key"), json!({})).expect(409);
    assert_eq!(refused.at("/code"), "no_key_ready");
    let operator = story.daemon.api_as(story.daemon.ready("operator_token"));
    operator.post(&format!("{DOMAINS}/dom_01m8667evpw51dy1qc16des45z/rotate_key"), json!({})).expect(404);
    assert_eq!(story.published(), story.records);
}

#[test]
fn what_was_signed_before_a_domain_is_deleted_is_verified_until_it_has_aged_out() {
    let mut story = Story::begin();
    let sent = story.send("a minute before", 0);
    story.daemon.api().delete(&format!("{DOMAINS}/{}", story.id)).expect(204);
    assert!(story.verifies(&sent), "greylisted or forwarded, it arrives later");
    story.pass(6 * DAY);
    story.daemon.crash_and_restart();
    assert!(story.verifies(&sent));
    // A new claim has other tokens.
    let again = story.daemon.api().post(DOMAINS, json!({"domain": DOMAIN})).expect(201);
    let tokens = again.body["dkim_tokens"].as_array().unwrap();
    assert!(tokens.iter().all(|token| !story.tokens.iter().any(|old| token == old)), "{tokens:?}");
    story.pass(2 * DAY);
    assert!(!story.verifies(&sent), "the key that signed it is gone");
}
