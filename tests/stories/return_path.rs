//! A return path of one's own: a subdomain with its own MX and SPF records, which receives bounces.

use crate::daemon::Daemon;
use crate::outside::Outside;
use serde_json::{Value, json};

const DOMAINS: &str = "/api/v1/custom_domains";

struct Story {
    daemon: Daemon,
    id: String,
    from: String,
    inbox: String,
}

impl Story {
    /// Checks now; returns the domain afterwards.
    fn verify(&self) -> Value {
        let api = self.daemon.api();
        api.post("/sandbox/clock", json!({"advance_seconds": 11})).expect(200);
        let verify = format!("{DOMAINS}/{}/verify", self.id);
        api.call(reqwest::Method::POST, &verify, None, &[("Prefer", "wait=30")]).expect(200).body
    }

    fn return_path(domain: &Value) -> Vec<Value> {
        domain["records"].as_array().unwrap().iter().filter(|r| r["purpose"] == "return_path").cloned().collect()
    }

    /// Sends a message; returns its envelope sender as received outside.
    fn send(&self, subject: &str) -> String {
        let message =
            json!({"from": self.from, "to": "friend@outside.test", "subject": subject, "text_body": "Hello."});
        self.daemon.api().post(&format!("/api/v1/emails/send?inbox_id={}", self.inbox), message).expect(201);
        let mail = Outside::of(&self.daemon).wait_for(subject);
        let header = mail.raw.lines().find(|line| line.starts_with("From: ")).unwrap_or_default();
        assert!(header.contains(&self.from), "{}", mail.raw);
        mail.mail_from
    }
}

#[test]
fn bounces_come_back_to_a_subdomain_once_its_records_are_right() {
    let daemon = Daemon::start();
    let api = daemon.api();
    let id = api.post(DOMAINS, json!({"domain": "acme.test"})).expect(201).at("/id").to_owned();
    let name = daemon.ready("inbox").split('@').next().unwrap().to_owned();
    let (from, bounces) = (format!("{name}@acme.test"), format!("{name}@bounce.acme.test"));
    let inbox = daemon.ready("inbox_id").to_owned();
    api.post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
    let story = Story { daemon, id, from: from.clone(), inbox: inbox.clone() };
    assert_eq!(story.verify()["verified_status"], "verified");

    let path = format!("{DOMAINS}/{}", story.id);
    let patch = |body: Value| api.call(reqwest::Method::PATCH, &path, Some(body), &[]);
    for wrong in ["a.b", "_x", ""] {
        assert_eq!(patch(json!({"return_path": wrong})).expect(422).at("/errors/0/field"), "return_path");
    }
    let set = patch(json!({"return_path": "bounce"})).expect(200).body;
    assert_eq!((&set["return_path"], &set["verified_status"]), (&json!("bounce"), &json!("verified")));
    assert_eq!(Story::return_path(&set).len(), 2, "{set}");
    // Its records are not published yet: mail is unchanged.
    assert!(Story::return_path(&story.verify()).iter().all(|r| r["status"] == "missing" && r["required"] == false));
    assert_eq!(story.send("before"), from);

    let published = api.post(&format!("/sandbox/domains/{}/publish", story.id), json!({})).expect(200).body;
    for record in Story::return_path(&set) {
        let shown = published["published"].as_array().unwrap().iter();
        let same: Vec<&Value> = shown.filter(|r| r["name"] == record["name"] && r["type"] == record["type"]).collect();
        assert_eq!(same.len(), 1, "{published}");
    }
    let valid = story.verify();
    assert!(Story::return_path(&valid).iter().all(|record| record["status"] == "valid"), "{valid}");
    let identity = api.get(&format!("/api/v1/inboxes/{inbox}/sending_identity?login={from}")).expect(200);
    assert_eq!((identity.at("/from"), identity.at("/mail_from")), (&*from, &*bounces));
    assert_eq!(identity.at("/spf/domain"), "bounce.acme.test");
    assert_eq!((&identity.body["spf"]["aligned"], &identity.body["spf"]["passes"]), (&json!(true), &json!(true)));
    assert_eq!(story.send("with a return path"), bounces);

    // A bounce from outside reaches the inbox; other recipients are refused.
    let inbound = |to: &str| {
        let raw = "From: mailer-daemon@outside.test\r\nSubject: Undelivered\r\n\r\nSorry.\r\n";
        api.post("/sandbox/inbound", json!({"mail_from": "", "rcpt_to": to, "raw": raw})).text
    };
    assert!(inbound(&bounces).contains("250"), "{}", inbound(&bounces));
    let held = api.get(&format!("/api/v1/emails?inbox={inbox}")).expect(200);
    assert!(held.body["data"].as_array().unwrap().iter().any(|m| m["subject"] == "Undelivered"), "{}", held.text);
    assert!(inbound("nobody@bounce.acme.test").contains("550"), "{}", inbound("nobody@bounce.acme.test"));
    assert!(inbound(&format!("{name}@other.acme.test")).contains("554"));

    // When its records break, the domain stays verified, and From is the envelope sender again.
    api.delete("/sandbox/dns/records?name=bounce.acme.test&type=MX");
    assert_eq!(story.verify()["verified_status"], "verified");
    assert_eq!(story.send("broken"), from);
    let removed = patch(json!({"return_path": null})).expect(200).body;
    assert!(removed["return_path"].is_null() && Story::return_path(&removed).is_empty(), "{removed}");
}
