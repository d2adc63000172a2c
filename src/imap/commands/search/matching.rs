//! A message as far as it has been read for a search, and comparisons with it.
//!
//! Texts are compared by `i;unicode-casemap` (RFC 5051, RFC 5255 §4.2), with encoded words, transfer encodings and charsets decoded.

use crate::clock::Timestamp;
use crate::id::ContentId;
use crate::imap::selected::SelectedMailbox;
use crate::message::ReadLimits;
use crate::message::casemap::{casemap, folded};
use crate::message::charset::decoded;
use crate::message::date::date;
use crate::message::fields::Header;
use crate::message::mime::Tree;
use crate::message::searched::{SearchedHeader, lower, searched_texts};
use crate::reading::Reader;
use crate::store::object_ids::ObjectIds;
use crate::store::open_mailbox::{Depth, Fetched, MessageFlags};
use std::sync::OnceLock;

/// A search string.
#[derive(Debug)]
pub(super) struct Text {
    /// As the search index has it.
    folded: String,
    /// As it is compared.
    converted: String,
}

impl Text {
    pub fn new(charset: &str, octets: &[u8]) -> Self {
        let lower = lower(decoded(charset.as_bytes(), octets));
        Self { converted: casemap(&lower), folded: folded(&lower).into_owned() }
    }

    /// As the search index has it.
    pub fn folded(&self) -> &str {
        &self.folded
    }
}

/// A message, as far as it has been read.
#[derive(Debug)]
pub(super) struct Candidate {
    pub flags: MessageFlags,
    pub is_recent: bool,
    depth: Depth,
    internal_date: Timestamp,
    saved_at: Option<Timestamp>,
    ids: Option<ObjectIds>,
    size: u32,
    header: Vec<u8>,
    body: Vec<u8>,
    content: Option<ContentId>,
    limits: ReadLimits,
    fields: OnceLock<SearchedHeader>,
    /// The decoded text of the body, as it is compared.
    texts: OnceLock<Vec<String>>,
}

impl Candidate {
    /// With the flags only.
    pub fn of_flags(flags: MessageFlags, is_recent: bool) -> Self {
        Self {
            flags,
            is_recent,
            depth: Depth::Flags,
            internal_date: Timestamp::from_millis(0),
            saved_at: None,
            ids: None,
            size: 0,
            header: Vec::new(),
            body: Vec::new(),
            content: None,
            limits: ReadLimits::NOTHING,
            fields: OnceLock::new(),
            texts: OnceLock::new(),
        }
    }

    /// As read from the store; flags as the client knows them.
    pub fn of_store(message: Fetched, ids: Option<ObjectIds>, depth: Depth, selected: &SelectedMailbox) -> Self {
        let uid = message.flags.uid;
        Self {
            depth,
            content: Some(message.content),
            internal_date: message.internal_date,
            saved_at: message.saved_at,
            ids,
            size: message.size,
            header: message.header,
            body: message.body,
            ..Self::of_flags(selected.flags(uid).unwrap_or(message.flags), selected.is_recent(uid))
        }
    }

    /// To be called before any of the other methods.
    pub fn begin(&mut self, reader: &Reader<'_>) {
        if let Some(content) = self.content.filter(|_| self.depth >= Depth::Header) {
            self.limits = reader.begin(content).limits;
        }
    }

    pub fn uid(&self) -> u32 {
        self.flags.uid
    }

    /// Octets of its header, 0 if it has not been read.
    pub fn header_size(&self) -> usize {
        self.header.len()
    }

    /// Octets that have been read.
    pub fn whole_size(&self) -> usize {
        self.header.len().saturating_add(self.body.len())
    }

    fn at(&self, depth: Depth) -> Option<&Self> {
        (self.depth >= depth).then_some(self)
    }

    pub fn size(&self) -> Option<u32> {
        self.at(Depth::Size).map(|known| known.size)
    }

    /// INTERNALDATE.
    pub fn arrived_at(&self) -> Option<Timestamp> {
        self.at(Depth::Size).map(|known| known.internal_date)
    }

    /// SAVEDATE; of messages of before this was stored, INTERNALDATE (RFC 8514 §4.3).
    pub fn saved_at(&self) -> Option<Timestamp> {
        self.at(Depth::Size).map(|known| known.saved_at.unwrap_or(known.internal_date))
    }

    /// Whether EMAILID is this.
    pub fn has_email_id(&self, id: &str) -> Option<bool> {
        self.at(Depth::Size).map(|known| known.ids.as_ref().is_some_and(|ids| ids.email.as_str() == id))
    }

    /// Whether THREADID is this.
    pub fn has_thread_id(&self, id: &str) -> Option<bool> {
        let thread = |ids: &ObjectIds| ids.thread.as_ref().is_some_and(|thread| thread.as_str() == id);
        self.at(Depth::Size).map(|known| known.ids.as_ref().is_some_and(thread))
    }

    /// The day of the Date field, disregarding its time zone (RFC 3501 §6.4.4).
    pub fn day_sent(&self) -> Option<Option<i64>> {
        self.at(Depth::Header)
            .map(|known| Header::read(&known.header, &known.limits).find("Date").and_then(date).map(|date| date.day()))
    }

    fn fields(&self) -> &SearchedHeader {
        self.fields.get_or_init(|| SearchedHeader::of(&Header::read(&self.header, &self.limits)).converted())
    }

    /// `name` is in lower case.
    pub fn header_contains(&self, name: &str, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Header)?;
        Some(known.fields().has(&[name], &text.converted))
    }

    pub fn subject_contains(&self, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Header)?;
        Some(known.fields().has_subject(&text.converted))
    }

    pub fn any_field_contains(&self, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Header)?;
        Some(known.fields().has_anywhere(&text.converted))
    }

    pub fn body_contains(&self, text: &Text) -> Option<bool> {
        let known = self.at(Depth::Body)?;
        let texts = known.texts.get_or_init(|| {
            let texts = searched_texts(&Tree::parse(&known.header, &known.body, &known.limits));
            texts.into_iter().map(|text| casemap(&text)).collect()
        });
        Some(text.converted.is_empty() || texts.iter().any(|part| part.contains(&text.converted)))
    }
}
