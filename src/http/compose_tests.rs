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
        "reply_to": "Desk <desk@example.org>", "subject": "Grüße, 世界", "text_body": "Hällo\nthere\n", "html_body": "<p>Hi</p>",
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
    // The inline one is beside the HTML.
    assert_eq!((parts[0].contents(), parts[0].content_id()), (&[0_u8, 1, 2][..], Some("logo@x")));
    assert_eq!(parts[1].attachment_name(), Some("naïve.txt"));
    assert_eq!(parts[1].contents(), b"a\nb\r\n");
    assert_eq!(message.header_raw("X-Order").map(|h| h.contains("=?utf-8?")), Some(true));
    assert!(message.message_id().is_none() && message.date().is_none());
}

#[test]
fn every_line_end_of_a_text_becomes_crlf() {
    for (field, text) in [("text_body", "ä\rb\r\r\nc\n"), ("html_body", "a\rb"), ("text_body", "plain\r")] {
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
        {"filename": "a.txt", "content_type": "text/plain", "content": BASE64.encode(text)},
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
        (json!({"subject": "a\r\nBcc: x@y.org", "text_body": ""}), "subject"),
        (json!({"reply_to": "a\r\nX: <a@b.org>", "text_body": ""}), "reply_to[0]"),
        (json!({"text_body": "a\0b"}), "text_body"),
        (json!({"html_body": "\0"}), "html_body"),
        (json!({"reply_to": ["a <a@b.org>\n"], "text_body": "", "headers": {"X-A": "1\n2"}}), "headers.X-A"),
        (json!({"headers": {"X: y\r\nZ": "1"}, "text_body": ""}), "headers.X: y"),
        (json!({"headers": {"From": "x@y.org"}, "text_body": ""}), "headers.From"),
        (json!({"headers": {"Content-Type": "text/html"}, "text_body": ""}), "headers.Content-Type"),
        (json!({"headers": {"X-A": 1}, "text_body": ""}), "headers.X-A"),
        (json!({"attachments": [{"filename": "a\r\nb", "content": ""}]}), "attachments[0].filename"),
        (
            json!({"attachments": [{"filename": "a", "content": "", "content_type": "a/b; c"}]}),
            "attachments[0].content_type",
        ),
        (json!({"attachments": [{"filename": "a", "content": "", "content_type": "message/partial"}]}), "content_type"),
        (json!({"attachments": [{"filename": "a", "content": "", "content_type": "a/b; c\r\nX=d"}]}), "content_type"),
        (json!({"attachments": [{"filename": "a", "content": "AA==", "content_type": "message/rfc822"}]}), "content"),
        (json!({"text_body": "", "headers": {"References": "<\u{e9}@x>"}}), "headers.References"),
        (json!({"text_body": "", "headers": {"List-Help": "x".repeat(901)}}), "headers.List-Help"),
        (json!({"attachments": [{"filename": "a", "content": "", "content_type": "multipart/mixed"}]}), "content_type"),
        (json!({"attachments": [{"filename": "a", "content": "", "content_id": "a>b"}]}), "attachments[0].content_id"),
        (json!({"attachments": [{"filename": "a", "content": "%"}]}), "attachments[0].content"),
        (json!({"attachments": [{"content": ""}]}), "attachments[0].filename"),
        (json!({"attachments": [5]}), "attachments[0]"),
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

fn written(body: Value) -> String {
    let mut fields = fields(body);
    let content = Content::read(&mut fields);
    fields.finish().unwrap();
    String::from_utf8(content.write(&Mailbox::parse("ann@example.org").unwrap(), &[], &[], &[])).unwrap()
}

#[test]
fn ascii_values_are_folded_at_spaces_and_never_encoded() {
    let ids: Vec<_> = (0..40).map(|at| format!("<{}.{at}@mail.example.org>", "x".repeat(60))).collect();
    let long = format!("<{}@example.org>", "y".repeat(880));
    let (references, list) = (ids.join(" "), "<https://example.org/a?b=c_d>,  <mailto:u@example.org>");
    let text = written(json!({"text_body": "", "headers": {
        "References": references, "In-Reply-To": long, "List-Unsubscribe": list, "X-Empty": "",
    }}));
    let header = text.split("\r\n\r\n").next().unwrap();
    assert!(!header.contains("=?"), "{header}");
    let unfolded = header.replace("\r\n ", " ");
    let field = |name: &str| unfolded.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    assert_eq!((field("References"), field("In-Reply-To")), (Some(references.as_str()), Some(long.as_str())));
    assert_eq!(field("List-Unsubscribe"), Some(list.replace("  ", " ").as_str()));
    assert!(unfolded.contains("X-Empty:\r\n"), "{unfolded}");
    assert!(
        header.lines().all(|line| line.len() <= 100 || line.contains("yyy")) && header.contains("\r\n <xxx"),
        "{header}"
    );
}

#[test]
fn inline_images_are_related_to_the_html() {
    let image = json!({"filename": "logo.png", "content_type": "image/png", "content": "AAEC", "content_id": "logo@x"});
    let file = json!({"filename": "a.pdf", "content_type": "application/pdf", "content": "AAEC"});
    let html = "<img src=\"cid:logo@x\">";
    let text = written(json!({"text_body": "Hi", "html_body": html, "attachments": [image, file]}));
    let kinds: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("Content-Type: ")?.split(';').next()).collect();
    let expected = [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ];
    assert_eq!(kinds, expected, "{text}");
    assert!(text.contains("type=\"text/html\"") && text.contains("Content-ID: <logo@x>"), "{text}");
    assert!(text.contains("Content-Disposition: inline; filename=\"logo.png\""), "{text}");
    let alone = written(json!({"html_body": html, "attachments": [image]}));
    assert!(alone.contains("\r\nContent-Type: multipart/related;") && !alone.contains("multipart/mixed"), "{alone}");
    // Without HTML nothing refers to it.
    let text = written(json!({"text_body": "Hi", "attachments": [image]}));
    assert!(text.contains("multipart/mixed") && text.contains("Content-Disposition: attachment"), "{text}");
}

#[test]
fn attachments_are_read_in_any_base64_with_parameters_and_as_messages() {
    let contents = |attachment: Value| {
        let text = written(json!({"text_body": "see", "attachments": [attachment]}));
        let read = MessageParser::default().parse(text.as_bytes()).unwrap();
        let part = read.attachments().next().unwrap();
        (part.contents().to_vec(), text)
    };
    for base64 in ["+/+/AAE=", "-_-_AAE=", "-_-_AAE", "+/+\r\n/AA\nE = "] {
        let (octets, _) = contents(json!({"filename": "x", "content": base64}));
        assert_eq!(octets, [0xfb, 0xff, 0xbf, 0, 1], "{base64:?}");
    }
    let typed =
        |content_type: &str| contents(json!({"filename": "x", "content": "YQ==", "content_type": content_type})).1;
    let text = typed("Text/CSV; charset=\"utf-8\"; header=present;");
    assert!(text.contains("Content-Type: text/csv; charset=\"utf-8\"; header=\"present\"\r\n"), "{text}");
    assert!(typed("a/b; c=\"d\\\"e; f\"").contains("a/b; c=\"d\\\"e; f\"\r\n"));
    for (message, encoding) in [("Subject: in\n\n.\nhi\n", "7bit"), ("Subject: in\r\n\r\nh\u{e9}\r\n", "8bit")] {
        let attached =
            json!({"filename": "m.eml", "content_type": "message/rfc822", "content": BASE64.encode(message)});
        let text = written(json!({"text_body": "see", "attachments": [attached]}));
        let raw = message.replace("\r\n", "\n").replace('\n', "\r\n");
        assert!(text.contains(&format!("\r\n\r\n{raw}\r\n--")), "{text}");
        assert!(text.contains(&format!("Content-Transfer-Encoding: {encoding}\r\n")), "{text}");
        let read = MessageParser::default().parse(text.as_bytes()).unwrap();
        let inner = read.attachments().next().unwrap().message().unwrap();
        assert_eq!(inner.subject(), Some("in"));
    }
}
