//! What is known of a message while it is searched, and comparing texts with it.
//!
//! Texts are compared decoded and without regard to case: encoded words, transfer encodings and charsets are undone.

use crate::clock::Timestamp;
use crate::imap::content::fields::{fields, find};
use crate::imap::view::View;
use crate::store::open_mailbox::{Depth, Fetched, Marks};
use mail_parser::decoders::html::html_to_text;
use mail_parser::parsers::MessageStream;
use mail_parser::{DateTime, HeaderValue, Message, MessageParser, PartType};
use std::sync::OnceLock;

/// A text to look for, in lower case.
#[derive(Debug)]
pub(super) struct Text(String);

impl Text {
    pub fn new(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).to_lowercase())
    }

    fn is_in(&self, text: &str) -> bool {
        self.0.is_empty() || text.to_lowercase().contains(&self.0)
    }
}

/// A message, as far as it has been read.
#[derive(Debug)]
pub(super) struct Candidate {
    pub marks: Marks,
    pub is_recent: bool,
    depth: Depth,
    internal_date: Timestamp,
    size: u32,
    header: Vec<u8>,
    body: Vec<u8>,
    /// The decoded text of the body, made when it is first asked for.
    texts: OnceLock<Vec<String>>,
}

impl Candidate {
    /// What the session's view knows.
    pub fn of_view(marks: Marks, is_recent: bool) -> Self {
        Self {
            marks,
            is_recent,
            depth: Depth::Flags,
            internal_date: Timestamp::from_millis(0),
            size: 0,
            header: Vec::new(),
            body: Vec::new(),
            texts: OnceLock::new(),
        }
    }

    /// What was read from the store; flags as the view has them.
    pub fn of_store(message: Fetched, depth: Depth, view: &View) -> Self {
        let uid = message.marks.uid;
        Self {
            depth,
            internal_date: message.internal_date,
            size: message.size,
            header: message.header,
            body: message.body,
            ..Self::of_view(view.marks(uid).unwrap_or(message.marks), view.is_recent(uid))
        }
    }

    pub fn uid(&self) -> u32 {
        self.marks.uid
    }

    /// Octets of its header, as far as it is known.
    pub fn header_size(&self) -> usize {
        self.header.len()
    }

    /// Octets of all that is known of it.
    pub fn whole_size(&self) -> usize {
        self.header.len().saturating_add(self.body.len())
    }

    fn at(&self, depth: Depth) -> Option<&Self> {
        (self.depth >= depth).then_some(self)
    }

    pub fn size(&self) -> Option<u32> {
        self.at(Depth::Size).map(|known| known.size)
    }

    /// INTERNALDATE in days since 1970, in UTC.
    pub fn day_of_arrival(&self) -> Option<i64> {
        self.at(Depth::Size).map(|known| known.internal_date.seconds().div_euclid(86_400))
    }

    /// The day of the Date field, as it is written there: its time zone does not count (RFC 3501 §6.4.4).
    pub fn day_sent(&self) -> Option<Option<i64>> {
        self.at(Depth::Header).map(|known| find(&known.header, "Date").and_then(day))
    }

    /// Whether a field of this name contains the text.
    pub fn header_contains(&self, name: &str, text: &Text) -> Option<bool> {
        let named = |known: &Self| {
            let mut named = fields(&known.header).filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes()));
            named.any(|field| text.is_in(&decoded(field.value)))
        };
        self.at(Depth::Header).map(named)
    }

    /// Whether any field does.
    pub fn any_field_contains(&self, text: &Text) -> Option<bool> {
        let any = |known: &Self| {
            fields(&known.header)
                .any(|field| text.is_in(&String::from_utf8_lossy(field.whole)) || text.is_in(&decoded(field.value)))
        };
        self.at(Depth::Header).map(any)
    }

    /// Whether the text of the body does.
    pub fn body_contains(&self, text: &Text) -> Option<bool> {
        self.at(Depth::Body).map(|known| {
            let texts = known.texts.get_or_init(|| texts_of(&[known.header.as_slice(), &known.body].concat()));
            text.0.is_empty() || texts.iter().any(|part| part.contains(&text.0))
        })
    }
}

fn day(value: &[u8]) -> Option<i64> {
    let date = DateTime::parse_rfc822(std::str::from_utf8(value).ok()?.trim())?;
    let midnight = DateTime { hour: 0, minute: 0, second: 0, tz_hour: 0, tz_minute: 0, ..date };
    Some(midnight.to_timestamp().div_euclid(86_400))
}

/// A field's value with its encoded words decoded.
fn decoded(value: &[u8]) -> String {
    let line = [value, b"\r\n"].concat();
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.into_owned(),
        _ => String::from_utf8_lossy(value).into_owned(),
    }
}

/// The text parts of a message, decoded, in lower case; those of messages within it too.
fn texts_of(raw: &[u8]) -> Vec<String> {
    fn collect(message: &Message<'_>, texts: &mut Vec<String>) {
        for part in &message.parts {
            match &part.body {
                PartType::Text(text) => texts.push(text.to_lowercase()),
                PartType::Html(html) => texts.push(html_to_text(html).to_lowercase()),
                PartType::Message(inner) => {
                    let start = usize::try_from(inner.root_part().offset_header).unwrap_or(0);
                    let end = usize::try_from(inner.root_part().offset_body).unwrap_or(0);
                    let header = inner.raw_message.get(start..end).unwrap_or_default();
                    texts.extend(fields(header).map(|field| decoded(field.value).to_lowercase()));
                    collect(inner, texts);
                }
                PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => {}
            }
        }
    }
    let mut texts = Vec::new();
    if let Some(message) = MessageParser::default().parse(raw) {
        collect(&message, &mut texts);
    }
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_decoded() {
        let raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+SGVsbG88L2I+\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?Inn=C3=A9r?=\r\n\r\ndeep\r\n--b--\r\n";
        let texts = texts_of(raw).join("|");
        for wanted in ["GRÜSSE".to_lowercase().as_str(), "hello", "innér", "deep"] {
            let wanted = wanted.replace("ss", "ß");
            assert!(texts.contains(&wanted), "{wanted} in {texts}");
        }
        assert_eq!(decoded(b" =?utf-8?q?=C3=A9?=\r\n x").trim(), "é x");
        assert_eq!(day(b"Tue, 24 Nov 2026 23:31:07 -1100"), Some(20_781));
        assert_eq!(day(b"nonsense"), None);
    }
}
