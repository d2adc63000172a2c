//! HTTP: tokens, bodies that are too large, too slow or no JSON, fields that would become header fields.

use super::{READER, Scene};
use crate::clients::curl;
use crate::rude::Rude;
use serde_json::json;

impl Scene {
    /// A request by curl with the account's token: the status, and the answer.
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
        let said = curl(&all).succeeded().stdout;
        let (text, status) = said.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), text.to_owned())
    }

    /// A body that is refused, with this status and this code in answer and log.
    #[track_caller]
    fn refused(&self, path: &str, arguments: &[&str], body: impl AsRef<[u8]>, status: u16, code: &str) -> String {
        let (found, text) = self.curl(path, arguments, Some(body.as_ref()));
        assert!(found == status && text.contains(&format!("\"code\":\"{code}\"")), "{found} {text}");
        assert!(text.contains("\"fix\":\""), "{text}");
        self.logged(&["refused", "http", path, &format!("status={status}"), code]);
        text
    }
}

#[test]
fn tokens_and_ids_are_checked() {
    let scene = Scene::open();
    let url = format!("http://{}/api/v1/inboxes", scene.daemon.http);
    for header in ["Authorization: Bearer ilt_wrong", "Authorization: Basic eDp4", "Authorization:", "X-None: 1"] {
        let said = curl(&["-w", "\n%{http_code}", "-H", header, &url]).succeeded().stdout;
        assert!(said.ends_with("\n401") && said.contains("\"code\":\"unauthorized\""), "{header}: {said}");
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
    let (domains, messages) = ("/api/v1/custom_domains", format!("/api/v1/inboxes/{}/messages", scene.inbox));
    for body in ["", "{", "{\"domain\": \"a\x01b\"}", "[1]", "null", "\u{feff}{}", &"[".repeat(10_000)] {
        scene.refused(domains, &[], body, 400, "malformed_request");
    }
    scene.refused(domains, &[], b"{\"domain\": \"\xff\"}", 400, "malformed_request");
    scene.refused(domains, &["-H", "Content-Type: text/plain"], "{}", 415, "unsupported_media_type");
    let text = scene.refused(domains, &[], r#"{"domian": "acme-mail.com"}"#, 422, "invalid_request");
    assert!(text.contains("domian"), "{text}");
    // Announced, and in chunks that announce nothing.
    let huge = format!("{{\"domain\": \"{}\"}}", "x".repeat(100_000));
    scene.refused(domains, &[], &huge, 413, "too_large");
    scene.refused(domains, &["-H", "Transfer-Encoding: chunked"], &huge, 413, "too_large");
    let big = json!({"to": "x@outside.example", "subject": "big", "text": "x".repeat(20_001)}).to_string();
    scene.refused(&messages, &[], &big, 413, "too_large");
    scene.refused(&messages, &["-H", "Content-Type: message/rfc822"], vec![b'x'; 20_001], 413, "too_large");
    let (status, _) = scene.curl(domains, &["-H", &format!("X-Long: {}", "x".repeat(40_000))], None);
    assert_eq!(status, 431);
    scene.ends_with(0);
}

#[test]
fn no_field_becomes_a_header_field_or_a_command() {
    let scene = Scene::open();
    let messages = format!("/api/v1/inboxes/{}/messages", scene.inbox);
    let good = json!({"to": "x@outside.example", "subject": "a", "text": "t"});
    for (field, value) in [
        ("subject", json!("a\r\nBcc: y@outside.example")),
        ("subject", json!("a\nBcc: y@outside.example")),
        ("subject", json!("a\rb")),
        ("to", json!("x@outside.example\r\nRCPT TO:<y@outside.example>")),
        ("to", json!("\"X\r\nBcc: y@outside.example\" <x@outside.example>")),
        ("to", json!("x@outside.example>\r\nDATA")),
        ("to", json!("not an address")),
        ("to", json!([])),
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
    // In the body, whether its length is known or not: an answer, and the end.
    for beginning in [
        format!("{}{{\"domain\": \"acme", head("Content-Length: 40")),
        format!("{}5\r\n{{\"dom\r\n", head("Transfer-Encoding: chunked")),
    ] {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(beginning);
        let said = client.rest();
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("\"code\":\"request_timeout\""), "{said}");
    }
    scene.logged(&["refused", "http", "status=408", "request_timeout"]);
    // In the head, and before it.
    for beginning in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow"] {
        let mut client = Rude::connect(scene.daemon.http);
        client.send(beginning);
        let said = client.rest();
        assert!(!said.contains("200 OK"), "{said}");
    }
    scene.logged(&["http", "a client that stalled was sent away"]);
    // What is no HTTP.
    let mut client = Rude::connect(scene.daemon.http);
    client.send("EHLO outside.example\r\nMAIL FROM:<a@b>\r\n\r\n");
    let said = client.rest();
    assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
    scene.logged(&["http", "this is no request"]);
    let domains = scene.daemon.api().get(&format!("/api/v1/custom_domains?account_id={}", scene.account)).expect(200);
    assert!(crate::serve::rows(&domains.body).is_empty());
    scene.ends_with(0);
}
