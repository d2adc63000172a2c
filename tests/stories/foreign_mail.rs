//! Mail from other software: bare line feeds of Python's `as_bytes`, addresses that RFC 5321 does not allow or that are rare.

use crate::clients::python;
use crate::daemon::Daemon;
use crate::outside::Outside;
use crate::rude::Rude;
use serde_json::json;

#[test]
fn python_sends_bytes_with_bare_line_feeds() {
    let daemon = Daemon::start();
    let (host, port) = daemon.address("submission");
    let text = "first\n.\n..\n.dot\n\nMAIL FROM:<evil@outside.test>\nlast\n";
    let (user, ca, token) = (daemon.ready("inbox"), daemon.ready("ca"), daemon.ready("token"));
    python("sendmail.py", &[&host, &port, ca, user, token, "friend@outside.test"], text.as_bytes()).succeeded();
    let mail = Outside::of(&daemon).wait_for("bytes");
    let (_, body) = mail.raw.split_once("\r\n\r\n").unwrap();
    // smtplib adds a final CRLF.
    assert_eq!(body, format!("{text}\n").replace('\n', "\r\n"));
    assert!(!mail.raw.replace("\r\n", "").contains(['\r', '\n']), "{}", mail.raw);
    // The signature covers the repaired message.
    let (host, port) = daemon.address("dns");
    let found = python("dkim_verify.py", &[&host, &port], mail.raw.as_bytes()).succeeded().json();
    assert!(found.as_array().is_some_and(|all| all.len() == 1 && all[0]["valid"] == true), "{found}");
    assert_eq!(Outside::of(&daemon).list().len(), 1);
}

#[test]
fn addresses_are_taken_as_they_are_used() {
    let daemon = Daemon::start();
    let inbox = daemon.ready("inbox");
    let long = format!("bounces+{}@srs.example", "x".repeat(200));
    let mut client = Rude::connect(daemon.ready("mx").parse().unwrap());
    client.reply("220 ");
    client.send(b"EHLO M\xfcller-PC \x80\r\n");
    client.reply("250");
    let senders = [
        (format!("<{long}>"), long.as_str()),
        ("<a..b@docomo.example>".to_owned(), "\"a..b\"@docomo.example"),
        ("<a.@docomo.example>".to_owned(), "\"a.\"@docomo.example"),
        ("cam@device.example SIZE=100".to_owned(), "cam@device.example"),
        ("<root>".to_owned(), "root"),
        ("<cam@[192.0.2.7]>".to_owned(), "cam@[192.0.2.7]"),
        ("<cam@[IPv6:2001:db8::7]>".to_owned(), "cam@[IPv6:2001:db8::7]"),
        ("<www@web_1.example>".to_owned(), "www@web_1.example"),
    ];
    for (at, (path, _)) in senders.iter().enumerate() {
        client.say(&format!("MAIL FROM:{path}"), "250");
        client.say(&format!("RCPT TO:{}", if at == 0 { inbox.to_owned() } else { format!("<{inbox}>") }), "250");
        client.say("DATA", "354");
        client.send(format!("From: a@outside.example\r\nSubject: foreign {at}\r\n\r\nx\r\n.\r\n"));
        client.reply("250");
    }
    let path = format!("/api/v1/emails?inbox={}", daemon.ready("inbox_id"));
    let stored = daemon.api().get(&path).expect(200);
    let rows = stored.body["data"].as_array().unwrap();
    assert_eq!(rows.len(), senders.len());
    for (at, (_, shown)) in senders.iter().enumerate() {
        let row = rows.iter().find(|row| row["subject"] == format!("foreign {at}")).unwrap();
        let raw = daemon.api().get(&format!("/api/v1/emails/{}/raw", row["id"].as_str().unwrap())).expect(200).text;
        assert!(raw.starts_with(&format!("Return-Path: <{shown}>\r\nReceived: from M?ller-PC (")), "{raw}");
    }
    // They are valid recipients, too.
    for (at, (to, rcpt)) in
        [(long.as_str(), long.as_str()), ("a..b@docomo.example", "\"a..b\"@docomo.example")].into_iter().enumerate()
    {
        let subject = format!("written {at}");
        daemon.api().post("/api/v1/emails/send", json!({"to": to, "subject": subject, "text_body": "x"})).expect(201);
        assert_eq!(Outside::of(&daemon).wait_for(&subject).rcpt_to, [rcpt]);
    }
}
