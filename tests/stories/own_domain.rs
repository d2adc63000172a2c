//! The documented life of a domain: create it, publish its records, verify it, send and receive under it; then its DNS breaks,
//! and mail leaves under the platform's domain again.

use crate::clients::{curl, python, swaks};
use crate::daemon::Daemon;
use crate::outside::Outside;
use serde_json::{Value, json};

const DOMAIN: &str = "acme.test";
const FRIEND: &str = "friend@outside.test";
const DOMAINS: &str = "/api/v1/custom_domains";

/// Sends as `support@acme.test` with smtplib over STARTTLS; the reply's code and text.
fn submit(daemon: &Daemon, user: &str, subject: &str) -> (u64, String) {
    let (host, port) = daemon.address("submission");
    let message = format!("From: Acme Support <{user}>\r\nTo: {FRIEND}\r\nSubject: {subject}\r\n\r\nHello.\r\n");
    let arguments = [&host, &port, "starttls", daemon.ready("ca"), user, daemon.ready("token"), user, FRIEND];
    let reply = python("send.py", &arguments, message.as_bytes()).succeeded().json();
    (reply["code"].as_u64().unwrap(), reply["text"].as_str().unwrap().to_owned())
}

/// The signatures of a message, by dkimpy: the domain of each, and whether it is valid.
fn signatures(daemon: &Daemon, raw: &str) -> Vec<(String, Value)> {
    let (host, port) = daemon.address("dns");
    let found = python("dkim_verify.py", &[&host, &port], raw.as_bytes()).succeeded().json();
    let one = |s: &Value| (s["domain"].as_str().unwrap().to_owned(), s["valid"].clone());
    found.as_array().unwrap().iter().map(one).collect()
}

/// The value of a field, by its exact name.
fn field<'a>(raw: &'a str, name: &str) -> Option<&'a str> {
    raw.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn status(daemon: &Daemon, id: &str) -> String {
    daemon.api().get(&format!("{DOMAINS}/{id}")).expect(200).at("/verified_status").to_owned()
}

#[test]
fn sending_and_receiving_under_ones_own_domain() {
    let mut daemon = Daemon::start();
    let name = daemon.ready("inbox").split('@').next().unwrap().to_owned();
    let platform = daemon.ready("inbox").to_owned();
    let custom = format!("{name}@{DOMAIN}");

    // Create the domain with curl: the response has the records to publish.
    let authorization = format!("Authorization: Bearer {}", daemon.ready("token"));
    let url = format!("{}{DOMAINS}", daemon.ready("http"));
    let body = json!({"domain": DOMAIN}).to_string();
    let created = curl(&["-f", "-H", &authorization, "-H", "Content-Type: application/json", "-d", &body, &url]);
    let created = created.succeeded().json();
    let id = created["id"].as_str().unwrap().to_owned();
    assert_eq!(created["verified_status"], "pending");
    documented_records(&created);

    // Log in as inbox@custom while it is pending: mail leaves under the platform's domain.
    let (code, text) = submit(&daemon, &custom, "while pending");
    assert!(code == 250 && text.contains(&platform), "{code} {text}");
    let mail = Outside::of(&daemon).wait_for("while pending");
    assert_eq!((&*mail.mail_from, &mail.rcpt_to[..]), (&*platform, [FRIEND.to_owned()].as_slice()));
    assert_eq!(field(&mail.raw, "From"), Some(&*format!("Acme Support <{platform}>")));
    assert_eq!(field(&mail.raw, "Inboxlayer-Fallback"), Some(&*format!("from={custom}; reason=pending")));
    let platform_domain = platform.split('@').nth(1).unwrap();
    assert_eq!(signatures(&daemon, &mail.raw), [(platform_domain.to_owned(), json!(true))]);

    // Publish one record by hand and then all, verify, and poll. The daemon is killed in between.
    let record = &created["records"].as_array().unwrap().iter().find(|r| r["purpose"] == "dkim").unwrap();
    let by_hand = json!({"name": record["name"], "type": "CNAME", "values": [record["value"]], "ttl": 60});
    assert!(daemon.api().put("/sandbox/dns/records", by_hand).status < 300);
    daemon.api().post(&format!("/sandbox/domains/{id}/publish"), json!({})).expect(200);
    daemon.api().call(reqwest::Method::POST, &format!("{DOMAINS}/{id}/verify"), None, &[]).expect(200);
    daemon.crash_and_restart();
    let verified =
        daemon.api().poll(&format!("{DOMAINS}/{id}"), |a| a.status == 200 && a.at("/verified_status") == "verified");
    // Its keys may have been incomplete when the daemon was killed; the check has waited for them.
    assert_eq!(verified.body["records"][0]["error"], Value::Null, "{}", verified.text);

    // The same credentials now send from inbox@custom, with another client over implicit TLS.
    let (host, port) = daemon.address("submissions");
    let sent = swaks(&[
        "--server",
        &host,
        "--port",
        &port,
        "--tlsc",
        "--tls-verify",
        "--tls-ca-path",
        daemon.ready("ca"),
        "--auth",
        "LOGIN",
        "--auth-user",
        &custom,
        "--auth-password",
        daemon.ready("token"),
        "--from",
        &custom,
        "--to",
        FRIEND,
        "--header",
        "Subject: once verified",
        "--body",
        "Hello again.",
    ]);
    sent.succeeded();
    let mail = Outside::of(&daemon).wait_for("once verified");
    assert_eq!(mail.mail_from, custom);
    assert_eq!(field(&mail.raw, "From"), Some(&*custom));
    assert_eq!(field(&mail.raw, "Inboxlayer-Fallback"), None);
    assert_eq!(signatures(&daemon, &mail.raw), [(DOMAIN.to_owned(), json!(true))]);

    // A reply arrives at the MX and is read over IMAP and the API.
    receive(&daemon, &custom, "Re: once verified");
    read_by_imap(&daemon, &custom, "Re: once verified");
    read_by_api(&daemon, "Re: once verified");

    // A DKIM record breaks for longer than the grace period: mail falls back, and inbound mail is still accepted.
    let token = created["dkim_tokens"][0].as_str().unwrap();
    let record = format!("/sandbox/dns/records?name={token}._domainkey.{DOMAIN}&type=CNAME");
    assert!(daemon.api().delete(&record).status < 300);
    daemon.api().post("/sandbox/clock", json!({"advance_seconds": 36 * 3600})).expect(200);
    assert_eq!(status(&daemon, &id), "verified", "one fault is not yet a failure");
    daemon.api().post("/sandbox/clock", json!({"advance_seconds": 5 * 24 * 3600})).expect(200);
    let failed = daemon.api().get(&format!("{DOMAINS}/{id}")).expect(200);
    assert_eq!(failed.at("/verified_status"), "failed", "{}", failed.text);
    let (code, text) = submit(&daemon, &custom, "after the fault");
    assert!(code == 250 && text.contains(&platform), "{code} {text}");
    let mail = Outside::of(&daemon).wait_for("after the fault");
    assert_eq!(field(&mail.raw, "Inboxlayer-Fallback"), Some(&*format!("from={custom}; reason=failed")));
    receive(&daemon, &custom, "still received");
    read_by_imap(&daemon, &custom, "still received");

    // After deletion the address cannot log in; its messages stay in the inbox.
    daemon.api().delete(&format!("{DOMAINS}/{id}")).expect(204);
    daemon.api().get(&format!("{DOMAINS}/{id}")).expect(404);
    assert_eq!(submit(&daemon, &custom, "too late").0, 535);
    read_by_imap(&daemon, &platform, "still received");
}

/// The records that the public documentation lists.
fn documented_records(domain: &Value) {
    let records = domain["records"].as_array().unwrap();
    let of = |kind: &str| -> Vec<(&str, &str, bool)> {
        let wanted = records.iter().filter(|r| r["purpose"] == kind);
        wanted
            .map(|r| (r["name"].as_str().unwrap(), r["value"].as_str().unwrap(), r["required"].as_bool().unwrap()))
            .collect()
    };
    assert_eq!(of("mx"), [(DOMAIN, "smtp.inboxlayer.dev", false)]);
    assert_eq!(of("spf"), [(DOMAIN, "v=spf1 include:amazonses.com ~all", false)]);
    assert_eq!(of("dmarc"), [(&*format!("_dmarc.{DOMAIN}"), "v=DMARC1; p=none;", false)]);
    let tokens = domain["dkim_tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 3);
    for (token, record) in tokens.iter().zip(of("dkim")) {
        let token = token.as_str().unwrap();
        let (name, value) = (format!("{token}._domainkey.{DOMAIN}"), format!("{token}.dkim.amazonses.com"));
        assert_eq!(record, (&*name, &*value, true));
    }
}

/// Delivers a message from outside through the MX.
fn receive(daemon: &Daemon, to: &str, subject: &str) {
    let (host, port) = daemon.address("mx");
    let subject = format!("Subject: {subject}");
    swaks(&[
        "--server", &host, "--port", &port, "--from", FRIEND, "--to", to, "--header", &subject, "--body", "Thanks.",
    ])
    .succeeded();
}

fn read_by_imap(daemon: &Daemon, user: &str, subject: &str) {
    for (server, mode) in [("imap", "starttls"), ("imaps", "tls")] {
        let (host, port) = daemon.address(server);
        let arguments = [&host, &port, mode, daemon.ready("ca"), user, daemon.ready("token"), subject];
        let found = python("read.py", &arguments, b"").succeeded().json();
        let messages = found["messages"].as_array().unwrap_or_else(|| panic!("{found}"));
        assert_eq!(messages.len(), 1, "{found}");
        let raw = messages[0]["raw"].as_str().unwrap();
        assert!(raw.starts_with("Return-Path: <friend@outside.test>\r\n"), "{raw}");
        assert!(raw.contains("Received: ") && raw.trim_end().ends_with("Thanks."), "{raw}");
    }
}

fn read_by_api(daemon: &Daemon, subject: &str) {
    let list = format!("/api/v1/emails?inbox={}", daemon.ready("inbox_id"));
    let all = daemon.api().get(&list).expect(200);
    let found = all.body["data"].as_array().unwrap().iter().find(|m| m["subject"] == subject);
    let message = found.unwrap_or_else(|| panic!("{}", all.text));
    let path = format!("/api/v1/emails/{}", message["id"].as_str().unwrap());
    let one = daemon.api().get(&path).expect(200);
    assert_eq!(one.at("/from/0/address"), FRIEND);
    assert_eq!(one.at("/text_body").trim_end(), "Thanks.");
    assert!(daemon.api().get(&format!("{path}/raw")).expect(200).text.contains("Thanks."));
}
