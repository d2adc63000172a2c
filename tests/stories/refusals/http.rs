//! HTTP: tokens; bodies that are too large, too slow or not JSON; values that would become header fields.

use super::{READER, Scene, plain};
use crate::clients::curl;
use crate::rude::Rude;
use serde_json::json;

impl Scene {
    /// A request by curl with the account's token: the status and the body.
    fn curl(&self, path: &str, arguments: &[&str], body: Option<&[u8]>) -> (u16, String) {
        let is_typed = arguments.iter().any(|argument| argument.starts_with("Content-Type:"));
        let (url, authorization) =
            (format!("http://{}{path}", self.daemon.http), format!("Authorization: Bearer {}", self.token));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("body");
        std::fs::write(&file, body.unwrap_or_default()).unwrap();
        let data = format!("@{}", file.display());
        let mut all = vec!["-w", "\n%{http_code}", "-H", &*authorization];
        if body.is_some() {
            all.extend(["--data-binary", &*data]);
        }
        if body.is_some() && !is_typed {
            all.extend(["-H", "Content-Type: application/json"]);
        }
        all.extend(arguments);
        all.push(&*url);
        let response = curl(&all).succeeded().stdout;
        let (text, status) = response.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), text.to_owned())
    }

    /// Sends a body that must be refused with this status and code, in the response and in the log.
    #[track_caller]
    fn refused(&self, path: &str, arguments: &[&str], body: impl AsRef<[u8]>, status: u16, code: &str) -> String {
        let (found, text) = self.curl(path, arguments, Some(body.as_ref()));
        assert!(found == status && text.contains(&format!("\"code\":\"{code}\"")), "{found} {text}");
        assert!(text.contains("\"fix\":\""), "{text}");
        let logged = path.split('?').next().unwrap();
        self.logged(&["refused", "http", logged, &format!("status={status}"), code]);
        text
    }
}

#[test]
fn tokens_and_ids_are_checked() {
    let scene = Scene::open();
    let url = format!("http://{}/api/v1/inboxes", scene.daemon.http);
    for header in ["Authorization: Bearer ilt_wrong", "Authorization: Basic eDp4", "Authorization:", "X-None: 1"] {
        let response = curl(&["-w", "\n%{http_code}", "-H", header, &url]).succeeded().stdout;
        assert!(response.ends_with("\n401") && response.contains("\"code\":\"unauthorized\""), "{header}: {response}");
    }
    scene.logged(&["refused", "http", "status=401", "unauthorized"]);
    scene.logged(&["a log-in was refused", "bearer"]);
    let (status, text) = scene.curl("/api/v1/inboxes/inb_00000000000000000000000000", &[], None);
    assert!(status == 404 && text.contains("\"code\":\"not_found\""), "{text}");
    let (status, text) = scene.curl("/api/v1/inboxes", &["-X", "PUT"], None);
    assert!(status == 405 && text.contains("method_not_allowed"), "{text}");
    scene.logged(&["refused", "http", "status=404", "not_found"]);
    scene.ends_with(0);
}

#[test]
fn bodies_that_are_no_json_too_large_or_not_what_was_asked_for() {
    let scene = Scene::open();
    let (domains, messages) = ("/api/v1/custom_domains", format!("/api/v1/emails/send?inbox_id={}", scene.inbox));
    for body in ["", "{", "{\"domain\": \"a\x01b\"}", "[1]", "null", "\u{feff}{}", &"[".repeat(10_000)] {
        scene.refused(domains, &[], body, 400, "malformed_request");
    }
    scene.refused(domains, &[], b"{\"domain\": \"\xff\"}", 400, "malformed_request");
    scene.refused(domains, &["-H", "Content-Type: text/plain"], "{}", 415, "unsupported_media_type");
    let text = scene.refused(domains, &[], r#"{"domian": "acme-mail.com"}"#, 422, "invalid_request");
    assert!(text.contains("domian"), "{text}");
    // With Content-Length, and chunked.
    let huge = format!("{{\"domain\": \"{}\"}}", "x".repeat(100_000));
    scene.refused(domains, &[], &huge, 413, "too_large");
    scene.refused(domains, &["-H", "Transfer-Encoding: chunked"], &huge, 413, "too_large");
    let big = json!({"to": "x@outside.example", "subject": "big", "text_body": "x".repeat(20_001)}).to_string();
    scene.refused(&messages, &[], &big, 413, "too_large");
    scene.refused(&messages, &["-H", "Content-Type: message/rfc822"], vec![b'x'; 20_001], 413, "too_large");
    let (status, _) = scene.curl(domains, &["-H", &format!("X-Long: {}", "x".repeat(40_000))], None);
    assert_eq!(status, 431);
    scene.ends_with(0);
}

#[test]
fn no_field_becomes_a_header_field_or_a_command() {
    let scene = Scene::open();
    let messages = format!("/api/v1/emails/send?inbox_id={}", scene.inbox);
    let good = json!({"to": "x@outside.example", "subject": "a", "text_body": "t"});
    for (field, value) in [
        ("subject", json!("a\r\nBcc: y@outside.example")),
        ("subject", json!("a\nBcc: y@outside.example")),
        ("subject", json!("a\rb")),
        ("to", json!("x@outside.example\r\nRCPT TO:<y@outside.example>")),
        ("to", json!("\"X\r\nBcc: y@outside.example\" <x@outside.example>")),
        ("to", json!("x@outside.example>\r\nDATA")),
        ("to", json!("not an address")),
        ("to", json!(["x@outside.example", "x@"])),
        ("cc", json!("a b@outside.example")),
        ("from", json!(format!("{READER}\r\nBcc: y@outside.example"))),
        ("from", json!("somebody@elsewhere.example")),
        ("form", json!("a typo")),
    ] {
        let mut draft = good.clone();
        draft[field] = value;
        let text = scene.refused(&messages, &[], draft.to_string(), 422, "invalid_request");
        assert!(text.contains(&format!("\"field\":\"{field}")), "{draft}: {text}");
    }
    let no_recipient = json!({"to": [], "subject": "a", "text_body": "t"});
    scene.refused(&messages, &[], no_recipient.to_string(), 400, "invalid_request");
    let raw = json!({"raw": "To: x@outside.example\r\nSubject: nul\r\n\r\n\0"});
    scene.refused(&messages, &[], raw.to_string(), 422, "invalid_request");
    assert!(scene.relay.subjects().is_empty());
    scene.ends_with(0);
}

#[test]
fn a_client_that_stalls_is_sent_away() {
    let scene = Scene::with("http_timeout = \"1s\"");
    let head = |length: &str| {
        format!(
            "POST /api/v1/custom_domains HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n{length}\r\n\r\n",
            scene.token
        )
    };
    // Stalled in the body, with a known length or not: a response, then the end.
    for beginning in [
        format!("{}{{\"domain\": \"acme", head("Content-Length: 40")),
        format!("{}5\r\n{{\"dom\r\n", head("Transfer-Encoding: chunked")),
    ] {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(beginning);
        let response = client.rest();
        assert!(
            response.starts_with("HTTP/1.1 408 ") && response.contains("\"code\":\"request_timeout\""),
            "{response}"
        );
    }
    scene.logged(&["refused", "http", "status=408", "request_timeout"]);
    // Stalled in the head, and before it.
    for beginning in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow"] {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(beginning);
        let response = client.rest();
        assert!(!response.contains("200 OK"), "{response}");
    }
    scene.logged(&["http", "client timed out, closing connection"]);
    // Not HTTP.
    let mut client = Rude::connect(scene.daemon.http);
    client.send("EHLO outside.example\r\nMAIL FROM:<a@b>\r\n\r\n");
    let response = client.rest();
    assert!(response.starts_with("HTTP/1.1 400 "), "{response}");
    scene.logged(&["http", "malformed request"]);
    let domains = scene.daemon.api().get(&format!("/api/v1/custom_domains?account_id={}", scene.account)).expect(200);
    assert!(crate::serve::rows(&domains.body).is_empty());
    scene.ends_with(0);
}

const LARGE: usize = 8 * 1024 * 1024;

/// A message of about this number of octets.
fn large(to: &str, subject: &str) -> String {
    let line = format!("{}\r\n", "x".repeat(76));
    format!(
        "From: x@elsewhere.example\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{}",
        line.repeat(LARGE / line.len() - 10)
    )
}

#[test]
fn clients_that_hang_up_on_large_messages_lose_no_slot_and_leave_no_partial_message() {
    // Memory for two messages shown or sent at once.
    let scene = Scene::with(&format!("message_size = {LARGE}\nmemory_per_account = 60000000"));
    let mut client = scene.mx();
    client.envelope(READER);
    client.send(large(READER, "large"));
    client.send(".\r\n");
    client.reply("250 2.0.0");
    let api = crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), &scene.token);
    let path = format!("/api/v1/emails?inbox={}", scene.inbox);
    let shown = format!("/api/v1/emails/{}", api.get(&path).expect(200).at("/data/0/id"));
    let head = |request: &str, token: &str, more: &str| {
        format!("{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
    };
    for _ in 0..20 {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(head(&format!("GET {shown}"), &scene.token, ""));
        client.hang_up();
    }
    // All memory is released.
    for _ in 0..3 {
        assert_eq!(api.get(&shown).expect(200).at("/subject"), "large");
    }

    // Another inbox sends, so that the reader's stays as it is.
    let (_, inbox, token) = scene.daemon.account("sender");
    let post = format!("POST /api/v1/emails/send?inbox_id={inbox}");
    for n in 0..15 {
        let is_whole = n % 3 > 0;
        let message = large("ann@elsewhere.example", &format!("over HTTP {n} {is_whole}"));
        let kind = format!("Content-Type: message/rfc822\r\nContent-Length: {}\r\n", message.len());
        let mut client = Rude::connect(scene.daemon.http);
        client.send(head(&post, &token, &kind));
        client.send(&message[..message.len() - usize::from(!is_whole)]);
        // Disconnecting at once, or while it is signed or stored.
        std::thread::sleep(std::time::Duration::from_millis(if n % 3 == 2 { 10 * n } else { 0 }));
        client.hang_up();
    }
    for n in 0..10 {
        let is_whole = n % 2 > 0;
        let mut client = Rude::secure(scene.daemon.submissions, &scene.daemon.ca());
        client.reply("220 ");
        client.say("EHLO client.example", "250");
        client.say(&format!("AUTH PLAIN {}", plain("sender@inboxlayer.dev", &token)), "235 ");
        client.say("MAIL FROM:<sender@inboxlayer.dev>", "250");
        client.say("RCPT TO:<ann@elsewhere.example>", "250");
        client.say("DATA", "354");
        client.send(large("ann@elsewhere.example", &format!("over SMTP {n} {is_whole}")));
        client.send(if is_whole { ".\r\n" } else { "." });
        std::thread::sleep(std::time::Duration::from_millis(if n % 4 == 1 { 10 * n } else { 0 }));
        client.hang_up();
    }
    // Clients that wait are all served.
    let sender = crate::rest::Rest::new(&format!("http://{}", scene.daemon.http), &token);
    let draft = json!({"to": "ann@elsewhere.example", "subject": "stays", "text_body": "x".repeat(1_000_000)});
    for _ in 0..5 {
        sender.post(&format!("/api/v1/emails/send?inbox_id={inbox}"), draft.clone()).expect(201);
    }
    scene.daemon.api().poll("/api/v1/queue", |answer| crate::serve::rows(&answer.body).is_empty());
    let arrived = scene.relay.subjects();
    println!("{arrived:?}");
    assert_eq!(arrived["stays"], 5);
    assert!(arrived.iter().all(|(subject, count)| subject == "stays" || subject.ends_with("true") && *count == 1));
    let accepted = scene.daemon.log().lines().filter(|line| line.contains("submission: accepted")).count();
    assert_eq!(arrived.values().sum::<u32>(), u32::try_from(accepted).unwrap());
    scene.ends_with(1);
}
