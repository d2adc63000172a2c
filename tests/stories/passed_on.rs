//! A domain passes from one account to another, and its mail with it: the first account receives none of it again, even if the
//! other deletes its claim.

use crate::daemon::Daemon;
use crate::isolation::second_account;
use crate::rest::Rest;
use serde_json::json;

const DOMAINS: &str = "/api/v1/custom_domains";

/// An account's claim to a name, with a catch-all.
struct Claim {
    api: Rest,
    id: String,
    inbox: String,
    tokens: Vec<String>,
    domain: &'static str,
}

impl Claim {
    fn new(api: Rest, domain: &'static str, inbox: &str) -> Self {
        let made = api.post(DOMAINS, json!({"domain": domain})).expect(201);
        let id = made.at("/id").to_owned();
        let tokens = made.body["dkim_tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned());
        let catch_all = Some(json!({"catch_all_inbox_id": inbox}));
        api.call(reqwest::Method::PATCH, &format!("{DOMAINS}/{id}"), catch_all, &[]).expect(200);
        Self { id, inbox: inbox.to_owned(), tokens: tokens.collect(), domain, api }
    }

    fn verify(&self) {
        self.api.post(&format!("/sandbox/domains/{}/publish", self.id), json!({})).expect(200);
        self.advance(60);
        self.api.call(reqwest::Method::POST, &format!("{DOMAINS}/{}/verify", self.id), None, &[]).expect(200);
        self.api.poll(&format!("{DOMAINS}/{}", self.id), |answer| answer.at("/verified_status") == "verified");
    }

    fn advance(&self, seconds: u64) {
        self.api.post("/sandbox/clock", json!({"advance_seconds": seconds})).expect(200);
    }

    /// Removes its records from the DNS.
    fn unpublish(&self) {
        for token in &self.tokens {
            let name = format!("{token}._domainkey.{}", self.domain);
            assert!(self.api.delete(&format!("/sandbox/dns/records?name={name}&type=CNAME")).status < 300);
        }
    }

    fn status(&self) -> String {
        self.api.get(&format!("{DOMAINS}/{}", self.id)).expect(200).at("/verified_status").to_owned()
    }

    fn delete(&self) {
        self.api.delete(&format!("{DOMAINS}/{}", self.id)).expect(204);
    }

    /// The subjects in its catch-all inbox, in no order.
    fn mail(&self) -> Vec<String> {
        let messages = self.api.get(&format!("/api/v1/emails?inbox={}", self.inbox)).expect(200);
        let subjects = messages.body["data"].as_array().unwrap().iter();
        subjects.map(|message| message["subject"].as_str().unwrap().to_owned()).collect()
    }
}

/// The MX's reply to a message for the domain.
fn receive(daemon: &Daemon, domain: &str, subject: &str) -> String {
    let raw = format!("From: friend@outside.test\r\nSubject: {subject}\r\n\r\nPrivate.\r\n");
    let message = json!({"mail_from": "friend@outside.test", "rcpt_to": format!("anyone@{domain}"), "raw": raw});
    daemon.api().post("/sandbox/inbound", message).expect(200).text
}

#[test]
fn mail_for_a_domain_that_has_passed_on_is_never_the_first_accounts_again() {
    let daemon = Daemon::start();
    let token = second_account(&daemon);
    let theirs = || daemon.api_as(&token);
    let inbox = theirs().post("/api/v1/inboxes", json!({"name": "second"})).expect(201).at("/id").to_owned();
    // One claim is displaced while verified; the other has failed before, by its own records.
    for (domain, fails_first) in [("passed.test", false), ("broken.test", true)] {
        let first = Claim::new(daemon.api(), domain, daemon.ready("inbox_id"));
        first.verify();
        assert!(receive(&daemon, domain, &format!("1 {domain}")).contains("250"));
        first.unpublish();
        if fails_first {
            first.advance(5 * 24 * 3600);
            assert_eq!(first.status(), "failed");
            assert!(receive(&daemon, domain, &format!("2 {domain}")).contains("250"), "its own fault bounces nothing");
        }
        let second = Claim::new(theirs(), domain, &inbox);
        second.verify();
        assert_eq!(first.status(), "failed");
        assert!(receive(&daemon, domain, &format!("3 {domain}")).contains("250"));

        second.delete();
        let reply = receive(&daemon, domain, &format!("4 {domain}"));
        assert!(reply.contains("554") && !reply.contains("250 2.0.0"), "{reply}");
        assert!(second.mail().contains(&format!("3 {domain}")));
        // The first account verifies again and receives mail again.
        first.verify();
        assert!(receive(&daemon, domain, &format!("5 {domain}")).contains("250"));
        let mine: Vec<String> = first.mail().into_iter().filter(|subject| subject.ends_with(domain)).collect();
        let numbers = if fails_first { vec!["1", "2", "5"] } else { vec!["1", "5"] };
        for number in 1..6 {
            let wanted = numbers.contains(&number.to_string().as_str());
            assert_eq!(mine.contains(&format!("{number} {domain}")), wanted, "{number}: {mine:?}");
        }
    }
}
