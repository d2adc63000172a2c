//! Composed messages, read back with another parser.

use super::*;
use mail_parser::{MessageParser, MimeHeaders};
use serde_json::json;

fn fields(value: Value) -> Fields {
    Fields::parse(value.to_string().as_bytes()).unwrap()
}

#[test]
fn what_is_written_reads_back() {
    let mut fields = fields(json!({
        "reply_to": "Desk <desk@example.org>", "subject": "Grüße, 世界", "text": "Hällo\nthere\n", "html": "<p>Hi</p>",
        "headers": {"X-Order": "42 – ok", "In-Reply-To": "<a@b>"},
        "attachments": [{"filename": "naïve.txt", "content_type": "text/plain", "content": "YQpiDQo="},
                        {"filename": "x.bin", "content": "AAEC", "content_id": "logo@x"}],
    }));
    let content = Content::read(&mut fields);
    fields.finish().unwrap();
    let from = Mailbox::parse("Änn, \"the\" boss <ann@example.org>").unwrap();
    let to = [Mailbox::parse("\"Quoted, \\\"Name\\\"\" <\"a b\"@example.net>").unwrap()];
    let raw = content.write(&from, &to, &[], &[]);
    assert!(raw.iter().all(|b| b.is_ascii()), "7-bit");
    let text = String::from_utf8(raw.clone()).unwrap();
    assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "lines end in CRLF");
    assert!(text.lines().all(|line| line.len() <= 998));
    let message = MessageParser::default().parse(&raw).unwrap();
    assert_eq!(message.subject(), Some("Grüße, 世界"));
    let sender = message.from().unwrap().first().unwrap();
    assert_eq!((sender.name(), sender.address()), (Some("Änn, \"the\" boss"), Some("ann@example.org")));
    assert_eq!(message.to().unwrap().first().unwrap().name(), Some("Quoted, \"Name\""));
    assert_eq!(message.body_text(0).unwrap().trim_end(), "Hällo\nthere".replace('\n', "\r\n").trim_end());
    assert_eq!(message.body_html(0).unwrap().trim_end(), "<p>Hi</p>");
    let parts: Vec<_> = message.attachments().collect();
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].attachment_name(), Some("naïve.txt"));
    assert_eq!(parts[0].contents(), b"a\nb\r\n");
    assert_eq!((parts[1].contents(), parts[1].content_id()), (&[0_u8, 1, 2][..], Some("logo@x")));
    assert_eq!(message.header_raw("X-Order").map(|h| h.contains("=?utf-8?")), Some(true));
    assert!(message.message_id().is_none() && message.date().is_none());
}

#[test]
fn every_line_end_of_a_text_becomes_crlf() {
    for (field, text) in [("text", "ä\rb\r\r\nc\n"), ("html", "a\rb"), ("text", "plain\r")] {
        let mut fields = fields(json!({field: text}));
        let content = Content::read(&mut fields);
        fields.finish().unwrap();
        let from = Mailbox::parse("ann@example.org").unwrap();
        let written = String::from_utf8(content.write(&from, &[], &[], &[])).unwrap();
        assert!(!written.replace("\r\n", "").contains(['\r', '\n']), "{written:?}");
    }
}

#[test]
fn an_attached_text_keeps_its_line_ends() {
    let text = b"a\rb\nc\r\n\"";
    let mut fields = fields(json!({"attachments": [
        {"filename": "a.txt", "content_type": "text/plain", "content": STANDARD.encode(text)},
    ]}));
    let content = Content::read(&mut fields);
    fields.finish().unwrap();
    let written = content.write(&Mailbox::parse("ann@example.org").unwrap(), &[], &[], &[]);
    assert!(!String::from_utf8_lossy(&written).replace("\r\n", "").contains(['\r', '\n']), "{written:?}");
    let read = MessageParser::default().parse(&written).unwrap();
    assert_eq!(read.attachments().next().unwrap().contents(), text);
}

#[test]
fn nothing_can_add_a_field_or_a_line() {
    for (body, field) in [
        (json!({"subject": "a\r\nBcc: x@y.org", "text": ""}), "subject"),
        (json!({"reply_to": "a\r\nX: <a@b.org>", "text": ""}), "reply_to[0]"),
        (json!({"text": "a\0b"}), "text"),
        (json!({"html": "\0"}), "html"),
        (json!({"reply_to": ["a <a@b.org>\n"], "text": "", "headers": {"X-A": "1\n2"}}), "headers.X-A"),
        (json!({"headers": {"X: y\r\nZ": "1"}, "text": ""}), "headers.X: y"),
        (json!({"headers": {"From": "x@y.org"}, "text": ""}), "headers.From"),
        (json!({"headers": {"Content-Type": "text/html"}, "text": ""}), "headers.Content-Type"),
        (json!({"headers": {"X-A": 1}, "text": ""}), "headers.X-A"),
        (json!({"attachments": [{"filename": "a\r\nb", "content": ""}]}), "attachments[0].filename"),
        (
            json!({"attachments": [{"filename": "a", "content": "", "content_type": "a/b; c"}]}),
            "attachments[0].content_type",
        ),
        (json!({"attachments": [{"filename": "a", "content": "", "content_type": "multipart/mixed"}]}), "content_type"),
        (json!({"attachments": [{"filename": "a", "content": "", "content_id": "a>b"}]}), "attachments[0].content_id"),
        (json!({"attachments": [{"filename": "a", "content": "%"}]}), "attachments[0].content"),
        (json!({"attachments": [{"content": ""}]}), "attachments[0].filename"),
        (json!({"attachments": [5]}), "attachments[0]"),
        (json!({}), "text"),
    ] {
        let mut fields = fields(body.clone());
        Content::read(&mut fields);
        let problem = format!("{:?}", fields.finish().expect_err(&body.to_string()));
        assert!(problem.contains(field), "{field} in {problem}");
    }
}

#[test]
fn mailboxes_are_read_as_in_a_header_field() {
    let list = |text: &str| {
        let mut fields = fields(json!({"to": text}));
        let list = mailboxes(&mut fields, "to");
        fields.finish().map(|()| list.into_iter().map(|one| (one.name, one.address.to_string())).collect::<Vec<_>>())
    };
    let one = |name: Option<&str>, address: &str| (name.map(str::to_owned), address.to_owned());
    for (text, read) in [
        ("a@x.org, b@y.org", vec![one(None, "a@x.org"), one(None, "b@y.org")]),
        ("\"Lee, Ann\" <a@x.org>, Bob <b@y.org>", vec![one(Some("Lee, Ann"), "a@x.org"), one(Some("Bob"), "b@y.org")]),
        ("Lee, Ann <a@x.org>", vec![one(Some("Lee, Ann"), "a@x.org")]),
        ("a@x.org (Ann)", vec![one(Some("Ann"), "a@x.org")]),
        ("=?utf-8?q?J=C3=BC?= <a@x.org>", vec![one(Some("J\u{fc}"), "a@x.org")]),
    ] {
        assert_eq!(list(text).unwrap(), read, "{text}");
    }
    assert!(list("a@x.org, b").is_err() && list(", ").is_err());
    assert!(list(&"a@x.org,".repeat(MAX_MAILBOXES + 1)).is_err());
    for bad in ["", "ann", "<>", "Ann <ann>", "a@b, c@d", "Ann <a@b>\u{0}x", "a@b>"] {
        assert!(Mailbox::parse(bad).is_err(), "{bad:?}");
    }
}
