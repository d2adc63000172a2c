//! REST: a message made of JSON.

use super::compose::Mailbox;
use super::fields::Fields;
use super::send::{Message, json_wish};
use crate::address::Address;
use crate::config::Limits;
use crate::message;

/// What a body asks to send: no value adds a field or a line, and all that is written is 7-bit.
pub fn compose(input: &[u8]) {
    let Ok(fields) = Fields::parse(input) else { return };
    let Ok(wish) = json_wish(fields, &Limits::default()) else { return };
    assert!(!wish.rcpt_to.is_empty() || matches!(wish.message, Message::Raw(_)), "nobody to send it to");
    match wish.message {
        Message::Raw(raw) => {
            assert!(!raw.contains(&0), "a NUL in a message");
            assert!(has_only_crlf(&raw), "a bare CR or LF in a message");
        }
        Message::Parts { from, to, cc, bcc, content } => {
            let names: Vec<_> = content.headers.iter().map(|(name, _)| name.clone()).collect();
            let from = from.unwrap_or_else(|| Mailbox::of(Address::parse("ann@example.org").unwrap()));
            let written = content.write(&from, &to, &cc, &bcc);
            let shown = String::from_utf8_lossy(&written);
            assert!(written.is_ascii() && !written.contains(&0) && has_only_crlf(&written), "{shown:?}");
            assert!(
                written.split(|b| *b == b'\n').all(|line| line.len() <= 999),
                "a line is over 998 octets: {shown:?}"
            );
            let (header, _) = message::split(&written);
            for line in String::from_utf8_lossy(header).split("\r\n").filter(|line| !line.starts_with([' ', '\t'])) {
                let name = line.split(':').next().unwrap_or_default();
                let ours = ["From", "To", "Cc", "Bcc", "Reply-To", "Subject", "MIME-Version"].contains(&name);
                let known = ours || name.is_empty() || name.starts_with("Content-") || names.iter().any(|n| n == name);
                assert!(known, "a field nobody asked for: {line:?}");
            }
            assert_eq!(shown.matches("From: ").count().min(1), 1, "{shown:?}");
        }
    }
}

fn has_only_crlf(text: &[u8]) -> bool {
    let mut before = 0;
    let in_pairs = text.iter().all(|octet| {
        let pair = (*octet == b'\n') == (before == b'\r');
        before = *octet;
        pair
    });
    in_pairs && before != b'\r'
}
