//! The overview of a message: the decoded header fields that lists show (RFC 5322 §3.6).
//!
//! Invariant: an overview that is read back equals the one that was written. The store keeps one for each indexed message
//! (`store/overviews.rs`), so that a list parses no headers; a migration that follows a change of what is decoded has to remove those.

use super::addresses::{self, Mailbox};
use super::date::date;
use super::fields::Header;
use super::text::message_ids;
use super::words::decoded_words;
use crate::address::Address;
use crate::clock::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Octets of a written overview at most; that of a longer header is not kept.
const WRITTEN: usize = 8 * 1024;

/// A mailbox of a header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EmailMailbox)]
pub(crate) struct ShownMailbox {
    name: Option<String>,
    /// As it is written, perhaps not well-formed.
    pub(crate) address: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    pub(crate) from: Vec<ShownMailbox>,
    pub(crate) to: Vec<ShownMailbox>,
    pub(crate) cc: Vec<ShownMailbox>,
    pub(crate) bcc: Vec<ShownMailbox>,
    pub(crate) reply_to: Vec<ShownMailbox>,
    /// The author, if there is exactly one, with a well-formed address.
    pub(crate) author: Option<Address>,
    pub(crate) subject: String,
    pub(crate) date: Option<Timestamp>,
    pub(crate) message_id: Option<String>,
    pub(crate) in_reply_to: Vec<String>,
    pub(crate) references: Vec<String>,
}

impl Overview {
    pub(crate) fn read(header: &Header<'_>) -> Self {
        let mailboxes = |name| mailboxes(header, name);
        let ids = |name| header.find(name).map(message_ids).unwrap_or_default();
        let date = header.find("Date").and_then(date);
        Self {
            from: mailboxes("From"),
            to: mailboxes("To"),
            cc: mailboxes("Cc"),
            bcc: mailboxes("Bcc"),
            reply_to: mailboxes("Reply-To"),
            author: author(header),
            subject: header.find("Subject").map(decoded_words).unwrap_or_default(),
            date: date.map(|date| Timestamp::from_millis(date.seconds().saturating_mul(1000))),
            message_id: ids("Message-ID").into_iter().next(),
            in_reply_to: ids("In-Reply-To"),
            references: ids("References"),
        }
    }

    /// JSON; `None` if it is too long to be kept, or would not be read back as it is, such as a year of five digits.
    pub(crate) fn written(&self) -> Option<String> {
        let written = serde_json::to_string(self).ok().filter(|written| written.len() <= WRITTEN)?;
        Self::from_written(&written).is_ok_and(|read| read == *self).then_some(written)
    }

    pub(crate) fn from_written(written: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(written)
    }
}

fn mailboxes(header: &Header<'_>, name: &str) -> Vec<ShownMailbox> {
    let show = |mailbox: Mailbox<'_>| ShownMailbox { name: mailbox.display_name(), address: mailbox.shown_address() };
    addresses::mailboxes(header, name).map(show).collect()
}

fn author(header: &Header<'_>) -> Option<Address> {
    let mut authors = addresses::mailboxes(header, "From");
    let author = authors.next()?;
    authors.next().is_none().then(|| author.address()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ReadLimits;

    fn overview(block: &str) -> Overview {
        let block = block.replace('\n', "\r\n");
        Overview::read(&Header::read(block.as_bytes(), &ReadLimits::default()))
    }

    #[test]
    fn an_overview_is_read_back_as_it_was_written() {
        let block = "From: =?utf-8?q?Andr=C3=A9?= <a@x.org>\nTo: b@x.org, \"odd, \\\"name\\\"\" <c@x.org>, broken\nCc: g: d@x.org;\n\
                     Subject: =?utf-8?b?R3LDvMOfZQ==?=\nDate: Tue, 24 Nov 2026 05:31:07 +0100\nMessage-ID: <1@x>\n\
                     In-Reply-To: <0@x>\nReferences: <a@x> <0@x>\n\n";
        let read = overview(block);
        assert_eq!((read.subject.as_str(), read.to.len(), read.references.len()), ("Grüße", 3, 2));
        assert_eq!(read.author.as_ref().map(ToString::to_string).as_deref(), Some("a@x.org"));
        assert_eq!(Overview::from_written(&read.written().unwrap()).unwrap(), read);
        for block in ["\n", "From: a@x.org, b@x.org\nSubject: \u{0}\u{2028}\nDate: never\n\n", "To: <@\"\n\n"] {
            let read = overview(block);
            assert_eq!(Overview::from_written(&read.written().unwrap()).unwrap(), read, "{block:?}");
            assert_eq!(read.author, None);
        }
        let long = format!("To: {}\n\n", "somebody@example.org, ".repeat(1000));
        assert_eq!(overview(&long).written(), None);
    }
}
