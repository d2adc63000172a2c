//! `on_unverified`, over SMTP and the API: with `hold`, mail from a pending domain is held until the domain is verified, and
//! bounces if the domain is deleted; with `reject` it is refused.

use crate::clients::python;
use crate::daemon::Daemon;
use crate::outside::Outside;
use crate::rest::Answer;
use serde_json::json;

const DOMAINS: &str = "/api/v1/custom_domains";
const FRIEND: &str = "friend@outside.test";

struct Owner {
    daemon: Daemon,
    inbox: String,
}

impl Owner {
    /// Claims a domain with this `on_unverified`; returns its id.
    fn claim(&self, domain: &str, on_unverified: &str) -> String {
        let api = self.daemon.api();
        let id = api.post(DOMAINS, json!({"domain": domain})).expect(201).at("/id").to_owned();
        let change = json!({"on_unverified": on_unverified});
        let patched = api.call(reqwest::Method::PATCH, &format!("{DOMAINS}/{id}"), Some(change), &[]).expect(200);
        assert_eq!(patched.at("/on_unverified"), on_unverified);
        id
    }

    fn submit(&self, from: &str, subject: &str) -> (u64, String) {
        let (host, port) = self.daemon.address("submission");
        let message = format!("From: Me <{from}>\r\nTo: {FRIEND}\r\nSubject: {subject}\r\n\r\nHello.\r\n");
        let (ca, token) = (self.daemon.ready("ca"), self.daemon.ready("token"));
        let arguments = [&host, &port, "starttls", ca, from, token, from, FRIEND];
        let reply = python("send.py", &arguments, message.as_bytes()).json();
        (reply["code"].as_u64().unwrap(), reply["text"].as_str().unwrap().to_owned())
    }

    fn send(&self, from: &str, subject: &str) -> Answer {
        let path = format!("/api/v1/emails/send?inbox_id={}", self.daemon.ready("inbox_id"));
        self.daemon.api().post(&path, json!({"from": from, "to": FRIEND, "subject": subject, "text_body": "hello"}))
    }

    fn queued(&self) -> Vec<bool> {
        let queue = self.daemon.api().get("/api/v1/queue").expect(200);
        crate::serve::rows(&queue.body).iter().map(|row| row["held"].as_bool().unwrap()).collect()
    }
}

#[test]
fn mail_is_held_until_its_domain_is_verified_or_refused_as_its_owner_wants_it() {
    let daemon = Daemon::start();
    let inbox = daemon.ready("inbox").split('@').next().unwrap().to_owned();
    let owner = Owner { daemon, inbox };
    let (api, outside) = (owner.daemon.api(), Outside::of(&owner.daemon));
    let acme = owner.claim("acme.test", "hold");
    let from = format!("{}@acme.test", owner.inbox);

    let (code, text) = owner.submit(&from, "by SMTP");
    let expected = format!("from {from} until acme.test is verified");
    assert!(code == 250 && text.contains("held as msg_") && text.ends_with(&expected), "{code} {text}");
    let sent = owner.send(&from, "by the API").expect(201);
    assert_eq!((&sent.body["held"], &sent.body["fallback"], sent.at("/from")), (&json!(true), &json!(null), &*from));
    assert_eq!(owner.queued(), [true, true]);
    assert!(outside.list().is_empty());

    api.post(&format!("/sandbox/domains/{acme}/publish"), json!({})).expect(200);
    let wait = [("Prefer", "wait=30")];
    api.call(reqwest::Method::POST, &format!("{DOMAINS}/{acme}/verify"), None, &wait).expect(200);
    for subject in ["by SMTP", "by the API"] {
        let mail = outside.wait_for(subject);
        assert_eq!(mail.mail_from, from);
        assert!(mail.raw.contains("d=acme.test") && !mail.raw.contains("Inboxlayer-Fallback"), "{}", mail.raw);
    }
    api.poll("/api/v1/queue", |queue| crate::serve::rows(&queue.body).is_empty());

    let late = owner.claim("late.test", "hold");
    let from = format!("{}@late.test", owner.inbox);
    owner.send(&from, "too late").expect(201);
    assert_eq!(owner.queued(), [true]);
    api.delete(&format!("{DOMAINS}/{late}")).expect(204);
    api.poll("/api/v1/queue", |queue| crate::serve::rows(&queue.body).is_empty());
    let messages = format!("/api/v1/emails?inbox={}", owner.daemon.ready("inbox_id"));
    let bounce = api.poll(&messages, |listed| listed.text.contains("Your message could not be delivered"));
    assert!(!outside.list().iter().any(|mail| mail["subject"] == "too late"), "{}", bounce.text);

    owner.claim("never.test", "reject");
    let from = format!("{}@never.test", owner.inbox);
    let (code, text) = owner.submit(&from, "refused");
    assert!(code == 550 && text.starts_with("5.7.1"), "{code} {text}");
    assert_eq!(owner.send(&from, "refused").expect(403).at("/code"), "domain_not_verified");
    assert!(owner.queued().is_empty());
}
