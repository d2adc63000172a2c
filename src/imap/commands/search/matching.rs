//! What is known of a message while it is searched, and comparing texts with it.
//!
//! Texts are compared decoded and without regard to case: encoded words, transfer encodings and charsets are undone.

use crate::clock::Timestamp;
use crate::id::ContentId;
use crate::imap::selected::SelectedMailbox;
use crate::message::ReadLimits;
use crate::message::date::date;
use crate::message::fields::{Field, Header};
use crate::message::mime::Tree;
use crate::message::searched::{lower, searched_texts, searched_value};
use crate::reading::Reader;
use crate::store::open_mailbox::{Depth, Fetched, MessageFlags};
use std::sync::OnceLock;

/// A text to look for, in lower case.
#[derive(Debug)]
pub(super) struct Text(String);

impl Text {
    pub fn new(bytes: &[u8]) -> Self {
        Self(String::from_utf8_lossy(bytes).to_lowercase())
    }

    /// Whether a text in lower case contains it.
    fn is_in(&self, text: &str) -> bool {
        text.contains(&self.0)
    }
}

/// A message, as far as it has been read.
#[derive(Debug)]
pub(super) struct Candidate {
    pub marks: MessageFlags,
    pub is_recent: bool,
    depth: Depth,
    internal_date: Timestamp,
    size: u32,
    header: Vec<u8>,
    body: Vec<u8>,
    content: Option<ContentId>,
    limits: ReadLimits,
    /// The fields of the header, decoded, made when they are first asked for.
    fields: OnceLock<Vec<DecodedField>>,
    /// The decoded text of the body, likewise.
    texts: OnceLock<Vec<String>>,
}

/// A field, all in lower case.
#[derive(Debug)]
struct DecodedField {
    name: String,
    value: String,
    /// As it stands, with its name.
    whole: String,
}

impl Candidate {
    /// What the session's view knows.
    pub fn of_view(marks: MessageFlags, is_recent: bool) -> Self {
        Self {
            marks,
            is_recent,
            depth: Depth::Flags,
            internal_date: Timestamp::from_millis(0),
            size: 0,
            header: Vec::new(),
            body: Vec::new(),
            content: None,
            limits: ReadLimits::NOTHING,
            fields: OnceLock::new(),
            texts: OnceLock::new(),
        }
    }

    /// What was read from the store; flags as the view has them.
    pub fn of_store(message: Fetched, depth: Depth, view: &SelectedMailbox) -> Self {
        let uid = message.marks.uid;
        Self {
            depth,
            content: Some(message.content),
            internal_date: message.internal_date,
            size: message.size,
            header: message.header,
            body: message.body,
            ..Self::of_view(view.marks(uid).unwrap_or(message.marks), view.is_recent(uid))
        }
    }

    /// Before anything in it is read.
    pub fn begin(&mut self, reader: &Reader<'_>) {
        if let Some(content) = self.content.filter(|_| self.depth >= Depth::Header) {
            self.limits = reader.begin(content).limits;
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
        self.at(Depth::Header)
            .map(|known| Header::read(&known.header, &known.limits).find("Date").and_then(date).map(|date| date.day()))
    }

    fn fields(&self) -> &[DecodedField] {
        self.fields.get_or_init(|| {
            let decoded = |field: &Field<'_>| {
                let name = lower(String::from_utf8_lossy(field.name).into_owned());
                DecodedField {
                    value: searched_value(&name, field.value),
                    whole: lower(String::from_utf8_lossy(field.whole).into_owned()),
                    name,
                }
            };
            Header::read(&self.header, &self.limits).fields().iter().map(decoded).collect()
        })
    }

    /// Whether a field of this name, in lower case, contains the text.
    pub fn header_contains(&self, name: &str, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Header)?;
        Some(known.fields().iter().any(|field| field.name == name && text.is_in(&field.value)))
    }

    /// Whether the subject that the envelope shows contains the text: that of the first such field.
    pub fn subject_contains(&self, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Header)?;
        Some(known.fields().iter().find(|field| field.name == "subject").is_some_and(|field| text.is_in(&field.value)))
    }

    /// Whether any field does.
    pub fn any_field_contains(&self, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Header)?;
        Some(known.fields().iter().any(|field| text.is_in(&field.whole) || text.is_in(&field.value)))
    }

    /// Whether the text of the body does.
    pub fn body_contains(&self, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Body)?;
        let texts = known.texts.get_or_init(|| searched_texts(&Tree::parse(&known.header, &known.body, &known.limits)));
        Some(text.0.is_empty() || texts.iter().any(|part| text.is_in(part)))
    }
}
