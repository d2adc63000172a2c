//! Mail from outside with a From at the platform's domain: refused, unless it has a valid signature of ours (mail that returns
//! through a list) or comes from a trusted relay.

use crate::daemon::Daemon;
use crate::outside::Outside;
use crate::rude::Rude;
use crate::serve::{Relay, Serve, rows};
use serde_json::json;
use std::net::Ipv4Addr;

#[test]
fn mail_under_our_domain_comes_in_with_our_signature_only() {
    let daemon = Daemon::start();
    let (api, inbox) = (daemon.api(), daemon.ready("inbox").to_owned());
    let hand_in = |raw: &str| {
        let inbound = json!({"mail_from": "list-bounces@list.example", "rcpt_to": inbox, "raw": raw});
        let response = api.post("/sandbox/inbound", inbound).expect(200);
        response.body["reply"].as_str().map_or_else(|| response.text.clone(), str::to_owned)
    };
    let body = "Please pay the invoice.\r\n";
    for from in [
        "ceo@inboxlayer.dev",
        "CEO <ceo@InboxLayer.dev>",
        "x@list.example\r\nFrom: ceo@inboxlayer.dev",
        // Malformed: mail clients show some of these as an address at our domain.
        "CEO <ceo@inboxlayer.dev",
        "ceo@inboxlayer.de(x) .d\u{e9}<v",
        "ceo@(x) CEO <inboxlayer.dev",
        "=?utf-8?q?ceo=40inbox?= =?utf-8?q?layer.dev?= (x)",
    ] {
        let response = hand_in(&format!("From: {from}\r\nSubject: forged\r\n\r\n{body}"));
        assert!(response.contains("550") && response.contains("5.7.1"), "{response}");
    }
    // A user's message returns through a mailing list, with fields that the list added.
    let path = format!("/api/v1/emails/send?inbox_id={}", daemon.ready("inbox_id"));
    api.post(&path, json!({"to": "list@list.example", "subject": "to the list", "text_body": "Hello, list!"}))
        .expect(201);
    let sent = Outside::of(&daemon).wait_for("to the list").raw.replace("\r\n", "\n").replace('\n', "\r\n");
    let listed = format!(
        "Received: from list.example\r\n\tby list.example; Tue, 24 Nov 2026 05:31:07 +0000\r\nList-Id: <list.list.example>\r\n{sent}"
    );
    let response = hand_in(&listed);
    assert!(response.contains("250"), "{response}\n{listed}");
    for changed in [
        listed.replace("Hello, list!", "Please pay the invoice."),
        listed.replace("Subject: to the list", "Subject: pay the invoice"),
        format!("From: ceo@inboxlayer.dev\r\n{listed}"),
    ] {
        let response = hand_in(&changed);
        assert!(response.contains("550") && response.contains("5.7.1"), "{response}\n{changed}");
    }
    // A display name is not an address: this mail is from another domain and needs no signature of ours.
    for from in [
        "\"ceo@inboxlayer.dev via List\" <list@list.example>",
        "inboxlayer.dev alerts <bot@list.example",
        "root (Cron)",
    ] {
        let response = hand_in(&format!("From: {from}\r\nSubject: munged\r\n\r\nx\r\n"));
        assert!(response.contains("250"), "{response}\n{from}");
    }
    assert!(daemon.log().contains("forged"));
}

#[test]
fn a_relay_of_the_operators_may_hand_it_in() {
    let trusted = [("INBOXLAYER_SMTP__TRUSTED_RELAYS", "[\"127.7.0.0/16\"]")];
    let relay = Relay::start();
    let queue = format!("[queue.relay]\nhost = \"127.0.0.1\"\nport = {}", relay.address.port());
    let daemon = Serve::start_in(&trusted, "resolvers = [\"127.0.0.1:9\"]", &queue, "");
    let (_, inbox, _) = daemon.account("reader");
    for (source, reply) in [([127, 7, 0, 1], "250 2.0.0"), ([127, 8, 0, 1], "550 5.7.1")] {
        let mut client = Rude::connect_from(Ipv4Addr::from(source), daemon.mx);
        client.reply("220 ");
        client.say("EHLO relay.example", "250");
        client.envelope("reader@inboxlayer.dev");
        client.send("From: cron@inboxlayer.dev\r\nSubject: report\r\n\r\nall is well\r\n.\r\n");
        client.reply(reply);
    }
    let found = daemon.api().get(&format!("/api/v1/emails?inbox={inbox}")).expect(200);
    assert_eq!(rows(&found.body).len(), 1, "{}", found.text);
}
