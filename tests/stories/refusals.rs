//! Bad input at the doors of the real daemon: each gets its protocol's proper error, and nothing is stored.

use crate::clients::{curl, python, swaks};
use crate::daemon::Daemon;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A client that speaks SMTP by hand, for what no decent client would say.
struct Rude {
    reader: BufReader<TcpStream>,
}

impl Rude {
    fn connect(daemon: &Daemon, door: &str) -> Self {
        let stream = TcpStream::connect(daemon.ready(door)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self { reader: BufReader::new(stream) };
        assert!(client.reply().starts_with("220 "));
        client
    }

    fn reply(&mut self) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.reader.read_line(&mut line).unwrap() > 0, "closed after {all:?}");
            all.push_str(&line);
            if line.as_bytes().get(3) != Some(&b'-') {
                return all;
            }
        }
    }

    fn send(&mut self, octets: &[u8]) {
        self.reader.get_mut().write_all(octets).unwrap();
    }

    #[track_caller]
    fn say(&mut self, line: &str, expect: &str) {
        self.send(format!("{line}\r\n").as_bytes());
        let reply = self.reply();
        assert!(reply.starts_with(expect), "{line:?}: {reply:?}");
    }
}

fn stored(daemon: &Daemon) -> usize {
    let path = format!("/api/v1/inboxes/{}/messages", daemon.ready("inbox_id"));
    daemon.api().get(&path).expect(200).body["data"].as_array().unwrap().len()
}

#[test]
fn the_known_smuggling_endings_end_nothing() {
    let daemon = Daemon::start();
    let inbox = daemon.ready("inbox").to_owned();
    for ending in ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r\r\n", "\r.\r\n", "\r\n.\r"] {
        let mut client = Rude::connect(&daemon, "mx");
        client.say("EHLO outside.test", "250");
        client.say("MAIL FROM:<a@outside.test>", "250");
        client.say(&format!("RCPT TO:<{inbox}>"), "250");
        client.say("DATA", "354");
        let smuggled =
            format!("MAIL FROM:<evil@outside.test>\r\nRCPT TO:<{inbox}>\r\nDATA\r\nSubject: smuggled\r\n\r\nx");
        client.send(format!("Subject: outer\r\n\r\nhello{ending}{smuggled}\r\n.\r\n").as_bytes());
        let reply = client.reply();
        assert!(reply.starts_with("550 5.5.2"), "{ending:?}: {reply:?}");
        // One reply to one message: the session is where it was.
        client.say("NOOP", "250");
        client.say("QUIT", "221");
    }
    assert_eq!(stored(&daemon), 0);
}

#[test]
fn what_stands_behind_starttls_in_plaintext_is_dropped() {
    let daemon = Daemon::start();
    for door in ["submission", "mx"] {
        let mut client = Rude::connect(&daemon, door);
        client.say("EHLO outside.test", "250");
        client.send(b"STARTTLS\r\nMAIL FROM:<evil@outside.test>\r\n");
        assert!(client.reply().starts_with("220 "));
        // No reply to the plaintext command ever comes: either silence in wait of a handshake, or the end.
        client.reader.get_ref().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut rest = Vec::new();
        let _ = client.reader.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"250"), "{:?}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn the_mx_is_no_relay_and_knows_its_users() {
    let daemon = Daemon::start();
    let domain = daemon.ready("inbox").split('@').nth(1).unwrap().to_owned();
    daemon.api().post("/api/v1/custom_domains", json!({"domain": "acme.test"})).expect(201);
    let mut client = Rude::connect(&daemon, "mx");
    client.say("EHLO outside.test", "250");
    client.say("MAIL FROM:<a@outside.test>", "250");
    client.say("RCPT TO:<x@elsewhere.test>", "554 5.7.1");
    client.say(&format!("RCPT TO:<nobody@{domain}>"), "550 5.1.1");
    client.say("RCPT TO:<x@acme.test>", "451 4.7.1");
    client.say("RCPT TO:<not an address>", "501");
    client.say(&format!("RCPT TO:<postmaster@{domain}>"), "250");
    client.say("RCPT TO:<postmaster>", "250");
    client.say(&format!("{}\r\n", "N".repeat(5000)), "500");
}

#[test]
fn log_ins_and_senders_are_checked() {
    let daemon = Daemon::start();
    let inbox = daemon.ready("inbox");
    let (host, port) = daemon.address("submission");
    let attempt = |extra: &[&str]| {
        let base = ["--server", &*host, "--port", &*port, "--to", "x@outside.test", "--from", inbox];
        swaks(&base.iter().copied().chain(extra.iter().copied()).collect::<Vec<_>>())
    };
    // No TLS, no log-in; a wrong token; no log-in at all.
    let plain = attempt(&["--auth", "PLAIN", "--auth-user", inbox, "--auth-password", daemon.ready("token")]);
    assert_ne!(plain.code, 0, "{plain:?}");
    assert!(!plain.stdout.contains("AUTH PLAIN") || plain.stdout.contains("538"), "{plain:?}");
    let wrong = attempt(&["--tls", "--auth", "PLAIN", "--auth-user", inbox, "--auth-password", "ilt_wrong"]);
    assert!(wrong.code != 0 && wrong.stdout.contains("535 5.7.8"), "{wrong:?}");
    let anonymous = attempt(&["--tls"]);
    assert!(anonymous.code != 0 && anonymous.stdout.contains("530 5.7.0"), "{anonymous:?}");
}

#[test]
fn an_oversize_message_is_refused_before_and_after_it_is_sent() {
    let daemon = Daemon::start();
    let mut client = Rude::connect(&daemon, "mx");
    client.say("EHLO outside.test", "250");
    client.say("MAIL FROM:<a@outside.test> SIZE=99999999999", "552 5.3.4");
    client.say("MAIL FROM:<a@outside.test> SIZE=99999999999999999999999", "5");
    client.say("MAIL FROM:<a@outside.test>", "250");
    client.say(&format!("RCPT TO:<{}>", daemon.ready("inbox")), "250");
    client.say("DATA", "354");
    let line = format!("{}\r\n", "x".repeat(998));
    client.send(b"Subject: big\r\n\r\n");
    for _ in 0..27 {
        client.send(line.repeat(1024).as_bytes());
    }
    client.send(b".\r\n");
    let reply = client.reply();
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    client.say("NOOP", "250");
    assert_eq!(stored(&daemon), 0);
}

#[test]
fn header_injection_over_the_api_is_refused() {
    let daemon = Daemon::start();
    let url = format!("{}/api/v1/inboxes/{}/messages", daemon.ready("http"), daemon.ready("inbox_id"));
    let authorization = format!("Authorization: Bearer {}", daemon.ready("token"));
    for body in [
        json!({"to": "x@outside.test", "subject": "a\r\nBcc: y@outside.test", "text": "t"}),
        json!({"to": "x@outside.test\r\nRCPT TO:<y@outside.test>", "subject": "a", "text": "t"}),
        json!({"to": "x@outside.test", "subject": "a", "text": "t", "form": "typo"}),
    ] {
        let body = body.to_string();
        let arguments =
            ["-w", "\n%{http_code}", "-H", &authorization, "-H", "Content-Type: application/json", "-d", &body, &url];
        let answer = curl(&arguments).succeeded().stdout;
        assert!(answer.ends_with("\n422") && answer.contains("\"fix\""), "{body}: {answer}");
    }
    assert_eq!(crate::outside::Outside::of(&daemon).list().len(), 0);
}

#[test]
fn imap_takes_no_password_in_the_clear() {
    let daemon = Daemon::start();
    let mut stream = BufReader::new(TcpStream::connect(daemon.ready("imap")).unwrap());
    stream.get_ref().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("* OK"), "{line}");
    stream.get_mut().write_all(b"a LOGIN x y\r\n").unwrap();
    line.clear();
    stream.read_line(&mut line).unwrap();
    assert!(line.starts_with("a NO [PRIVACYREQUIRED]") || line.starts_with("a BAD"), "{line}");
    let (host, port) = daemon.address("imaps");
    let arguments = [&host, &port, "tls", daemon.ready("ca"), daemon.ready("inbox"), "ilt_wrong", "x"];
    let refused = python("read.py", &arguments, b"").succeeded().json();
    assert!(refused["refused"].as_str().is_some_and(|t| t.contains("AUTHENTICATIONFAILED")), "{refused}");
}
